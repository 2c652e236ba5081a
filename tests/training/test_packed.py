"""Archives and packed files: what is looked into, what is read of it, and what is refused."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from splitplace.errors import IntegrityError, UsageError
from splitplace.training.data import packed
from splitplace.training.data.own import load_own
from splitplace.training.data.packed import files_in, is_archive

RECORD = bytes([9, 1]) + bytes(3072)
"""Of CIFAR-100's binary form: a coarse label, a fine one, and the pixels."""


def tar(file, members: dict[str, bytes]) -> None:
    """An archive of these."""
    with tarfile.open(file, "w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def zipped(file, members: dict[str, bytes]) -> None:
    """An archive of these."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


WRITE = pytest.mark.parametrize("write", [tar, zipped])


@WRITE
def test_an_archive_is_looked_into_without_being_read(write, tmp_path):
    """A user's backup beside a data set, say: what it takes does not grow with what is in it."""
    write(tmp_path / "backup", {f"{i}.img": bytes(2**24) for i in range(3)})
    tracemalloc.start()
    try:
        assert list(files_in(tmp_path / "backup")) == ["0.img", "1.img", "2.img"]
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@WRITE
def test_members_are_read_in_any_order(write, tmp_path):
    """And more than once."""
    members = {"a/x": b"one", "a/y": b"two" * 1000, "b/z": b""}
    write(tmp_path / "some", members)
    files = files_in(tmp_path / "some")
    assert [files[name]() for name in ("z", "y", "x", "y")] == [b"", b"two" * 1000, b"one", b"two" * 1000]


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_a_data_set_takes_no_more_than_it_may(form, monkeypatch, tmp_path):
    """All of its files together, packed or not: it is refused before it takes the memory."""
    members = {"train.bin": RECORD * 4, "test.bin.gz": gzip.compress(RECORD * 4)}
    if form == "folder":
        for name, data in members.items():
            (tmp_path / name).write_bytes(data)
    else:
        {"tar": tar, "zip": zipped}[form](tmp_path / "cifar", members)
    place = tmp_path if form == "folder" else tmp_path / "cifar"
    monkeypatch.setattr(packed, "MAX_DECODED_BYTES", 7 * len(RECORD))
    with pytest.raises(IntegrityError, match=r"test\.bin\.gz: more than \d+ bytes with the files of its data set"):
        load_own(place, "mine")


@WRITE
def test_files_packed_one_by_one_are_unpacked_in_an_archive_too(write, tmp_path):
    """As EMNIST's gzip.zip has them."""
    write(tmp_path / "gzip", {f"gzip/{name}.bin.gz": gzip.compress(RECORD * 2) for name in ("train", "test")})
    assert files_in(tmp_path / "gzip")["train.bin"]() == RECORD * 2


@WRITE
def test_two_data_sets_in_one_archive_are_not_mixed(write, tmp_path):
    """Nobody knows which is meant; the folders are named."""
    write(tmp_path / "both", {f"{place}/{name}.bin": RECORD for place in ("a", "b") for name in ("train", "test")})
    with pytest.raises(UsageError, match=r"both: train\.bin lies in several folders of it \(a, b\): unpack it and giv"):
        load_own(tmp_path / "both", "mine")


def test_what_macos_leaves_in_an_archive_is_no_second_data_set(tmp_path):
    """Nor is what is packed again beside itself, or stands in a folder of its own name."""
    members = {"set/train.bin": RECORD * 2, "set/train.bin/train.bin": RECORD * 2, "set/train.bin.gz": b"broken"}
    zipped(tmp_path / "one.zip", members | {"set/test.bin": RECORD, "__MACOSX/set/test.bin": b"resource fork"})
    files = files_in(tmp_path / "one.zip")
    assert [len(files[name]()) // len(RECORD) for name in ("train.bin", "test.bin")] == [2, 1]


@pytest.mark.parametrize("length", [5, 12, 25, 40])
def test_a_packed_file_that_is_cut_off_is_no_archive(length, tmp_path):
    """Wherever it was cut: it is refused in a line, and beside a data set it is none of it."""
    cut = tmp_path / "labels.gz"
    cut.write_bytes(gzip.compress(np.random.default_rng(0).bytes(1000))[:length])
    assert not is_archive(cut)
    with pytest.raises(UsageError, match=r"labels\.gz: not a data set: expected"):
        load_own(cut, "mine")
