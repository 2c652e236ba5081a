"""Parquet as data set hubs write it: struct columns, names in the schema, columns by other names, shards, gaps."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from splitplace.errors import ContractError, IntegrityError, UsageError
from splitplace.training.data.own import load_own

NAMES = ["cat", "dog", "eel"]


def png(seed: int) -> bytes:
    """An image of noise."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def hub(labels, image: str = "image", label: str = "label", names=NAMES, first: int = 0) -> pa.Table:
    """As the `datasets` library writes: a struct of bytes and path, and what each column is in the metadata."""
    images = [{"bytes": png(first + i), "path": f"{i}.png"} for i in range(len(labels))]
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({image: images, label: labels}).replace_schema_metadata(about)


@pytest.mark.parametrize(
    ("image", "label"), [("image", "label"), ("img", "fine_label"), ("image", "labels"), ("scan", "kind")]
)
def test_columns_are_found_by_the_names_people_give_them(tmp_path, image, label):
    """Or by what the hub says they are; the classes are called as the schema says."""
    pq.write_table(hub([0, 1, 2] * 5, image, label), tmp_path / "all.parquet")
    data = load_own(tmp_path / "all.parquet", "pets")
    assert data.class_names == ("cat", "dog", "eel")
    assert len(data.y_train_N) == 12


def test_of_several_labels_the_fine_one_is_taken(tmp_path):
    """As of CIFAR-100, which has both."""
    table = hub([0, 1, 2] * 5, "img", "fine_label").append_column("coarse_label", pa.array([0] * 15))
    pq.write_table(table, tmp_path / "all.parquet")
    assert load_own(tmp_path / "all.parquet", "pets").class_names == ("cat", "dog", "eel")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("other", "exact"), [("Label", "label"), ("LABEL", "class"), ("Image", "image"), ("Image", "img")]
)
def test_the_very_name_of_a_column_goes_before_one_in_other_letters(tmp_path, other, exact, first):
    """Wherever it stands: beside numbers somebody kept the text they were made of."""
    columns = {"image": [png(i) for i in range(10)], "label": [0, 1] * 5}
    columns = {exact if name == ("image" if other == "Image" else "label") else name: v for name, v in columns.items()}
    columns = {other: ["x", "y"] * 5, **columns} if first else {**columns, other: ["x", "y"] * 5}
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    assert load_own(tmp_path / "all.parquet", "pets").class_names == ("0", "1")


def test_what_the_hub_says_a_column_is_goes_before_a_name_in_other_letters(tmp_path):
    """`Image` is the file's name here."""
    table = hub([0, 1, 2] * 5, "scan", "kind").append_column("Image", pa.array(["a.png"] * 15))
    pq.write_table(table.append_column("Label", pa.array(["x"] * 15)), tmp_path / "all.parquet")
    assert load_own(tmp_path / "all.parquet", "pets").class_names == ("cat", "dog", "eel")


def test_columns_that_differ_in_capital_letters_alone_are_refused(tmp_path):
    """Neither is called as expected, so nobody can tell which is meant; one of them alone is taken."""
    images = [png(i) for i in range(10)]
    pq.write_table(pa.table({"Image": images, "Label": [0, 1] * 5}), tmp_path / "one.parquet")
    assert load_own(tmp_path / "one.parquet", "pets").class_names == ("0", "1")
    pq.write_table(pa.table({"Image": images, "Label": [0, 1] * 5, "LABEL": ["x", "y"] * 5}), tmp_path / "two.parquet")
    with pytest.raises(ContractError, match="columns Label, LABEL differ in capital letters alone, expected one of"):
        load_own(tmp_path / "two.parquet", "pets")


@pytest.mark.parametrize(
    "files",
    [
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
        (
            "data/train-00000-of-00002-0a1b.parquet",
            "data/train-00001-of-00002-0a1b.parquet",
            "data/test-00000-of-1.parquet",
        ),
        ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"),
    ],
)
def test_shards_of_a_part_are_one_part(tmp_path, files):
    """In the order of their names, wherever the hub's ways put them."""
    for i, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(hub([0, 1, 2], first=10 * i), tmp_path / file)
    data = load_own(tmp_path, "pets")
    assert (data.y_train_N.tolist(), data.y_test_N.tolist()) == ([0, 1, 2, 0, 1, 2], [0, 1, 2])


