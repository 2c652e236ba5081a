"""What the site takes from elsewhere in the repository, under the same paths, so that each text stands once."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
TAKEN = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/METHODOLOGY.md",
    "benchmarks/RESULTS.md",
    "benchmarks/results/*",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of `TAKEN`."""
    for pattern in TAKEN:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files
