"""Folders of images as people have them: parts by other names, what systems leave behind, copies, links."""

import os
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from splitplace.api.train import train
from splitplace.errors import ContractError, IntegrityError, SplitPlaceError, UsageError, explained
from splitplace.training.data.own import check_apart, load_own
from splitplace.training.data.parts import part_called


def write(folder, n: int, seed: int = 0, suffix: str = ".png") -> None:
    """Images of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, *folder.name.encode()])
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(folder / f"{i}{suffix}")


def counts(data) -> tuple[int, int]:
    """How many images train and how many are held out."""
    return len(data.y_train_N), len(data.y_test_N)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("Training", "train"), ("training_set", "train"), ("TrainData", "train"),
        ("Testing", "test"), ("test-set", "test"), ("test_images", "test"),
        ("val", "validation"), ("Validation", "validation"), ("dev", "validation"),
        ("trains", None), ("contest", None), ("car", None), ("set", None), ("", None),
    ],
)  # fmt: skip
def test_parts_are_known_by_what_people_call_them(name, part):
    """And classes are not taken for them."""
    assert part_called(name) == part


@pytest.mark.parametrize("parts", [("Training", "Testing"), ("training_set", "test_set"), ("Train", "Test")])
def test_training_and_test_by_other_names_are_parts(tmp_path, parts):
    """The classes are those in them, and what is beside them is said to be left out."""
    for part, n in zip(parts, (6, 2), strict=True):
        for name in ("glioma", "none"):
            write(tmp_path / part / name, n, seed=n)
    write(tmp_path / "docs", 1)
    data = load_own(tmp_path, "mri")
    assert (data.class_names, counts(data)) == (("glioma", "none"), (12, 4))
    assert data.notes == (f"beside training and test, docs of {tmp_path} was not read",)


def test_classes_called_by_numbers_are_in_the_order_of_numbers(tmp_path):
    """Class 10 comes after class 2, as everybody counts."""
    for name in ("10", "2", "1", "30"):
        write(tmp_path / name, 2)
    assert load_own(tmp_path, "dials").class_names == ("1", "2", "10", "30")


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir"])
def test_what_nobody_sees_is_no_class_and_no_image(tmp_path, hidden):
    """Beside the classes, inside of one, empty or full; and files whose name begins with a dot."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 5)
    want = load_own(tmp_path, "insects")
    write(tmp_path / hidden, 3)
    shutil.copytree(tmp_path / "ant", tmp_path / "bee" / hidden)
    (tmp_path / "bee" / "._0.png").write_bytes(b"what macOS keeps beside an image")
    got = load_own(tmp_path, "insects")
    assert (got.sha256, got.train_sha256, got.class_names, got.notes) == (
        want.sha256,
        want.train_sha256,
        want.class_names,
        (),
    )


def test_every_form_that_can_be_read_is(tmp_path):
    """By the ending that its writers give it."""
    endings = (".png", ".jfif", ".jpe", ".jp2", ".tif", ".webp", ".gif", ".ppm", ".avif", ".bmp")
    for name in ("ant", "bee"):
        for i, ending in enumerate(endings):
            write(tmp_path / name / f"{name}{i}", 1, suffix=ending)
    data = load_own(tmp_path, "insects")
    assert sum(counts(data)) == 2 * len(endings)
    assert data.notes == ()


def test_files_that_are_no_images_by_name_are_said_to_be_left_out(tmp_path):
    """With their number, by ending; so are images in no class folder."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 3)
        (tmp_path / name / "1.heic").write_bytes(b"")
    (tmp_path / "bee" / "notes.txt").write_text("")
    (tmp_path / "overview.png").write_bytes(b"")
    said = " ".join(load_own(tmp_path, "insects").notes)
    assert "3 file(s) below" in said and ".heic (2), .txt (1)" in said
    assert "1 image(s) stand in no class folder and were left out" in said


def test_a_link_to_nowhere_is_named_and_can_be_skipped(tmp_path):
    """It bears an image's name and is no file."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 4)
    (tmp_path / "ant" / "z.png").symlink_to("/nowhere/z.png")
    with pytest.raises(IntegrityError, match=r"1 unreadable image\(s\): .*ant/z\.png \(no file .*\): repair or remove"):
        load_own(tmp_path, "insects")
    data = load_own(tmp_path, "insects", skip_corrupt=True)
    assert sum(counts(data)) == 8
    assert "1 unreadable image(s) skipped" in data.source


