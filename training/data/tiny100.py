"""tiny100: every second class of Tiny-ImageNet-200, 32x32, colour; the stand-in where CIFAR-100 cannot be had.

It is in no public place and never called CIFAR-100.
"""

from pathlib import Path

from splitplace.training.data.application import Application
from splitplace.training.data.arrays import Arrays
from splitplace.training.data.own import load_own


def _on_disk(path: Path) -> Arrays | None:
    if path.is_dir() and not (path / "train.parquet").is_file():
        return None
    data = load_own(path, "tiny100")
    train, test = (data.x_train_NCHW, data.y_train_N), (data.x_test_NCHW, data.y_test_N)
    return Arrays(train, test, data.class_names, data.source)


TINY100 = Application(
    name="tiny100",
    class_names=(
        *("goldfish", "bullfrog", "American alligator", "trilobite", "black widow", "centipede", "koala"),
        *("brain coral", "slug", "American lobster", "black stork", "albatross", "Chihuahua", "golden retriever"),
        *("German shepherd", "tabby", "Egyptian cat", "lion", "ladybug", "bee", "walking stick", "mantis"),
        *("monarch", "sea cucumber", "hog", "bison", "gazelle", "orangutan", "baboon", "lesser panda"),
        *("academic gown", "apron", "bannister", "barn", "basketball", "beach wagon", "beaker", "bikini"),
        *("birdhouse", "brass", "bucket", "butcher shop", "cannon", "cash machine", "chain", "Christmas stocking"),
        *("computer keyboard", "convertible", "dam", "dining table", "dumbbell", "fountain", "frying pan"),
        *("gasmask", "gondola", "iPod", "kimono", "lawn mower", "limousine", "maypole", "miniskirt", "nail"),
        *("obelisk", "organ", "pay-phone", "pill bottle", "pole", "poncho", "potter's wheel", "punching bag"),
        *("refrigerator", "rocking chair", "sandal", "scoreboard", "snorkel", "sombrero", "spider web"),
        *("steel arch bridge", "sunglasses", "swimming trunks", "teapot", "thatch", "tractor", "trolleybus"),
        *("umbrella", "viaduct", "water jug", "wok", "comic book", "guacamole", "ice lolly", "mashed potato"),
        *("bell pepper", "orange", "banana", "meat loaf", "potpie", "alp", "coral reef", "seashore"),
    ),
    n_train=50_000,
    n_test=5_000,
    mirror=True,
    on_disk=_on_disk,
    files="train.parquet and test.parquet",
    variable="SPLITPLACE_TINY100",
)
