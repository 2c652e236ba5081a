import io
import json
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from splitplace.api.examples import read_examples
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.records.preprocessing import ImageRule
from splitplace.training.data.applications import fetch
from splitplace.training.data.own import load_own


def encode(pixels: np.ndarray) -> bytes:
    """A PNG: lossless, so that decoding can be held against the pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def images(n: int, seed: int = 7, size: int = 12) -> list[np.ndarray]:
    """Random RGB images from a stated seed."""
    return list(np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


def write_folder(root, names=("cat", "dog"), per_class=5, size=12):
    """A folder of class folders; returns the pixels in the order of classes and files."""
    written = []
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i, pixels in enumerate(images(per_class, seed=k, size=size)):
            (root / name / f"{i}.png").write_bytes(encode(pixels))
            written.append(pixels)
    return written


def write_parquet(file, pixels, labels, metadata=None, image_type=None):
    """A Parquet file with the columns image and label."""
    column = pa.array([encode(p) for p in pixels]) if image_type is None else image_type
    table = pa.table({"image": column, "label": pa.array(labels, pa.int16())})
    pq.write_table(table.replace_schema_metadata(metadata or {}), file)


def test_an_image_folder_with_train_and_test_is_read_as_given(tmp_path):
    """Pixels, classes and the user's own division arrive unchanged."""
    train = write_folder(tmp_path / "train")
    test = write_folder(tmp_path / "test", per_class=2)
    data = load_own(tmp_path, "pets")
    np.testing.assert_array_equal(data.x_train_NCHW, np.stack(train).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.x_test_NCHW, np.stack(test).transpose(0, 3, 1, 2))
    assert data.class_names == ("cat", "dog")
    assert data.y_test_N.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("train",), r"got the folder\(s\) train, but no test: expected train/CLASS/\* and"),
        (("test", "valid"), r"got the folder\(s\) test, valid, but no train"),
        (("Val",), r"got the folder\(s\) Val, but no train and no test"),
    ],
)
def test_parts_of_a_data_set_are_no_classes(tmp_path, parts, message):
    """A folder of parts is not learned as classes; what is missing is said."""
    for part in parts:
        write_folder(tmp_path / part)
    with pytest.raises(UsageError, match=message):
        load_own(tmp_path, "pets")


def test_a_part_may_be_a_class_among_others(tmp_path):
    """Cars and trains."""
    write_folder(tmp_path, names=("car", "train"))
    assert load_own(tmp_path, "vehicles").class_names == ("car", "train")


def test_an_image_folder_without_test_is_split_by_seed(tmp_path):
    """A fifth of each class is held out and said so in the source."""
    write_folder(tmp_path, per_class=10)
    data = load_own(tmp_path, "pets", seed=5)
    assert np.bincount(data.y_test_N).tolist() == [2, 2]
    assert "held out by seed 5" in data.source


def test_a_publishers_file_that_strayed_among_class_folders_is_left_out(tmp_path):
    """It is told; the classes are there."""
    write_folder(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"")
    data = load_own(tmp_path, "pets")
    assert data.class_names == ("cat", "dog")
    (note,) = data.notes
    assert note.startswith(
        "beside image files, what seems to be a publisher's was left out: got t10k-images-idx3-ubyte"
    )


def test_class_folders_beside_a_publishers_arrays_are_told(tmp_path):
    """The arrays are taken."""
    write_folder(tmp_path)
    for name, values in (("x", np.arange(32, dtype=np.uint8).reshape(2, 4, 4) * 8), ("y", np.arange(2))):
        for part in ("train", "test"):
            np.save(tmp_path / f"{name}_{part}.npy", values)
    data = load_own(tmp_path, "pets")
    assert data.class_names == ("0", "1")
    assert data.notes == (
        f"beside numpy arrays, the image files below {tmp_path} were not read: give a folder without those",
    )


def test_what_a_user_does_not_see_is_no_image(tmp_path):
    """A publisher's files are found in the folder below, whatever the system left beside it."""
    (tmp_path / "set").mkdir()
    for part in ("train", "test"):
        np.save(tmp_path / "set" / f"x_{part}.npy", np.arange(32, dtype=np.uint8).reshape(2, 4, 4) * 8)
        np.save(tmp_path / "set" / f"y_{part}.npy", np.arange(2))
    for hidden in ("__MACOSX/set/._0.png", ".cache/0.png", "._x.png"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hidden).write_bytes(b"")
    data = load_own(tmp_path, "mine")
    assert (data.source, data.notes) == ("numpy arrays set", ())


def test_images_of_different_sizes_need_a_size(tmp_path):
    """Without --size the first image that differs is named; with it all are resized."""
    write_folder(tmp_path, names=("a", "b"))
    (tmp_path / "b" / "odd.png").write_bytes(encode(images(1, size=20)[0]))
    with pytest.raises(SplitPlaceError, match=r"odd\.png: 20x20 pixels.*--size"):
        load_own(tmp_path, "pets")
    assert load_own(tmp_path, "pets", size=16).shape_CHW == (3, 16, 16)