def test_a_folder_called_like_an_image_is_a_folder(tmp_path):
    """What is in it belongs to the class."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 4)
    write(tmp_path / "bee" / "scans.jpg", 2, seed=7)
    assert sum(counts(load_own(tmp_path, "insects"))) == 10


def test_copies_of_an_image_stay_on_one_side_and_are_counted(tmp_path):
    """No image is both trained on and held out, whoever copied it under whatever name."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 20)
        for i in range(20):
            shutil.copy(tmp_path / name / f"{i}.png", tmp_path / name / f"{i} (copy).png")
    data = load_own(tmp_path, "insects")
    train, test = ({x.tobytes() for x in part} for part in (data.x_train_NCHW, data.x_test_NCHW))
    assert not train & test
    assert counts(data) == (64, 16)
    assert data.notes == (f"40 of 80 images of {tmp_path} are copies of others: each on the side of its original",)


def test_copies_do_not_change_which_of_the_others_are_held_out(tmp_path):
    """The draw is among different images."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 20)
    before = load_own(tmp_path, "insects")
    shutil.copy(tmp_path / "ant" / "3.png", tmp_path / "ant" / "z.png")
    after = load_own(tmp_path, "insects")
    assert {x.tobytes() for x in before.x_test_NCHW} == {x.tobytes() for x in after.x_test_NCHW}


def test_held_out_images_that_are_training_images_too_are_counted(tmp_path):
    """The user's own division is kept, and said to be none."""
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            write(tmp_path / part / name, 4, seed=int(part == "train"))
    shutil.copy(tmp_path / "train" / "ant" / "0.png", tmp_path / "test" / "ant" / "copy.png")
    assert load_own(tmp_path, "insects").notes == (f"1 of 9 held-out images of {tmp_path} are training images, too",)


def test_the_same_image_in_two_classes_is_said(tmp_path):
    """One of the labels is wrong."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 6)
    shutil.copy(tmp_path / "ant" / "0.png", tmp_path / "bee" / "z.png")
    assert load_own(tmp_path, "insects").notes[-1] == "1 of them are in another class than their original"


def test_one_image_a_class_is_refused_in_the_words_of_folders(tmp_path):
    """Nothing can be held out; says what would help."""
    for name in ("ant", "bee", "cat"):
        write(tmp_path / name, 1)
    with pytest.raises(
        ContractError, match=r"one image a class, .* add images, or give others as test/CLASS/\*"
    ) as caught:
        load_own(tmp_path, "shop")
    assert "uint8" not in str(caught.value)


def test_a_class_of_one_image_among_others_is_named(tmp_path):
    """It is trained on and never held out."""
    for name, n in (("ant", 5), ("bee", 5), ("cat", 1)):
        write(tmp_path / name, n)
    assert load_own(tmp_path, "insects").notes == (
        f"1 class(es) of {tmp_path} have no held-out image, for want of a second: cat",
    )


def test_copies_of_two_images_are_taken_with_a_word(tmp_path):
    """Nothing can be held out apart from its copies: accuracy says nothing then."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 1)
        for i in range(3):
            shutil.copy(tmp_path / name / "0.png", tmp_path / name / f"copy{i}.png")
    data = load_own(tmp_path, "insects")
    assert counts(data) == (6, 2)
    assert "held-out accuracy says nothing" in data.notes[0]


def test_a_part_without_its_companion_is_refused(tmp_path):
    """Not learned as a class."""
    write(tmp_path / "Training" / "ant", 2)
    with pytest.raises(UsageError, match=r"got the folder\(s\) Training, but no test: expected train/CLASS"):
        load_own(tmp_path, "insects")


@pytest.mark.parametrize(
    "names", [("seg_train", "seg_test"), ("train_2021", "test_2021"), ("pets-train-64", "pets-test-64")]
)
@pytest.mark.parametrize("doubled", [False, True])
def test_parts_are_told_by_what_their_names_differ_in(tmp_path, names, doubled):
    """Beside what else lies there; and a folder in one of the same name, as archives leave it, is that one."""
    for name, n in zip(names, (6, 2), strict=True):
        for animal in ("ant", "bee"):
            write(tmp_path / name / (name if doubled else "") / animal, n, seed=n)
    write(tmp_path / "seg_pred", 1)
    data = load_own(tmp_path, "insects")
    assert (data.class_names, counts(data)) == (("ant", "bee"), (12, 4))
    assert data.notes == (f"beside training and test, seg_pred of {tmp_path} was not read",)


def test_classes_that_bear_the_name_of_a_part_are_classes(tmp_path):
    """Their names differ in more than that."""
    for name in ("bullet_train", "pregnancy_test", "train ride"):
        write(tmp_path / name, 3)
    assert load_own(tmp_path, "things").class_names == ("bullet_train", "pregnancy_test", "train ride")


