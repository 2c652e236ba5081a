"""`splitplace data`: real data sets on this machine."""

from pathlib import Path

from rich.table import Table

from splitplace.cli.output import bar, emit
from splitplace.errors import UsageError


def fetch(
    *applications: str,
    path: Path | None = None,
    size: int | None = None,
    skip_corrupt: bool = False,
    json: bool = False,
) -> None:
    """Get real data sets by every known way, and keep them decoded.

    Kept in $SPLITPLACE_DATA, else ~/.cache/splitplace/data.

    Args:
        applications: mnist, fashionmnist, cifar100, tiny100, or a name of your own with --path.
        path: Your own images: a folder of class folders, or Parquet with the columns image and label; of either one for
            all, of which a fifth of every class is held out, or train and test. Or the files of a known data set, as
            its publisher distributes them (IDX, CIFAR's archives; of tiny100 its Parquet folder).
        size: Resize your own images to SIZE x SIZE.
        skip_corrupt: Leave out your own images that cannot be decoded, and say how many.
        json: Print one JSON document.
    """
    import splitplace as sp
    from splitplace.api.fetch import check_applications

    if not applications:
        raise UsageError("name at least one application, as: splitplace data fetch fashionmnist")
    if path is not None and len(applications) > 1:
        raise UsageError(f"--path belongs to one application, got {', '.join(applications)}")
    root = check_applications(applications, own=path is not None)
    found = []
    with bar() as progress:
        for i, application in enumerate(applications):
            progress(f"fetching {application}", i / len(applications))
            found.append(sp.fetch(application, path=path, size=size, skip_corrupt=skip_corrupt))
    table = Table("application", "train", "held out", "classes", "image", "source")
    for data in found:
        shape = "x".join(str(n) for n in data.shape_CHW)
        counts = (len(data.y_train_N), len(data.y_test_N), data.n_classes)
        table.add_row(data.application, *(str(n) for n in counts), shape, data.source)
    document = {
        "root": str(root),
        "datasets": [
            {
                "application": data.application,
                "n_train": len(data.y_train_N),
                "n_test": len(data.y_test_N),
                "classes": list(data.class_names),
                "shape": list(data.shape_CHW),
                "sha256": data.sha256,
                "source": data.source,
                "notes": list(data.notes),
            }
            for data in found
        ],
    }
    emit(document, table, json)
