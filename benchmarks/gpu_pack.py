"""What `benchmarks/gpu.sh` takes to a machine without a network, and what it brings back.

There: images in their publishers' files, packed, and this package with the few it needs that such a machine may lack.
Back: notes, metrics, accuracies and graphs of every cell, and weights as far as there is room, small ones first: a
large network's alone are 90 MB.

    python -m splitplace.benchmarks.gpu_pack pack FOLDER [--tiny100 DIR]    fills FOLDER
    python -m splitplace.benchmarks.gpu_pack unpack FOLDER                  decodes the images there
    python -m splitplace.benchmarks.gpu_pack results WORK OUT               what a run made, into a few small files
"""

import lzma
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import splitplace as sp
from splitplace.catalog import oci
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.files import replace_file
from splitplace.training.data.dataset import Dataset, Images, Labels
from splitplace.training.run import WEIGHTS

LIMIT_BYTES = 60 * 10**6
"""Of all that travels, either way."""
PART_BYTES = 15 * 10**6
"""Of one file that comes back."""
TINY_FILES = ("train.parquet", "test.parquet")
IDX = ("mnist", "fashionmnist")
LOGS = "logs"


def pack(folder: Path, tiny100: Path | None) -> int:
    """Fill a folder with the packed images of the three data sets; returns its bytes, wheels that lie there included.

    Raises:
        SplitPlaceError: More than may travel.
    """
    for application in IDX:
        for name, content in _idx_files(sp.fetch(application)).items():
            replace_file(
                folder / "images" / application / f"{name}.xz", lzma.compress(content, filters=_filters(content))
            )
    for name in TINY_FILES if tiny100 is not None else ():
        assert tiny100 is not None
        content = (tiny100 / name).read_bytes()
        replace_file(folder / "images" / "tiny100" / f"{name}.xz", lzma.compress(content, filters=_filters(content)))
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size_bytes > LIMIT_BYTES:
        raise SplitPlaceError(
            f"{folder} takes {size_bytes} bytes, expected at most {LIMIT_BYTES}: leave a data set out"
        )
    return size_bytes


def unpack(folder: Path) -> None:
    """Decode the images of a packed folder to where data sets are kept; each is held against its digest."""
    for place in sorted((folder / "images").iterdir()):
        with tempfile.TemporaryDirectory() as plain:
            for packed in place.glob("*.xz"):
                replace_file(Path(plain) / packed.name.removesuffix(".xz"), lzma.decompress(packed.read_bytes()))
            sp.fetch(place.name, path=plain)


def results(work: Path, out: Path) -> list[Path]:
    """What a run made, for the way back: all but models in one file, weights in parts of another.

    Args:
        work: The work folder of `splitplace bench demand`.
        out: Where the files go.

    Returns:
        The files: `results.tar.xz`; `weights.tar.0`, ..., which together are one tar file.
    """
    out.mkdir(parents=True, exist_ok=True)
    made = [out / "results.tar.xz"]
    files = sorted(path for path in work.rglob("*") if path.is_file())
    with tarfile.open(made[0], "w:xz") as tar:
        for path in files:
            if path.suffix != ".safetensors" and LOGS not in path.parts and not _is_model(path):
                tar.add(path, path.relative_to(work))
    weights = sorted((path for path in files if path.name == WEIGHTS), key=lambda path: path.stat().st_size)
    room_bytes, chosen = LIMIT_BYTES - made[0].stat().st_size, []
    for path in weights:
        room_bytes -= path.stat().st_size + 2 * tarfile.BLOCKSIZE
        if room_bytes > 0:
            chosen.append(path)
    whole = out / "weights.tar"
    with tarfile.open(whole, "w") as tar:
        for path in chosen:
            tar.add(path, path.relative_to(work))
    for number, part in enumerate(_parts(whole)):
        made.append(out / f"weights.tar.{number}")
        made[-1].write_bytes(part)
    whole.unlink()
    return made


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


def _is_model(path: Path) -> bool:
    """Whether a catalog's blob is no document: those are JSON, and small."""
    return "blobs" in path.parts and (path.stat().st_size > oci.MAX_JSON_BYTES or path.read_bytes()[:1] != b"{")


def _idx_files(data: Dataset) -> dict[str, bytes]:
    """MNIST's form: a magic number that says how many dimensions, their sizes, the bytes."""
    parts = {"train": (data.x_train_NCHW, data.y_train_N), "t10k": (data.x_test_NCHW, data.y_test_N)}
    files = {}
    for name, (x_NCHW, y_N) in parts.items():
        files[f"{name}-images-idx3-ubyte"] = _idx(x_NCHW[:, 0])
        files[f"{name}-labels-idx1-ubyte"] = _idx(y_N.astype(np.uint8))
    return files


def _idx(values: Images | Labels) -> bytes:
    head = np.array([0x0800 + values.ndim, *values.shape], ">u4")
    return head.tobytes() + np.ascontiguousarray(values, np.uint8).tobytes()


def _filters(content: bytes) -> list[dict[str, int]]:
    """Bytes that stand for themselves, and what repeats anywhere in the file, as the head of every JPEG does."""
    return [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": max(len(content), 2**16), "lc": 4, "lp": 0, "pb": 0}]


def main(arguments: Sequence[str]) -> None:
    """As the text above says."""
    match list(arguments):
        case ["pack", folder, *rest] if not rest or (len(rest) == 2 and rest[0] == "--tiny100"):
            size_bytes = pack(Path(folder), Path(rest[1]) if rest else None)
            sys.stderr.write(f"{folder}: {size_bytes / 1e6:.1f} MB to take along\n")
        case ["unpack", folder]:
            unpack(Path(folder))
        case ["results", work, out]:
            for path in results(Path(work), Path(out)):
                sys.stderr.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB\n")
        case _:
            raise UsageError("expected pack FOLDER [--tiny100 DIR], unpack FOLDER or results WORK OUT")


if __name__ == "__main__":
    main(sys.argv[1:])
