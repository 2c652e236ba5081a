"""MNIST and CIFAR as their publishers distribute them, on disk: folders, archives, packed files; no network."""

import gzip
import io
import pickle
import pickletools
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from splitplace.errors import ContractError, IntegrityError, UsageError
from splitplace.training.data.cifar100 import CIFAR100
from splitplace.training.data.literals import literals
from splitplace.training.data.mnist import MNIST
from splitplace.training.data.own import load_own
from splitplace.training.data.publishers import read_published

RNG = np.random.default_rng(12)
X = RNG.integers(0, 256, (12, 3072), dtype=np.uint8)
Y = np.arange(12) % 3


def idx(values: np.ndarray) -> bytes:
    """The IDX form: 0, 0, 8 (bytes), dimensions, sizes, values."""
    return struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def mnist_files(n_test: int = 4) -> dict[str, bytes]:
    """Four files of 5x7 images."""
    files = {}
    for part, n in (("train", 12), ("t10k", n_test)):
        files[f"{part}-images-idx3-ubyte"] = idx(RNG.integers(0, 256, (n, 5, 7), dtype=np.uint8))
        files[f"{part}-labels-idx1-ubyte"] = idx((np.arange(n) % 3).astype(np.uint8))
    return files


def records(n_labels: int) -> bytes:
    """CIFAR's binary form: label(s), then the pixels."""
    return b"".join(bytes([9] * (n_labels - 1) + [y]) + x.tobytes() for x, y in zip(X, Y.tolist(), strict=True))


def python_2(document: dict) -> bytes:
    """As Python 2 pickled it, protocol 2: text is a byte string, an array calls numpy.core.multiarray."""

    def string(data: bytes) -> bytes:
        return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<I", len(data)) + data

    pixels = document["data"]
    by_column = b"\x88" if pixels.flags.f_contiguous else b"\x89"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + string(b"b") + b"tR"
    array += b"(K\x01K\x0cM\x00\x0c\x86cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|")
    array += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" + by_column + string(pixels.tobytes("A")) + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in document["fine_labels"]) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"fine_labels") + labels + b"u."


PICKLES = {
    "protocol 0, keys that are bytes": pickle.dumps({b"data": X, b"fine_labels": Y.tolist()}, 0),
    "protocol 2, keys that are bytes": pickle.dumps({b"data": X, b"fine_labels": Y.tolist()}, 2),
    "protocol 2, column by column": pickle.dumps({"data": np.asfortranarray(X), "fine_labels": Y.tolist()}, 2),
    "protocol 5, column by column": pickle.dumps({"data": np.asfortranarray(X), "fine_labels": Y.tolist()}, 5),
    "protocol 2 of Python 3": pickle.dumps({"data": X, "fine_labels": Y.tolist()}, 2),
    "protocol 4": pickle.dumps({b"data": X, b"fine_labels": Y.tolist()}, 4),
    "protocol 5": pickle.dumps({b"data": X, b"fine_labels": Y.tolist()}, 5),
    "Python 2": python_2({"data": X, "fine_labels": Y.tolist()}),
    "Python 2, column by column": python_2({"data": np.asfortranarray(X), "fine_labels": Y.tolist()}),
}


@pytest.mark.parametrize("name", PICKLES)
def test_cifars_python_version_is_read_without_being_run(name, tmp_path):
    """Whatever Python wrote it: pixels by channel, row and column; fine labels; names out of `meta`."""
    for part in ("train", "test"):
        (tmp_path / part).write_bytes(PICKLES[name])
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": ["ant", "bee", "cat"]}, 2))
    found = read_published(tmp_path)
    np.testing.assert_array_equal(found.train[0], X.reshape(12, 3, 32, 32))
    assert found.train[1].tolist() == Y.tolist()
    assert found.class_names == ("ant", "bee", "cat")


class Evil:
    """What a pickle may ask for."""

    def __reduce__(self):
        """To be called by whoever unpickles it."""
        return print, ("the pickle was run",)


def test_a_pickle_that_calls_is_not_run(capsys, tmp_path):
    """The call stands there as what it was given; as CIFAR it is refused."""
    data = pickle.dumps({"data": Evil(), "fine_labels": [1]})
    assert literals(data, "x")["data"] == [("the pickle was run",)]
    for part in ("train", "test"):
        (tmp_path / part).write_bytes(data)
    with pytest.raises(IntegrityError, match="bytes of pixels for 1 labels"):
        read_published(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "value", [{"a": [1, -2, 10**12, 2.5, None, True, "é", b"\0"], "b": ((), (1,), (1, 2, 3, 4))}, []]
)
@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_arrive_as_they_were(value, protocol):
    """Of every protocol; those that Python 2 had write bytes as a call."""
    assert literals(pickle.dumps(value, protocol), "x") == value


