"""What every image of this machine has below its models."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from splitplace.export.oci_image.base import Base
from splitplace.export.oci_image.bytecode import bytecode_of, cached
from splitplace.export.oci_image.layer import ExecutableFile, Files
from splitplace.export.oci_image.machine_python import machine_python
from splitplace.export.oci_image.packages import LOADED, package_files, program_files

_ROOM = Path(__file__).parent


@dataclass(frozen=True)
class ImageContents:
    """The layers that images share, not packed.

    Args:
        below: What they begin with: somebody's image, or this machine's own Python.
        packages: What they run of others.
        program: And of ours.
    """

    below: Base | Files
    packages: Files
    program: Files

    def compiled(self) -> "ImageContents":
        """With bytecode beside its sources, but for somebody's image, which is as it is."""
        own = {} if isinstance(self.below, Base) else self.below
        code = bytecode_of({**own, **self.packages, **self.program}, LOADED)

        def beside(files: Files) -> Files:
            return {**files, **{cached(name): code[name] for name in files if name in code}}

        below = self.below if isinstance(self.below, Base) else beside(self.below)
        return ImageContents(below, beside(self.packages), beside(self.program))

    def key(self, room: Path = _ROOM) -> str:
        """Of the files as they lie here: by what the disk says of each, none of them read; nobody's image below.

        Args:
            room: The modules that make an image of them, with its environment and configuration: read, for these are
                in none of the files.
        """
        assert not isinstance(self.below, Base)
        files, found = {**self.below, **self.packages, **self.program}, hashlib.sha256()
        for module in sorted(room.glob("*.py")):
            found.update(repr((module.name, module.read_bytes())).encode())
        for place in sorted(files):
            content = files[place]
            source = content.path if isinstance(content, ExecutableFile) else content
            about = source.stat() if isinstance(source, Path) else None
            found.update(repr((place, (about.st_size, about.st_mtime_ns) if about else source)).encode())
        return found.hexdigest()[:16]


def gather(base: Callable[[], Base] | None = None) -> ImageContents:
    """What this machine has for an image.

    Args:
        base: Opens what it begins with; none: this machine's own Python.

    Raises:
        SplitPlaceError: As of `package_files`, `machine_python` and `open_base`.
    """
    packages = package_files()
    return ImageContents(machine_python(packages) if base is None else base(), packages, program_files())