@pytest.mark.parametrize(
    "names",
    [
        ("left-test-1", "left-train-1", "right"),
        ("covid test", "pregnancy test", "pregnancy train", "steam train"),
        ("lift_train", "lift_val"),
    ],
)
def test_classes_of_alike_names_are_classes_where_images_lie_in_them(tmp_path, names):
    """A part of a data set holds folders."""
    for name in names:
        write(tmp_path / name, 3)
    assert load_own(tmp_path, "things").class_names == names


def test_what_is_missing_in_folders_of_alike_names_is_said_with_what_they_were_taken_for(tmp_path):
    """They may be classes whose images lie deeper; folders called plainly need no such word."""
    for name in ("seg_train", "seg_test"):
        write(tmp_path / "alike" / name / "ant", 3)
        write(tmp_path / "plain" / name.removeprefix("seg_") / "ant", 3)
    with pytest.raises(
        ContractError, match="expected at least 2; seg_train and seg_test were read as the parts of one"
    ):
        load_own(tmp_path / "alike", "insects")
    with pytest.raises(ContractError, match=r"expected at least 2$"):
        load_own(tmp_path / "plain", "insects")


@pytest.mark.parametrize("names", [("train", "val"), ("Training", "Validation"), ("seg_train", "seg_val")])
@pytest.mark.parametrize("beside", ["nothing", "docs", "test"])
def test_validation_images_are_held_out_where_no_test_part_has_classes(tmp_path, names, beside):
    """As torchvision's tutorials lay data sets out, and as Parquet is taken; it is said."""
    for part, n in zip(names, (6, 2), strict=True):
        for animal in ("ant", "bee"):
            write(tmp_path / part / animal, n, seed=n)
    if beside != "nothing":
        write(tmp_path / (names[1].replace("val", "test") if beside == "test" else beside), 3)
    data = load_own(tmp_path, "insects")
    assert (data.class_names, counts(data)) == (("ant", "bee"), (12, 4))
    assert data.notes[0] == f"{tmp_path} has no test part with class folders: its validation part is held out"


def test_the_folder_to_give_is_said_where_all_lies_in_one(tmp_path):
    """Archives leave it so."""
    for name in ("ant", "bee"):
        write(tmp_path / "insects" / name, 3)
    with pytest.raises(ContractError, match=r"1 class folder\(s\) \(insects\).*; if they are in .*/insects, give that"):
        load_own(tmp_path, "insects")


def test_a_test_part_without_classes_is_not_held_out(tmp_path):
    """As competitions give it: a part of the training images is, and it is said."""
    for name in ("ant", "bee"):
        write(tmp_path / "train" / name, 5)
    write(tmp_path / "test", 3)
    data = load_own(tmp_path, "insects")
    assert counts(data) == (8, 2)
    assert data.notes == (f"{tmp_path / 'test'} has no class folders, so that its 3 image(s) cannot be held out",)


def test_a_class_without_held_out_images_is_said(tmp_path):
    """Whether its folder is empty or not there; a class that training lacks is refused as ever."""
    for name in ("ant", "bee", "cat", "dog"):
        write(tmp_path / "train" / name, 4)
    for name in ("ant", "bee"):
        write(tmp_path / "test" / name, 2, seed=1)
    (tmp_path / "test" / "cat").mkdir()
    data = load_own(tmp_path, "animals")
    assert (counts(data), data.n_classes) == ((16, 4), 4)
    assert data.notes == (f"2 class(es) have no image in {tmp_path / 'test'}: cat, dog",)
    shutil.rmtree(tmp_path / "train" / "bee")
    with pytest.raises(ContractError, match=r"test: the class bee is not in .*train"):
        load_own(tmp_path, "animals")


def test_links_to_folders_are_folders(tmp_path):
    """What they lead to belongs to the class, each folder once, and none that the class itself lies in."""
    for name in ("ant", "bee"):
        write(tmp_path / "images" / name, 4)
    write(tmp_path / "disk", 3)
    (tmp_path / "images" / "ant" / "more").symlink_to(tmp_path / "disk")
    (tmp_path / "images" / "ant" / "again").symlink_to(tmp_path / "disk")
    (tmp_path / "images" / "ant" / "itself").symlink_to(tmp_path / "images" / "ant")
    (tmp_path / "images" / "ant" / "above").symlink_to(tmp_path)
    data = load_own(tmp_path / "images", "insects")
    assert sum(counts(data)) == 11 and data.notes == ()