def test_no_junk_breaks_the_reader_of_pickles():
    """Any opcode in any place: a value or one clear error."""
    codes = [operation.code.encode("latin-1") for operation in pickletools.opcodes]
    for i in range(1000):
        rng = np.random.default_rng(i)
        junk = b"".join(codes[k] + rng.bytes(rng.integers(0, 3)) for k in rng.integers(0, len(codes), 12))
        try:
            literals(b"\x80\x04" + junk + b".", "x")
        except IntegrityError as error:
            assert "\n" not in str(error)


def test_a_list_that_holds_itself_ends():
    """Looking for an array's bytes visits each thing once."""
    from splitplace.training.data.cifar import _leaves

    knot = [b"a"]
    knot.append(knot)
    assert _leaves(literals(pickle.dumps(knot), "x")) == [b"a"]


@pytest.mark.parametrize(
    ("names", "n_labels"), [(("train.bin", "test.bin"), 2), (("data_batch_1.bin", "test_batch.bin"), 1)]
)
def test_cifars_binary_version_is_read(names, n_labels, tmp_path):
    """The last label of a record is the class."""
    for name in names:
        (tmp_path / name).write_bytes(records(n_labels))
    found = read_published(tmp_path)
    np.testing.assert_array_equal(found.test[0], X.reshape(12, 3, 32, 32))
    assert found.test[1].tolist() == Y.tolist()


def test_idx_files_are_read_packed_or_not(tmp_path):
    """Two of the four as .gz."""
    files = mnist_files()
    for i, (name, data) in enumerate(files.items()):
        (tmp_path / (name + ".gz" * (i % 2))).write_bytes(gzip.compress(data) if i % 2 else data)
    found = read_published(tmp_path)
    assert found.train[0].tobytes() == files["train-images-idx3-ubyte"][16:]
    assert (found.train[0].shape, found.test[1].tolist()) == ((12, 1, 5, 7), [0, 1, 2, 0])


@pytest.mark.parametrize(
    ("name", "mode"),
    [("cifar-100-binary.tar.gz", "w:gz"), ("c.TAR", "w"), ("c.tar.bz2", "w:bz2"), ("c.tar.xz", "w:xz"), ("c", "w:gz")],
)
def test_an_archive_is_read_as_the_folder_in_it(name, mode, tmp_path):
    """However it is packed and whatever it is called; nothing is unpacked to disk."""
    with tarfile.open(tmp_path / name, mode) as tar:
        for member in ("train.bin", "test.bin"):
            entry = tarfile.TarInfo(f"cifar-100-binary/{member}")
            entry.size = len(records(2))
            tar.addfile(entry, io.BytesIO(records(2)))
    found = read_published(tmp_path / name)
    assert found.train[1].tolist() == Y.tolist()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_zip_is_an_archive_too(tmp_path):
    """As sites that pack everything again give data sets."""
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
        for name, data in mnist_files().items():
            archive.writestr(f"raw/{name}", data)
    assert read_published(tmp_path / "digits.zip").test[1].tolist() == [0, 1, 2, 0]


def test_a_broken_download_is_no_archive(tmp_path):
    """In one line, with what to do."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        entry = tarfile.TarInfo("train.bin")
        entry.size = len(records(2))
        tar.addfile(entry, io.BytesIO(records(2)))
    for content in (b"", b"<html>not found", whole.getvalue()[:-5000]):
        (tmp_path / "cifar.tar.gz").write_bytes(content)
        with pytest.raises(
            IntegrityError, match=r"^[^\n]*cifar\.tar\.gz: not an archive that can be read.*: fetch it"
        ) as e:
            read_published(tmp_path / "cifar.tar.gz")
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("test_batch.bin",), "the training batches none beside it"),
        (("data_batch_1.bin", "data_batch_3.bin", "test_batch.bin"), "the training batches 1, 3 beside it"),
    ],
)
def test_missing_batches_are_a_broken_download(names, message, tmp_path):
    """A model is not trained on the rest without a word."""
    for name in names:
        (tmp_path / name).write_bytes(records(1))
    with pytest.raises(IntegrityError, match=message):
        read_published(tmp_path)


CIFAR_10 = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"


@pytest.mark.parametrize("batches", [1, 4, 6])
def test_batches_that_cifar_10_lacks_at_the_end_are_a_broken_download(batches, tmp_path):
    """It is CIFAR-10 by the names of its classes."""
    for name in ("test_batch", *(f"data_batch_{i + 1}" for i in range(batches))):
        (tmp_path / f"{name}.bin").write_bytes(records(1))
    (tmp_path / "batches.meta.txt").write_bytes(CIFAR_10)
    with pytest.raises(
        IntegrityError, match=rf"got {batches} training batch\(es\) of CIFAR-10.*expected 5: the download"
    ):
        read_published(tmp_path)


def test_how_many_batches_were_read_is_told_of_other_data_sets(tmp_path):
    """In CIFAR-10's form; five are as many as there should be."""
    (tmp_path / "test_batch.bin").write_bytes(records(1))
    notes = []
    for i in range(5):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(records(1))
        notes.append(read_published(tmp_path).notes)
    assert notes[3:] == [("4 training batch(es) were read, data_batch_4.bin is the last one: CIFAR-10 has 5",), ()]


