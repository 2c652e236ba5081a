"""What is installed: every room under splitplace/, and nothing else at top level."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from splitplace import provenance
from splitplace.children import child_env

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("splitting", "training", "export", "placement", "benchmarks")


def _installed_name(path: Path) -> str:
    """Where a file of the checkout stands in the wheel."""
    relative = path.relative_to(ROOT).as_posix()
    return relative if relative.startswith("splitplace/") else f"splitplace/{relative}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no build folder is left behind."""
    tmp_path = tmp_path_factory.mktemp("wheel")
    copy = tmp_path / "checkout"
    for name in ("splitplace", *ROOMS):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    (built,) = tmp_path.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_nothing_generic(wheel):
    """Every .py of every room is in it, once."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"splitplace"}
    expected = {
        _installed_name(path)
        for room in ("splitplace", *ROOMS)
        for path in (ROOT / room).rglob("*.py")
        if "results" not in path.parts
    }
    expected |= {_installed_name(path) for path in (ROOT / "placement" / "page").iterdir()}
    assert expected <= set(names)
    assert "splitplace/py.typed" in names


@pytest.mark.slow
def test_an_installed_copy_is_known_as_the_same_code(wheel, tmp_path):
    """By its content, wherever it lies: it has no history to ask for a commit."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import splitplace.provenance as p; print(p.__file__, p.commit(), p.code_digest())"
    environment = child_env(PYTHONPATH=str(tmp_path))
    environment.pop(provenance.COMMIT_VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    file, commit, digest = done.stdout.split()
    assert file == str(tmp_path / "splitplace" / "provenance.py") and commit == "unknown"
    assert digest == provenance.code_digest()