def test_a_validation_part_is_held_out_where_there_is_no_test(tmp_path):
    """And says so; beside a test part it is left out."""
    pq.write_table(hub([0, 1, 2] * 2), tmp_path / "train.parquet")
    pq.write_table(hub([0, 1, 2], first=20), tmp_path / "validation.parquet")
    data = load_own(tmp_path, "pets")
    assert len(data.y_test_N) == 3
    assert data.notes == (f"{tmp_path} has no test part: its validation part is held out",)
    pq.write_table(hub([0, 1], first=30), tmp_path / "test.parquet")
    data = load_own(tmp_path, "pets")
    assert len(data.y_test_N) == 2
    assert "validation part" in data.notes[0] and "not read" in data.notes[0]


def test_several_data_sets_in_one_folder_are_not_mixed(tmp_path):
    """The hub keeps each configuration in a folder."""
    for config in ("fine", "coarse"):
        (tmp_path / config).mkdir()
        pq.write_table(hub([0, 1, 2]), tmp_path / config / "train.parquet")
    with pytest.raises(UsageError, match=r"several data sets below it \(coarse/train\.parquet, fine/train\.parquet\)"):
        load_own(tmp_path, "pets")


def test_a_test_part_alone_is_refused(tmp_path):
    """There is nothing to train on."""
    pq.write_table(hub([0, 1, 2]), tmp_path / "test.parquet")
    with pytest.raises(UsageError, match="no file for training"):
        load_own(tmp_path, "pets")


def test_parts_that_number_their_classes_differently_agree_by_name(tmp_path):
    """A label means what its own file calls it."""
    pq.write_table(hub([0, 1, 2] * 2), tmp_path / "train.parquet")
    pq.write_table(hub([0, 1, 2], names=["eel", "cat", "dog"], first=20), tmp_path / "test.parquet")
    data = load_own(tmp_path, "pets")
    assert [data.class_names[c] for c in data.y_test_N] == ["eel", "cat", "dog"]


def test_a_class_that_training_does_not_know_is_refused(tmp_path):
    """By name."""
    pq.write_table(hub([0, 1, 2] * 2), tmp_path / "train.parquet")
    pq.write_table(hub([0, 1, 2], names=["cat", "dog", "fox"], first=20), tmp_path / "test.parquet")
    with pytest.raises(ContractError, match=r"one file names the class\(es\) fox, which another does not have"):
        load_own(tmp_path, "pets")


def test_a_label_that_is_no_number_of_a_class_is_refused(tmp_path):
    """Not after a list of as many classes was made."""
    pq.write_table(pa.table({"image": [png(0), png(1)], "label": [0, 2**40]}), tmp_path / "all.parquet")
    with pytest.raises(ContractError, match=f"got a label {2**40}, expected the numbers of classes"):
        load_own(tmp_path / "all.parquet", "pets")


@pytest.mark.parametrize("labels", [pa.array([0.0, 1e30]), pa.array([0, 2**63 + 5], pa.uint64())])
def test_a_label_beyond_all_whole_numbers_is_none_of_the_named_classes(tmp_path, labels):
    """As any other that is too large."""
    table = pa.table({"image": [png(0), png(1)], "label": labels})
    pq.write_table(table.replace_schema_metadata({"class_names": '["ant", "bee"]'}), tmp_path / "all.parquet")
    with pytest.raises(ContractError, match=f"got a label {int(labels[1].as_py())}, which is none of its 2 classes"):
        load_own(tmp_path / "all.parquet", "pets")


def test_labels_may_be_names(tmp_path):
    """Numbered in the order of text."""
    images = [png(i) for i in range(10)]
    pq.write_table(pa.table({"image": images, "label": ["dog", "cat"] * 5}), tmp_path / "all.parquet")
    data = load_own(tmp_path / "all.parquet", "pets")
    assert data.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        ([None, *(png(i) for i in range(9))], [0, 1] * 5, "no image"),
        (
            [{"bytes": None, "path": "a.png"}, *({"bytes": png(i), "path": ""} for i in range(9))],
            [0, 1] * 5,
            "no image",
        ),
        ([None, *({"bytes": png(i), "path": ""} for i in range(9))], [0, 1] * 5, "no image"),
        ([png(i) for i in range(10)], [None, 1] + [0, 1] * 4, "no label"),
        ([png(i) for i in range(10)], [-1, 1] + [0, 1] * 4, "no label"),
    ],
)
def test_a_row_without_an_image_or_label_is_named_and_can_be_skipped(tmp_path, images, labels, reason):
    """-1 is what hubs write for a label that is kept secret."""
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "all.parquet")
    with pytest.raises(IntegrityError, match=rf"1 unreadable image\(s\): all\.parquet row 0 \({reason}\): repair"):
        load_own(tmp_path / "all.parquet", "pets")
    data = load_own(tmp_path / "all.parquet", "pets", skip_corrupt=True)
    assert len(data.y_train_N) + len(data.y_test_N) == 9


