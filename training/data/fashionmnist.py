"""Fashion-MNIST (Xiao et al. 2017): articles of clothing, 28x28, grey."""

from pathlib import Path

from torchvision import datasets

from splitplace.training.data import ways
from splitplace.training.data.application import Application
from splitplace.training.data.arrays import Arrays

_DEBIAN_PACKAGE = "dataset-fashion-mnist"
_DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")


def download(scratch: Path) -> Arrays:
    """The four files from where torchvision gets them."""
    with ways.downloading():
        datasets.FashionMNIST(scratch, download=True)
    return ways.published(scratch / "FashionMNIST" / "raw")


def installed_package(scratch: Path) -> Arrays:
    """Where its Debian package is installed."""
    return ways.published(Path("/") / _DEBIAN_FOLDER)


def debian_package(scratch: Path) -> Arrays:
    """Out of its Debian package, fetched and unpacked without root."""
    return ways.published(ways.debian(_DEBIAN_PACKAGE, scratch) / _DEBIAN_FOLDER)


FASHIONMNIST = Application(
    name="fashionmnist",
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    n_train=60_000,
    n_test=10_000,
    mirror=True,
    on_disk=lambda path: ways.nearest(path, "FashionMNIST/raw", "raw", "FashionMNIST"),
    files="train-images-idx3-ubyte (or .gz) and its three companions",
    ways=(
        ("torchvision download", download),
        (f"installed Debian package {_DEBIAN_PACKAGE}", installed_package),
        (f"Debian package {_DEBIAN_PACKAGE}", debian_package),
    ),
    sha256="78b3f802b0aea22235a3a4e69d46ea9fd2ba6589f945501490a7b10364b50a43",
    train_sha256="a40aac2122a132aae90302efb45956528420ed71ce930af7c6fa748242055635",
)