def test_grey_images_have_one_channel(tmp_path):
    """A folder of grey images is not blown up to three channels."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            (tmp_path / name / f"{i}.png").write_bytes(encode(images(1)[0][:, :, 0]))
    assert load_own(tmp_path, "grey").shape_CHW == (1, 12, 12)


def test_corrupt_images_are_named_and_counted(tmp_path):
    """A file cut short, and one that is no image, are refused by name, not skipped."""
    write_folder(tmp_path, names=("a", "b"))
    cut = tmp_path / "a" / "0.png"
    cut.write_bytes(cut.read_bytes()[:60])
    (tmp_path / "a" / "3.png").write_text("years of work")
    with pytest.raises(
        SplitPlaceError, match=r"2 unreadable image\(s\): .*a/0\.png \(.*\), .*a/3\.png \(not an image\)"
    ):
        load_own(tmp_path, "pets")


def test_corrupt_images_are_skipped_when_asked(tmp_path):
    """The others keep their labels, and the source says how many are missing."""
    write_folder(tmp_path, names=("a", "b"))
    whole = load_own(tmp_path, "pets", test_share=0.5)
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    data = load_own(tmp_path, "pets", test_share=0.5, skip_corrupt=True)
    assert len(data.y_train_N) + len(data.y_test_N) == len(whole.y_train_N) + len(whole.y_test_N) - 1
    assert "1 unreadable image(s) skipped" in data.source
    labels = {x.tobytes(): y for x, y in zip(whole.x_train_NCHW, whole.y_train_N, strict=True)}
    labels |= {x.tobytes(): y for x, y in zip(whole.x_test_NCHW, whole.y_test_N, strict=True)}
    assert all(labels[x.tobytes()] == y for x, y in zip(data.x_train_NCHW, data.y_train_N, strict=True))


def test_a_class_without_an_image_left_is_refused(tmp_path):
    """All that it had were corrupt; it is named."""
    write_folder(tmp_path, names=("a", "b", "c"), per_class=2)
    for file in (tmp_path / "b").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(
        SplitPlaceError, match=r"2 unreadable image\(s\) skipped\)\): no training image of the class\(es\) b"
    ):
        load_own(tmp_path, "pets", skip_corrupt=True)


def test_class_names_without_labels_are_refused(tmp_path):
    """A class that is named and has no image in the training part."""
    names = {"class_names": json.dumps(["x", "y", "z"])}
    write_parquet(tmp_path / "all.parquet", images(6), [0, 1] * 3, names)
    with pytest.raises(SplitPlaceError, match=r"no training image of the class\(es\) z: expected at least one"):
        load_own(tmp_path / "all.parquet", "mine")


def test_a_mirror_image_may_be_of_the_same_class(tmp_path):
    """As the user says; nothing is assumed."""
    write_folder(tmp_path)
    assert [fetch("pets", path=tmp_path, mirror=mirror).mirror for mirror in (False, True)] == [False, True]


def test_a_folder_of_one_class_is_refused(tmp_path):
    """There is nothing to tell apart."""
    write_folder(tmp_path, names=("only",))
    with pytest.raises(SplitPlaceError, match=r"1 class folder\(s\) \(only\), expected at least 2"):
        load_own(tmp_path, "pets")


def test_parquet_with_train_and_test_is_read_as_given(tmp_path):
    """Encoded images, labels and class names arrive unchanged."""
    pixels = images(6)
    names = {"class_names": json.dumps(["x", "y", "z"])}
    write_parquet(tmp_path / "train.parquet", pixels, [0, 1, 2, 0, 1, 2], names)
    write_parquet(tmp_path / "test.parquet", pixels[:2], [1, 2], names)
    data = load_own(tmp_path, "mine")
    np.testing.assert_array_equal(data.x_train_NCHW, np.stack(pixels).transpose(0, 3, 1, 2))
    assert data.class_names == ("x", "y", "z")
    assert data.y_test_N.tolist() == [1, 2]


def test_one_parquet_file_is_split_by_seed_and_takes_struct_images(tmp_path):
    """The struct {bytes, path} that data set hubs write is understood; unnamed classes bear their numbers."""
    pixels = images(20)
    column = pa.array([{"bytes": encode(p), "path": "x.png"} for p in pixels])
    write_parquet(tmp_path / "all.parquet", pixels, [0, 1] * 10, image_type=column)
    data = load_own(tmp_path / "all.parquet", "mine")
    assert (len(data.y_train_N), len(data.y_test_N)) == (16, 4)
    assert data.class_names == ("0", "1")


def test_a_corrupt_parquet_row_is_named(tmp_path):
    """By file and row."""
    column = pa.array([encode(images(1)[0]), b"no image"])
    write_parquet(tmp_path / "all.parquet", [0, 0], [0, 1], image_type=column)
    with pytest.raises(SplitPlaceError, match=r"1 unreadable image\(s\): all\.parquet row 1"):
        load_own(tmp_path / "all.parquet", "mine")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [b"x"]}, r"got the columns \['image'\], expected image and label"),
        ({"image": ["text"], "label": [0]}, "column image is string"),
        ({"image": [b"x"], "label": [0.5]}, "column label is double"),
    ],
)
def test_parquet_of_another_form_is_refused(tmp_path, columns, message):
    """Each says which column is wrong."""
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    with pytest.raises(SplitPlaceError, match=message):
        load_own(tmp_path / "all.parquet", "mine")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    """One line, no traceback of the reader's."""
    (tmp_path / "all.parquet").write_bytes(b"hello")
    with pytest.raises(SplitPlaceError, match="not a Parquet file"):
        load_own(tmp_path / "all.parquet", "mine")


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path):
    """Exit code 2: the user's mistake."""
    with pytest.raises(UsageError, match="no such file"):
        load_own(tmp_path / "nowhere", "mine")


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_pages_behind_the_first_are_told(tmp_path, suffix):
    """A stack of slices, or an animation, is one image here."""
    write_folder(tmp_path)
    first, *more = [Image.fromarray(pixels) for pixels in images(3)]
    first.save(tmp_path / "cat" / f"stack.{suffix}", save_all=True, append_images=more)
    (note,) = load_own(tmp_path, "pets").notes
    assert "1 file(s) hold several pictures, of which the first was read" in note
    assert f"stack.{suffix}" in note


