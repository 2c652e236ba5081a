"""Arrays from files that are damaged or of another kind: refused in one line, whatever numpy raises."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from splitplace.errors import IntegrityError, UsageError
from splitplace.inference.inputs import read_arrays, read_inputs


def refusal(path) -> str:
    """The one line."""
    with pytest.raises(IntegrityError) as caught:
        read_arrays(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "other"), [("a.npy", "a.npz"), ("a.npz", "a.npy")])
def test_a_file_with_the_ending_of_the_other_kind_is_refused(tmp_path, name, other):
    """One array and an archive of several, each renamed: the message says how it is to be called."""
    (np.save if name == "a.npy" else np.savez)(tmp_path / name, np.arange(6.0))
    (tmp_path / name).rename(tmp_path / other)
    assert refusal(tmp_path / other).endswith(f"name it {name[1:]}")


def test_an_archive_damaged_anywhere_is_refused_or_read_right(tmp_path):
    """Each byte of it changed once: in the zip's own fields, the compressed values and their checksums."""
    path, x = tmp_path / "x.npz", np.arange(40)
    np.savez_compressed(path, x=x)
    whole = path.read_bytes()
    refused = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :])
        try:
            arrays = read_arrays(path)
        except IntegrityError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert all((array == x).all() for array in arrays.values())
    assert refused > len(whole) / 2


def test_a_header_damaged_anywhere_is_refused(tmp_path):
    """What numpy does not parse as an array's header, of an .npy file as of an archive's member."""
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        (np.save if path.suffix == ".npy" else np.savez)(path, np.arange(40))
        whole = path.read_bytes()
        start = whole.index(b"{'descr")
        for i in range(start, start + 50):
            path.write_bytes(whole[:i] + b"(" + whole[i + 1 :])
            refusal(path)


def test_a_member_that_is_no_array_is_refused(tmp_path):
    """Bytes, as numpy gives it; the line names it."""
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "of the second run")
    assert "notes.txt is no numpy array" in refusal(path)


def test_an_array_without_a_name_in_an_archive_is_the_one_input(artifact, tmp_path):
    """numpy.savez calls it arr_0; one by any other name is another input."""
    (spec,) = artifact.split.inputs
    x = np.zeros((3, 4), np.float32)
    np.savez(tmp_path / "x.npz", x)
    assert read_inputs([tmp_path / "x.npz"], artifact.split)[spec.name].shape == x.shape
    np.savez(tmp_path / "x.npz", other=x)
    with pytest.raises(UsageError, match=f"no input {spec.name}, got other"):
        read_inputs([tmp_path / "x.npz"], artifact.split)


def test_an_array_beside_image_files_is_named_as_that(artifact):
    """It is an .npy file as expected, only not alone."""
    with pytest.raises(UsageError, match=r"got a\.npy beside image files$"):
        read_inputs([Path("a.npy"), Path("b.png")], artifact.split)


@pytest.mark.parametrize("names", [("-",), ("a.npy", "b.npy"), ("notes", "b.npy", "c.txt", "d.bin"), ()])
def test_files_of_another_kind_are_named(artifact, tmp_path, names):
    """By the names that were given: some have no ending."""
    with pytest.raises(UsageError, match="got " + (", ".join(names[:3]).replace(".", r"\.") or "none")):
        read_inputs([Path(name) for name in names], artifact.split)