def test_an_array_of_less_than_nothing_is_refused(tmp_path):
    """Its rows and columns multiply to what is there."""
    state = (1, (-12, -3072), None, True, X.tobytes())
    for part in ("train", "test"):
        (tmp_path / part).write_bytes(pickle.dumps({"data": [[], state], "fine_labels": Y.tolist()}, 4))
    with pytest.raises(IntegrityError, match="train: 0 bytes of pixels for 12 labels"):
        read_published(tmp_path)


def test_missing_held_out_files_are_named(tmp_path):
    """IDX files for training alone are a broken download, not an image folder without classes."""
    for name, data in mnist_files().items():
        if name.startswith("train"):
            (tmp_path / name).write_bytes(data)
    with pytest.raises(IntegrityError, match="got train-images-idx3-ubyte but no images for testing"):
        read_published(tmp_path)


def test_what_is_unpacked_counts_where_the_packed_file_was_kept(tmp_path):
    """The packed one may be a download that broke off."""
    files = mnist_files()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data)[:20])
    assert read_published(tmp_path).train[0].tobytes() == files["train-images-idx3-ubyte"][16:]


def test_a_data_set_whose_files_bear_its_name(tmp_path):
    """EMNIST's do; of two such in a folder nobody knows which is meant."""
    for name, data in mnist_files().items():
        (tmp_path / f"emnist-letters-{name.replace('t10k', 'test')}").write_bytes(data)
    assert read_published(tmp_path).form == "IDX files"
    (tmp_path / "emnist-digits-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(UsageError, match=r"several data sets in one folder \(emnist-digits, emnist-letters\)"):
        read_published(tmp_path)
    for name, data in mnist_files().items():
        (tmp_path / name).write_bytes(data)
    assert len(read_published(tmp_path).train[0]) == 12  # MNIST's own names are meant, whatever lies beside them


def test_emnists_images_are_put_upright(tmp_path):
    """They lie there with rows and columns swapped, and it is said."""
    files = mnist_files()
    for name, data in files.items():
        (tmp_path / f"emnist-letters-{name}.gz").write_bytes(gzip.compress(data))
    data = load_own(tmp_path, "letters")
    stored = np.frombuffer(files["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(12, 5, 7)
    np.testing.assert_array_equal(data.x_train_NCHW[:, 0], stored.swapaxes(1, 2))
    assert data.notes == ("the images of emnist-letters, which has them lie on their side, were put upright",)


def test_each_file_in_a_folder_of_its_own_name(tmp_path):
    """As Kaggle packs MNIST."""
    for name, data in mnist_files().items():
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(data)
    assert len(read_published(tmp_path).train[0]) == 12


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_numpy_archives_are_read(names, channels, tmp_path):
    """As Keras and MedMNIST distribute them, channels last; labels in a row or a column."""
    x, y = RNG.integers(0, 256, (6, 5, 7, *channels), dtype=np.uint8), np.array([[0], [1]] * 3, np.uint8)
    np.savez(tmp_path / "mine.npz", **dict(zip(names, (x, y, x[:2], y[:2, 0]), strict=True)))
    data = load_own(tmp_path / "mine.npz", "mine")
    assert (data.x_train_NCHW.shape, data.y_test_N.tolist()) == ((6, *(channels or (1,)), 5, 7), [0, 1])
    np.testing.assert_array_equal(data.x_train_NCHW.transpose(0, 2, 3, 1).reshape(x.shape), x)


def test_numpy_arrays_of_objects_are_not_unpickled(tmp_path):
    """One line instead."""
    np.savez(tmp_path / "mine.npz", x_train=np.array([{}]), y_train=[0], x_test=[0], y_test=[0])
    with pytest.raises(IntegrityError, match="x_train: not a numpy array: Object arrays cannot be loaded"):
        read_published(tmp_path / "mine.npz")


def test_numbers_of_classes_may_begin_with_one(tmp_path):
    """As EMNIST's letters do: the classes are the numbers that occur, and are called by them."""
    x, y = RNG.integers(0, 256, (6, 5, 7), dtype=np.uint8), np.array([1, 3, 26] * 2)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[2::-1])
    data = load_own(tmp_path / "mine.npz", "mine")
    assert (data.class_names, data.y_train_N.tolist(), data.y_test_N.tolist()) == (
        ("1", "3", "26"),
        [0, 1, 2] * 2,
        [2, 1, 0],
    )


def test_an_empty_part_is_refused(tmp_path):
    """In a line of ours."""
    for name, data in mnist_files(n_test=0).items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ContractError, match=r"test: got images uint8\[0, 1, 5, 7\]"):
        load_own(tmp_path, "digits")


def test_own_data_is_found_where_torchvision_leaves_it(tmp_path):
    """Below the folder that is `root` for torchvision, unpacked rather than as the archive; of two none is guessed."""
    place = tmp_path / "MNIST" / "raw"
    place.mkdir(parents=True)
    for name, data in mnist_files().items():
        (place / name).write_bytes(data)
    (tmp_path / "old.tar.gz").write_bytes(b"broken")
    assert load_own(tmp_path, "digits").source == "IDX files raw"
    (tmp_path / "c").mkdir()
    for name in ("train.bin", "test.bin"):
        (tmp_path / "c" / name).write_bytes(records(2))
    with pytest.raises(UsageError, match=r"several data sets below it \(MNIST/raw, c\): give one of them"):
        load_own(tmp_path, "digits")


@pytest.mark.parametrize("name", ["labels.csv", "x.npy", "photos.zip"])
def test_a_file_of_another_form_is_refused_with_what_is_expected(name, tmp_path):
    """It is not called Parquet that is damaged."""
    if name == "photos.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("cat/0.png", b"")
    else:
        (tmp_path / name).write_bytes(b"image,label\n")
    with pytest.raises(
        UsageError, match=r"expected a folder of class folders, Parquet or Arrow, or a publisher's archive"
    ):
        load_own(tmp_path / name, "mine")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda files: files.update({"train-images-idx3-ubyte": b"\0\0\x08\x03"}), "not an IDX file of 3 dimension"),
        (lambda files: files.pop("t10k-labels-idx1-ubyte"), "no t10k-labels-idx1-ubyte beside it"),
        (lambda files: files.update({"t10k-labels-idx1-ubyte": idx(np.zeros(3, np.uint8))}), "4 images, but 3 labels"),
        (lambda files: files.update({"train-images-idx3-ubyte": files["train-images-idx3-ubyte"][:-1]}), "cut off"),
    ],
)
def test_damaged_idx_files_are_named(damage, message, tmp_path):
    """By file, and by what is wrong."""
    files = mnist_files()
    damage(files)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=message):
        read_published(tmp_path)