def test_a_folder_that_cannot_be_read_is_not_left_out_without_a_word(tmp_path, monkeypatch):
    """Whoever runs the tests may read anything, so the system's refusal is played."""
    for name in ("ant", "bee"):
        write(tmp_path / name, 4)
    write(tmp_path / "bee" / "secret", 2)
    listed = os.scandir

    def refusing(place):
        if str(place).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(SplitPlaceError, match="bee/secret: Permission denied"), explained():
        load_own(tmp_path, "insects")


@pytest.mark.parametrize("names", [("Cat", "cat"), ("cat", "cat "), ("old  cat", "Old cat")])
def test_classes_that_are_one_to_a_reader_are_said(tmp_path, names):
    """They are learned apart, as if they were unlike."""
    for name in names:
        write(tmp_path / name, 5)
    (note,) = load_own(tmp_path, "pets").notes
    assert note.startswith("classes whose names differ in capital letters or blanks alone are learned apart: ")


@pytest.mark.parametrize("names", [("images", "masks"), ("images", "labels"), ("Annotations", "Images")])
def test_folders_of_other_tasks_are_no_classes(tmp_path, names):
    """A network would learn to tell pictures from their masks."""
    for name in names:
        write(tmp_path / name, 5)
    with pytest.raises(ContractError, match="which are no classes but pictures and what is known of them"):
        load_own(tmp_path, "cells")


def test_a_class_called_masks_is_one(tmp_path):
    """Beside others."""
    for name in ("masks", "hats"):
        write(tmp_path / name, 5)
    assert load_own(tmp_path, "clothes").class_names == ("hats", "masks")


@pytest.mark.parametrize("folder", ["", "images"])
def test_images_whose_classes_stand_in_a_table_are_refused_with_what_to_do(tmp_path, folder):
    """All in one folder, with or without one around it."""
    write(tmp_path / folder, 5)
    (tmp_path / "labels.csv").write_text("image,label\n0.png,cat\n")
    with pytest.raises(ContractError, match=r"labels\.csv\) are not read: move each image into a folder of its class"):
        load_own(tmp_path, "pets")


def test_a_table_beside_class_folders_is_said_not_to_be_read(tmp_path):
    """It may say otherwise than the folders."""
    for name in ("train/a", "train/b", "test/a", "test/b"):
        write(tmp_path / name, 3, seed=len(name))
    table = tmp_path / "train/metadata.csv"
    table.write_text("file_name,label\n")
    said = f"tables were not read ({table}): an image's class is the name of its folder"
    assert said in load_own(tmp_path, "pets").notes


@pytest.mark.parametrize("out", ["photos/run", "photos/../photos/a/run"])
def test_a_run_does_not_go_among_the_classes(tmp_path, monkeypatch, out):
    """It would be one of them the next time."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        write(tmp_path / "photos" / name, 3)
    with pytest.raises(UsageError, match="lies among the classes in photos: choose a place outside"):
        train("photos", path="photos", model="test_resnet", out=out)


def test_a_run_may_go_beside_training_and_test(tmp_path):
    """Where it is no class."""
    for name in ("train/a", "train/b", "test/a", "test/b"):
        write(tmp_path / name, 3)
    check_apart(tmp_path, tmp_path / "runs", "--out")
    with pytest.raises(UsageError, match="lies among the classes"):
        check_apart(tmp_path, tmp_path / "train/run", "--out")


def test_a_folder_of_archives_alone_says_so(tmp_path):
    """Shards of WebDataset, or a download that nobody unpacked: it was told of class folders only."""
    with tarfile.open(tmp_path / "train-0000.tar", "w"):
        pass
    with pytest.raises(ContractError, match=r"archive \(train-0000.tar\) are not read: unpack it"):
        load_own(tmp_path, "mine")


def test_folds_with_every_class_in_each_are_said(tmp_path):
    """The folds were learned as the classes without a word."""
    for fold in ("fold1", "fold2"):
        for name in ("cat", "dog"):
            write(tmp_path / fold / name, 3, seed=int(fold[4:]))
    data = load_own(tmp_path, "pets")
    assert data.class_names == ("fold1", "fold2")
    (note,) = data.notes
    assert note.startswith("fold1, fold2 are learned as the classes, each of which holds the folders cat, dog")


def test_a_class_in_one_folder_more_is_that_class(tmp_path):
    """As some publishers have it, beside files of their own; nothing is said."""
    for name in ("n01", "n02"):
        write(tmp_path / name / "images", 3, seed=int(name[1:]))
    assert load_own(tmp_path, "tiny").notes == ()
