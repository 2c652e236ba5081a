import json
from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import ContractError, IntegrityError, SplitPlaceError
from splitplace.training.data.dataset import Dataset, split_by_seed


def test_mean_and_std_are_those_of_the_training_pixels(data):
    """The histogram's mean and standard deviation equal numpy's over all pixels."""
    pixels = data.x_train_NCHW.astype(np.float64) / 255
    mean_C, std_C = data.mean_std_C
    assert mean_C == pytest.approx([pixels.mean()])
    assert std_C == pytest.approx([pixels.std()])


def test_a_saved_data_set_loads_back_unchanged(data, tmp_path):
    """Every array, name and hash survives the disk."""
    data.save(tmp_path / "squares")
    back = Dataset.load(tmp_path / "squares")
    for name in ("x_train_NCHW", "y_train_N", "x_test_NCHW", "y_test_N"):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    assert (back.class_names, back.source, back.sha256) == (data.class_names, data.source, data.sha256)


def test_saving_leaves_no_scratch_folder(data, tmp_path):
    """Only the data set stands there when saving is done."""
    data.save(tmp_path / "squares")
    data.save(tmp_path / "squares")
    assert [entry.name for entry in tmp_path.iterdir()] == ["squares"]


def test_a_changed_pixel_is_found_by_hash(data, tmp_path):
    """A decoded copy that is not what was saved is refused, naming the folder and the remedy."""
    data.save(tmp_path / "squares")
    file = tmp_path / "squares" / "x_test_NCHW.npy"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"held-out data has sha256 .* fetch again"):
        Dataset.load(tmp_path / "squares")


def test_a_pickled_array_is_never_opened(data, tmp_path):
    """An object array in the cache is refused, not unpickled."""
    data.save(tmp_path / "squares")
    np.save(tmp_path / "squares" / "y_test_N.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(IntegrityError, match="damaged"):
        Dataset.load(tmp_path / "squares")


def test_an_unknown_field_in_the_card_is_refused(data, tmp_path):
    """The card is read strictly."""
    data.save(tmp_path / "squares")
    card = tmp_path / "squares" / "dataset.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"extra": 1}))
    with pytest.raises(SplitPlaceError, match="extra"):
        Dataset.load(tmp_path / "squares")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_test_N": np.full(32, 4)}, "labels 4..4, expected 0..3"),
        ({"y_train_N": np.zeros(96, np.int64)}, "one class only"),
        ({"y_train_N": np.arange(96) % 3}, r"no training image of the class\(es\) square3"),
        ({"x_test_NCHW": np.zeros((32, 1, 20, 28), np.uint8)}, "expected one shape"),
        ({"x_train_NCHW": np.zeros((96, 1, 28, 28), np.float32)}, "got images float32"),
        ({"y_train_N": np.zeros(95, np.int64)}, r"labels int64\[95\]"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(data, change, message):
    """Each says what was got and what was expected."""
    fields = {
        name: getattr(data, name)
        for name in ("application", "x_train_NCHW", "y_train_N", "x_test_NCHW", "y_test_N", "class_names", "source")
    }
    with pytest.raises(SplitPlaceError, match=message):
        Dataset(**fields | change)


def test_the_draw_holds_out_the_share_of_every_class():
    """A fifth of each class is held out, no row twice, the same by the same seed and another by another."""
    y_N = np.repeat([0, 1, 2], [50, 20, 10])
    train, test = split_by_seed(y_N, 0.2, seed=3)
    assert sorted([*train, *test]) == list(range(80))
    assert np.bincount(y_N[test]).tolist() == [10, 4, 2]
    np.testing.assert_array_equal(test, split_by_seed(y_N, 0.2, seed=3)[1])
    assert not np.array_equal(test, split_by_seed(y_N, 0.2, seed=4)[1])


def test_the_draw_leaves_an_image_of_every_class_to_train_on():
    """However large the share; a class of a single image has none held out."""
    y_N = np.repeat([0, 1, 2], [10, 2, 1])
    train, test = split_by_seed(y_N, 0.95, seed=0)
    assert np.bincount(y_N[train]).tolist() == [1, 1, 1]
    assert np.bincount(y_N[test]).tolist() == [9, 1]


@pytest.mark.parametrize("name", ["", "x" * 257, "caf\udce9"])
def test_a_class_that_no_record_can_name_is_refused_before_anything_is_trained(data, name):
    """No text, too long for a catalog, or a folder's name that is no UTF-8."""
    with pytest.raises(ContractError, match=r"the class name '.*expected text in UTF-8 of 1 to 256 letters: rename"):
        replace(data, class_names=(name, *data.class_names[1:]))


def test_copies_of_an_image_are_not_validated_on_and_trained_on(data):
    """Those of other images stay where they were."""
    twice = replace(data, x_train_NCHW=data.x_train_NCHW.copy())
    train, validation = data.training_rows(0.25)
    kept, copy = train[train > validation[0]][0], validation[0]
    twice.x_train_NCHW[kept] = twice.x_train_NCHW[copy]  # drawn for validation comes first: its copy follows
    now_trained, now_validated = twice.training_rows(0.25)
    assert set(now_validated) == {*validation, kept}
    assert set(now_trained) == set(train) - {kept}


def test_where_all_are_copies_of_one_image_some_are_validated_on(data):
    """Else there would be nothing to measure."""
    alike = replace(data, x_train_NCHW=np.zeros_like(data.x_train_NCHW))
    train, validation = alike.training_rows(0.25)
    assert len(train) and len(validation)


def test_a_class_of_copies_alone_is_trained_on_and_validated_on(data):
    """What is drawn of it stays drawn: it would have no training image."""
    x_NCHW = data.x_train_NCHW.copy()
    x_NCHW[data.y_train_N == 1] = 7
    train, validation = replace(data, x_train_NCHW=x_NCHW).training_rows(0.25)
    assert 1 in data.y_train_N[train]
    assert set(train) | set(validation) == set(range(len(x_NCHW)))
