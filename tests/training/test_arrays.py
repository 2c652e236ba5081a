"""Images that are decoded already, as Keras and MedMNIST distribute them: what is read, refused, and said."""

import io
import pickle

import numpy as np
import pytest

from splitplace.errors import ContractError, IntegrityError, UsageError
from splitplace.training.data.arrays import as_labels
from splitplace.training.data.own import load_own

RNG = np.random.default_rng(12)


def images(n: int, *shape: int) -> np.ndarray:
    """Random bytes."""
    return RNG.integers(0, 256, (n, *shape), dtype=np.uint8)


def keras(file, labels, shape=(5, 7), **more):
    """An archive of images of this shape with these labels, the same for training and test."""
    x = images(len(labels), *shape)
    np.savez(file, x_train=x, y_train=labels, x_test=x, y_test=labels, **more)
    return file


@pytest.mark.parametrize(
    ("labels", "strange"),
    [
        (np.array([0, 1, -1]), "-1"),
        (np.array([0, 2**63 + 5], np.uint64), "9223372036854775813"),
        (np.array([0, 1, 20191231]), "20191231"),
    ],
)
def test_labels_that_number_no_class_are_refused(labels, strange, tmp_path):
    """What marks an image without a class is no class; nor is a date, or what 64 bits with a sign do not hold."""
    file = keras(tmp_path / "mine.npz", labels)
    with pytest.raises(ContractError, match=rf"x_train: got a label {strange}, expected the numbers of classes, 0 to"):
        load_own(file, "mine")


def test_labels_that_number_no_class_are_refused_in_pickles_too(tmp_path):
    """CIFAR's Python files hold them as a list, in which numbers have no bounds."""
    for label in (-1, 2**70):
        for part in ("train", "test"):
            document = {"data": images(2, 3072), "fine_labels": [0, label]}
            (tmp_path / part).write_bytes(pickle.dumps(document, 2))
        with pytest.raises(ContractError, match=rf"train: got a label {label}, expected the numbers"):
            load_own(tmp_path, "mine")


def test_the_largest_number_of_a_class_is_taken():
    """And no labels at all are none."""
    assert as_labels(np.array([0, 2**16 - 1], np.uint64), "y").tolist() == [0, 2**16 - 1]
    assert as_labels([], "y").dtype == np.int64


def test_classes_that_are_called_by_other_numbers_than_theirs_are_told(tmp_path):
    """Who goes by numbers learns which is which; of those that are their own numbers nothing is said."""
    data = load_own(keras(tmp_path / "mine.npz", np.array([1, 3, 26])), "mine")
    (note,) = data.notes
    assert note == (
        "classes are numbered from 0 on, whatever they are called: 0 is the class '1', 1 is the class '3', "
        "2 is the class '26'"
    )
    assert load_own(keras(tmp_path / "plain.npz", np.array([0, 1, 2])), "mine").notes == ()


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 28, 28), (4, 16, 9)])
def test_images_with_channels_first_are_refused(shape, tmp_path):
    """They are not images of one, three or four rows."""
    file = keras(tmp_path / "mine.npz", np.array([0, 1]), shape)
    with pytest.raises(ContractError, match=r"channels first, expected \(n, height, width, channels\): x\.transpose\("):
        load_own(file, "mine")


@pytest.mark.parametrize(("shape", "channels"), [((3, 9, 3), 3), ((9, 9, 2), 2), ((9, 9, 13), 13)])
def test_images_with_channels_last_are_taken_however_many_they_have(shape, channels, tmp_path):
    """Low ones, too."""
    assert load_own(keras(tmp_path / "mine.npz", np.array([0, 1]), shape), "mine").shape_CHW == (channels, *shape[:2])


def test_a_validation_part_that_is_not_read_is_told(tmp_path):
    """As beside Parquet."""
    data = load_own(keras(tmp_path / "mine.npz", np.array([0, 1]), x_val=images(1, 5, 7), y_val=[0]), "mine")
    assert data.notes == ("beside training and test, the validation part (x_val) was not read",)


def test_an_array_that_is_an_archive_of_arrays_is_refused(tmp_path):
    """In a line."""
    inner = io.BytesIO()
    np.savez(inner, x=[0])
    for name in ("x_train", "y_train", "x_test", "y_test"):
        (tmp_path / f"{name}.npy").write_bytes(inner.getvalue())
    with pytest.raises(IntegrityError, match="x_train: not a numpy array but an archive of several"):
        load_own(tmp_path, "mine")


def test_an_array_whose_header_lies_is_refused(tmp_path):
    """A size beyond any memory, or words that are no header."""
    head = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (%s,), }"
    for words in (head % b"9999999999999999", head % b"(", b"\x93NUMPY\x01\x00\x76\x00{'descr': 5}"):
        for name in ("x_train", "y_train", "x_test", "y_test"):
            (tmp_path / f"{name}.npy").write_bytes(words.ljust(127) + b"\n")
        with pytest.raises(IntegrityError, match="x_train: not a numpy array"):
            load_own(tmp_path, "mine")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_train": images(3, 5, 7) / 255}, r"as bytes of 0 to 255 \(0 to 1 times 255, \.astype\('uint8'\)\)"),
        ({"x_train": images(3, 5, 7).astype(np.int64)}, r"as bytes of 0 to 255 \(\.astype\('uint8'\)\)"),
        ({"y_train": np.eye(3)}, r"of a column a class, y\.argmax\(1\) is the number"),
        ({"y_train": np.array(["a", "b", "a"])}, r"numpy\.unique\(y, return_inverse=True\)\[1\] numbers"),
        ({"y_train": np.array([0.0, 1, 0])}, r"give labels as y\.astype\('int64'\)"),
    ],
)
def test_arrays_in_another_form_are_told_how_they_become_what_is_read(tmp_path, changes, said):
    """As models and scikit-learn have them: what was expected was said, not what to do."""
    x = images(3, 5, 7)
    parts = {"x_train": x, "y_train": [0, 1, 0], "x_test": x, "y_test": [0, 1, 0]}
    np.savez(tmp_path / "mine.npz", **(parts | changes))
    with pytest.raises(ContractError, match=said):
        load_own(tmp_path / "mine.npz", "mine")


def test_arrays_in_capital_letters_are_the_same(tmp_path):
    """X_train beside y_train, as scikit-learn's pages have them."""
    x = images(3, 5, 7)
    np.savez(tmp_path / "mine.npz", X_train=x, y_train=[0, 1, 0], X_test=x, y_test=[0, 1, 0], X_val=x)
    data = load_own(tmp_path / "mine.npz", "mine")
    assert np.array_equal(data.x_train_NCHW[:, 0], x)
    assert "the validation part (X_val) was not read" in data.notes[0]


def test_arrays_by_other_names_are_listed(tmp_path):
    """It was told to be unpacked."""
    np.savez(tmp_path / "mine.npz", images=images(3, 5, 7), labels=[0, 1, 0])
    with pytest.raises(UsageError, match=r"got the arrays images, labels, expected x_train, y_train, x_test"):
        load_own(tmp_path / "mine.npz", "mine")