def test_an_animation_that_breaks_off_is_its_first_picture(tmp_path):
    """As viewers show it."""
    write_folder(tmp_path)
    first, *more = [Image.fromarray(pixels) for pixels in images(3)]
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=more)
    one = io.BytesIO()
    first.save(one, "GIF")
    (tmp_path / "cat" / "cut.gif").write_bytes(stream.getvalue()[: len(one.getvalue()) + 40])
    data = load_own(tmp_path, "pets")
    assert len(data.y_train_N) + len(data.y_test_N) == 11


def test_twelve_bits_saved_as_sixteen_are_told(tmp_path):
    """Of 256 levels, 16 are left of them."""
    for name, level in (("dark", 500), ("bright", 3500)):
        (tmp_path / name).mkdir()
        for i in range(5):
            pixels = np.random.default_rng(i).normal(level, 100, (8, 8)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (note,) = load_own(tmp_path, "scans").notes
    assert "all pixels of the training images are between" in note
    assert "stretch" in note


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_class_folders_that_look_alike_are_one_class(tmp_path, form):
    """MacOS writes é as two letters: folders of one name that came from two machines."""
    names = [unicodedata.normalize(form, name) for name in ("café", "thé")]
    write_folder(tmp_path / "train", names=("café", "thé"))
    write_folder(tmp_path / "train", names=names[:1], per_class=3) if form == "NFD" else None
    write_folder(tmp_path / "test", names=names, per_class=2)
    data = load_own(tmp_path, "drinks")
    assert data.class_names == ("café", "thé")
    assert (len(data.y_train_N), data.y_test_N.tolist()) == (13 if form == "NFD" else 10, [0, 0, 1, 1])


def test_parquet_names_that_look_alike_are_one_class(tmp_path):
    """In the rows as in what a file calls its classes."""
    two = [unicodedata.normalize("NFD", name) for name in ("café", "thé")]
    for part, labels in (("train", ["café", "café", "thé", "thé"]), ("test", two)):
        table = pa.table({"image": [encode(pixels) for pixels in images(len(labels))], "label": labels})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    data = load_own(tmp_path, "drinks")
    assert (data.class_names, data.y_test_N.tolist()) == (("café", "thé"), [0, 1])


def test_images_that_training_never_saw_are_all_held_out(tmp_path):
    """One image a class is enough, for nothing is trained on them."""
    write_folder(tmp_path, per_class=1)
    data = load_own(tmp_path, "pets", unseen=True)
    assert data.y_test_N.tolist() == [0, 1]


def test_examples_are_own_images_that_training_does_not_hold_out(tmp_path):
    """Read by the split's rule."""
    write_folder(tmp_path, per_class=10)
    rule = ImageRule(channels=3, height=6, width=6)
    examples = read_examples(tmp_path, lambda: rule, "pets")
    np.testing.assert_array_equal(examples, load_own(tmp_path, "pets", rule=rule).x_train_NCHW)


def test_examples_are_images_in_a_folder(tmp_path):
    """And no more of them than are of use."""
    write_folder(tmp_path, per_class=10)
    rule = ImageRule(channels=3, height=12, width=12)
    assert read_examples(tmp_path / "cat", lambda: rule, "pets").shape == (10, 3, 12, 12)
