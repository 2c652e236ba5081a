"""What is known of a data set that has a name here: its classes, how to get it, and how to tell that it is the one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from splitplace.training.data.arrays import Arrays

Way = Callable[[Path], Arrays]
"""Gets the data, writing below a scratch folder; raises `Unavailable` where it cannot work here."""


class Unavailable(Exception):  # noqa: N818 - a state of the world, handled by trying the next way
    """This way does not work here; says why."""


@dataclass(frozen=True)
class Application:
    """A known data set: one file of this folder makes one, and a line in `applications.py` lists it.

    Args:
        name: Of a-z, 0-9, _ and -.
        class_names: The name of class c at c.
        n_train: Images it has for training.
        n_test: Held-out images.
        mirror: Whether an image's mirror image is of the same class.
        on_disk: Reads what lies in a folder or file that the user names; None where it is not this data set's.
        files: What `on_disk` expects, for people.
        ways: Name and function of each way to get it.
        variable: The environment variable that may name the folder, where there is no way to get it.
        sha256: Of the decoded held-out images and labels, where known.
        train_sha256: Of the decoded training images and labels, where known.
    """

    name: str
    class_names: tuple[str, ...]
    n_train: int
    n_test: int
    mirror: bool
    on_disk: Callable[[Path], Arrays | None]
    files: str
    ways: tuple[tuple[str, Way], ...] = ()
    variable: str = ""
    sha256: str | None = None
    train_sha256: str | None = None