def test_a_struct_without_bytes_is_refused_by_its_fields(tmp_path):
    """One line that says what there is."""
    images = [{"path": f"{i}.png", "data": png(i)} for i in range(4)]
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 2}), tmp_path / "all.parquet")
    with pytest.raises(
        ContractError, match=r"column image has the fields path, data in every row, expected .* `bytes`"
    ):
        load_own(tmp_path / "all.parquet", "pets")


@pytest.mark.parametrize("about", [b"no json", b"{}", b'{"info": []}', b'{"info": {"features": {"label": 3}}}'])
def test_foreign_metadata_is_no_mistake_of_the_user(tmp_path, about):
    """Classes then bear their numbers."""
    table = pa.table({"image": [png(i) for i in range(4)], "label": [0, 1] * 2})
    pq.write_table(table.replace_schema_metadata({b"huggingface": about}), tmp_path / "all.parquet")
    assert load_own(tmp_path / "all.parquet", "pets").class_names == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "names", "left_out"),
    [
        ([0.0, 1.0] * 5, ("0", "1"), 0),
        ([None, 1.0, *[0.0, 1.0] * 4], ("0", "1"), 1),
        ([float("nan"), 1.0, *[0.0, 1.0] * 4], ("0", "1"), 1),
        ([True, False] * 5, ("false", "true"), 0),
        (["", "b", *["a", "b"] * 4], ("a", "b"), 1),
        (pa.array([None, "b", *["a", "b"] * 4]).dictionary_encode(), ("a", "b"), 1),
        (pa.array(["a", "b"] * 5, pa.large_string()), ("a", "b"), 0),
        (pa.array(["a", "b"] * 5, pa.string_view()), ("a", "b"), 0),
        (pa.array([0, 1] * 5, pa.uint8()), ("0", "1"), 0),
    ],
)
def test_labels_are_read_in_whatever_form_a_library_keeps_them(tmp_path, labels, names, left_out):
    """Pandas makes floats of whole numbers of which one is missing; an empty text is no class."""
    pq.write_table(pa.table({"image": [png(i) for i in range(10)], "label": labels}), tmp_path / "all.parquet")
    data = load_own(tmp_path / "all.parquet", "pets", skip_corrupt=True)
    assert data.class_names == names
    assert len(data.y_train_N) + len(data.y_test_N) == 10 - left_out
    if left_out:
        with pytest.raises(IntegrityError, match=r"all\.parquet row 0 \(no label\)"):
            load_own(tmp_path / "all.parquet", "pets")


@pytest.mark.parametrize("value", [0.5, float("inf")])
def test_a_label_between_two_classes_is_refused(tmp_path, value):
    """It is a measure, of which there are no classes."""
    pq.write_table(pa.table({"image": [png(0), png(1)], "label": [0.0, value]}), tmp_path / "all.parquet")
    with pytest.raises(ContractError, match=f"column label is double and has {value}, expected whole numbers or names"):
        load_own(tmp_path / "all.parquet", "pets")


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())])
def test_images_are_bytes_in_whatever_form(tmp_path, kind):
    """The same data set."""
    images = pa.array([png(i) for i in range(10)])
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 5}), tmp_path / "plain.parquet")
    column = images.dictionary_encode() if pa.types.is_dictionary(kind) else images.cast(kind)
    pq.write_table(pa.table({"image": column, "label": [0, 1] * 5}), tmp_path / "other.parquet")
    plain, other = (load_own(tmp_path / f"{name}.parquet", "pets") for name in ("plain", "other"))
    assert (plain.sha256, plain.train_sha256) == (other.sha256, other.train_sha256)


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("secret", [-1, None])
def test_a_test_part_whose_labels_are_secret_is_not_held_out(tmp_path, validation, secret):
    """As the hub has it of competitions: the validation part is, else a part of training."""
    pq.write_table(hub([0, 1, 2] * 5), tmp_path / "train.parquet")
    pq.write_table(hub(pa.array([secret] * 4, pa.int64()), first=40), tmp_path / "test.parquet")
    if validation:
        pq.write_table(hub([0, 1, 2] * 2, first=20), tmp_path / "validation.parquet")
    data = load_own(tmp_path, "pets")
    assert (len(data.y_train_N), len(data.y_test_N)) == ((15, 6) if validation else (12, 3))
    notes = [f"the test part of {tmp_path} has no labels and was left out"]
    notes += [f"{tmp_path} has no test part with labels: its validation part is held out"] * validation
    assert data.notes == tuple(notes)


