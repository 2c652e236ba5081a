"""CIFAR-100 (Krizhevsky 2009): objects of a hundred classes, 32x32, colour."""

from pathlib import Path

from torchvision import datasets
from torchvision.datasets.utils import download_and_extract_archive

from splitplace.training.data import ways
from splitplace.training.data.application import Application
from splitplace.training.data.arrays import Arrays

_BINARY_MD5 = "03b5dce01913d631647c71ecec9e9cb8"  # as the publisher's page prints it


def download(scratch: Path) -> Arrays:
    """The binary version, from where torchvision gets the pickled one."""
    with ways.downloading():
        download_and_extract_archive(datasets.CIFAR100.url.replace("python", "binary"), scratch, md5=_BINARY_MD5)
    return ways.published(scratch / "cifar-100-binary")


CIFAR100 = Application(
    name="cifar100",
    class_names=(
        *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle"),
        *("bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle"),
        *("chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur"),
        *("dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard"),
        *("lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain"),
        *("mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck"),
        *("pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket"),
        *("rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel"),
        *("streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor"),
        *("train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm"),
    ),
    n_train=50_000,
    n_test=10_000,
    mirror=True,
    on_disk=lambda path: ways.nearest(
        path, "cifar-100-binary", "cifar-100-python", "cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"
    ),
    files="cifar-100-binary or cifar-100-python, as a folder or .tar.gz",
    ways=(("download of the binary version", download),),
)
