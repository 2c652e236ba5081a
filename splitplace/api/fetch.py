"""`fetch`: a real data set, by whichever known way works here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from splitplace.api.checked import checked
from splitplace.errors import explained
from splitplace.extras import needs

if TYPE_CHECKING:
    from splitplace.training.data.dataset import Dataset


@explained()
@checked()
def fetch(
    application: str,
    *,
    path: str | Path | None = None,
    size: int | None = None,
    mirror: bool = False,
    skip_corrupt: bool = False,
    root: str | Path | None = None,
) -> "Dataset":
    """Get a data set: the decoded copy if there is one, else by every known way in order.

    Args:
        application: mnist, fashionmnist, cifar100, tiny100, or a name of your own with `path`.
        path: Your own images: a folder of class folders, or Parquet with the columns image and label; of either one for
            all, of which a fifth of every class is held out, or train and test. Or the files of a known data set, as
            its publisher distributes them (IDX, CIFAR's archives; of tiny100 its Parquet folder).
        size: Resize your own images to size x size pixels.
        mirror: Whether the mirror image of any of your own images is of the same class.
        skip_corrupt: Leave out your own images that cannot be decoded; the data set's `source` says how many.
        root: Folder of the decoded copies; $SPLITPLACE_DATA, else ~/.cache/splitplace/data.

    Returns:
        Images uint8 [N,C,H,W] and labels int64 [N], for training and held out, with their hashes and class names.

    Raises:
        MissingExtraError: The extra `train` is not installed.
        UsageError: An unknown application, or options that do not belong to it.
        SplitPlaceError: No way gave the data; says what was tried.
        IntegrityError: The data is not what it should be.
    """
    needs("fetching images", "train")
    from splitplace.training.data.applications import fetch as get

    return get(
        application,
        None if root is None else Path(root),
        path=None if path is None else Path(path),
        size=size,
        mirror=mirror,
        skip_corrupt=skip_corrupt,
    )


def check_applications(applications: Sequence[str], own: bool) -> Path:
    """Refuse unknown names before any of several is fetched.

    Args:
        applications: Names.
        own: Whether they are of images of the user's own: then any name will do.

    Returns:
        The folder of the decoded copies.

    Raises:
        MissingExtraError: The extra `train` is not installed.
        UsageError: Lists the known names.
    """
    needs("fetching images", "train")
    from splitplace.training.data.applications import check_names, data_root

    check_names(applications, own=own)
    return data_root()