def test_a_shard_without_rows_is_nothing(tmp_path):
    """As Spark leaves them; none with rows is refused."""
    pq.write_table(hub([0, 1, 2] * 5), tmp_path / "part-0.parquet")
    pq.write_table(hub([0]).slice(1), tmp_path / "part-1.parquet")
    assert len(load_own(tmp_path, "pets").y_train_N) == 12
    (tmp_path / "part-0.parquet").unlink()
    with pytest.raises(ContractError, match="no rows"):
        load_own(tmp_path, "pets")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("pets_train.parquet", "pets_test.parquet"),
        ("pets-train-00000-of-00001.parquet", "pets-test-00000-of-00001.parquet"),
    ],
)
def test_files_that_differ_in_the_name_of_a_part_are_parts(tmp_path, train, test):
    """Test images are never trained on because the set's own name stands first."""
    pq.write_table(hub([0, 1, 2] * 3), tmp_path / train)
    pq.write_table(hub([0, 1, 2], first=20), tmp_path / test)
    data = load_own(tmp_path, "pets")
    assert (len(data.y_train_N), len(data.y_test_N)) == (9, 3)


@pytest.mark.parametrize("labels", [[1, 2, 3], [0, 5, 9], [7.0, 8.0, 30.0]])
def test_numbers_of_classes_may_leave_some_out(labels, tmp_path):
    """Many count from 1: the classes are the numbers that occur, in their order, and are called by them."""
    pq.write_table(pa.table({"image": [png(i) for i in range(6)], "label": labels[::-1] * 2}), tmp_path / "a.parquet")
    data = load_own(tmp_path / "a.parquet", "pets")
    assert data.class_names == tuple(str(int(label)) for label in labels)
    assert sorted([*data.y_train_N, *data.y_test_N]) == [0, 0, 1, 1, 2, 2]
    assert any(note.startswith("classes are numbered from 0 on, whatever they are called: ") for note in data.notes)


def test_a_label_beyond_the_names_of_its_own_file_is_refused(tmp_path):
    """Though another file names more classes."""
    pq.write_table(hub([0, 1, 2] * 2), tmp_path / "train.parquet")
    pq.write_table(hub([0, 1, 2], names=["cat", "dog"], first=20), tmp_path / "test.parquet")
    with pytest.raises(ContractError, match="got a label 2, which is none of its 3 classes"):
        load_own(tmp_path, "pets")


def test_images_beside_parquet_are_said_to_be_left_out(tmp_path):
    """A table of something else may lie among class folders."""
    pq.write_table(hub([0, 1, 2] * 2), tmp_path / "all.parquet")
    assert load_own(tmp_path, "pets").notes == ()
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(png(0))
    (note,) = load_own(tmp_path, "pets").notes
    assert note.startswith(f"beside Parquet, the image files below {tmp_path} were not read")


def write_arrow(table: pa.Table, file: Path, write=pa.ipc.new_stream) -> None:
    """As the hub's library writes it, or with a footer."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(file), "wb") as opened, write(opened, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("write", [pa.ipc.new_stream, pa.ipc.new_file])
def test_what_the_hubs_library_saved_is_taken(tmp_path, write):
    """A folder a part, with its JSON beside, as a stream or a file of Arrow; what it cached of it is passed over."""
    for part, labels, first in (("train", [0, 1, 2] * 5, 0), ("test", [2, 1, 0], 50)):
        write_arrow(hub(labels, first=first), tmp_path / part / "data-00000-of-00001.arrow", write)
        write_arrow(pa.table({"z": [1]}), tmp_path / part / "cache-0123456789abcdef.arrow", write)
        (tmp_path / part / "state.json").write_text("{}")
    data = load_own(tmp_path, "mine")
    assert data.class_names == tuple(NAMES) and "Arrow" in data.source
    assert data.y_train_N.tolist() == [0, 1, 2] * 5 and data.y_test_N.tolist() == [2, 1, 0]


def test_one_file_of_arrow_is_taken_and_a_broken_one_refused(tmp_path):
    """By its name; what is cut off is said to be no Arrow file."""
    write_arrow(hub([0, 1, 2] * 5), tmp_path / "mine-train.arrow")
    assert load_own(tmp_path / "mine-train.arrow", "mine").class_names == tuple(NAMES)
    (tmp_path / "broken.arrow").write_bytes((tmp_path / "mine-train.arrow").read_bytes()[:700])
    with pytest.raises(IntegrityError, match=r"broken.arrow: not an Arrow file"):
        load_own(tmp_path / "broken.arrow", "mine")


def test_parquet_goes_before_arrow_beside_it(tmp_path):
    """The hub's cache has both of one data set."""
    pq.write_table(hub([0, 1, 2] * 5), tmp_path / "train.parquet")
    write_arrow(hub([0, 1, 2] * 9), tmp_path / "cached" / "mine-train.arrow")
    assert len(load_own(tmp_path, "mine").y_train_N) < 15