def test_a_cut_record_is_refused(tmp_path):
    """Not a whole number of them."""
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(records(2)[:-1])
    with pytest.raises(IntegrityError, match=r"train\.bin: 36887 bytes, expected records of 3074"):
        read_published(tmp_path)


def test_a_publishers_form_under_a_name_of_ones_own(tmp_path):
    """Other digits, say; classes that nobody named bear their numbers."""
    for name, data in mnist_files().items():
        (tmp_path / name).write_bytes(data)
    data = load_own(tmp_path, "letters")
    assert (data.class_names, data.shape_CHW, data.source) == (("0", "1", "2"), (1, 5, 7), f"IDX files {tmp_path.name}")
    assert load_own(tmp_path, "letters", size=16).shape_CHW == (1, 16, 16)


def test_known_sets_are_found_where_torchvision_leaves_them(tmp_path):
    """Below the folder that the user names, as `root` is for torchvision."""
    for place, files in (
        ("MNIST/raw", mnist_files()),
        ("cifar-100-python", dict.fromkeys(["train", "test"], PICKLES["Python 2"])),
    ):
        (tmp_path / place).mkdir(parents=True)
        for name, data in files.items():
            (tmp_path / place / name).write_bytes(data)
    assert MNIST.on_disk(tmp_path).form == "IDX files"
    assert CIFAR100.on_disk(tmp_path).form == "CIFAR Python files"
    assert CIFAR100.on_disk(tmp_path / "MNIST" / "raw") is not None  # IDX too: its counts tell that it is another set
