import os
from pathlib import Path

import pytest

from splitplace.errors import UsageError
from splitplace.files import check_file, check_folder, is_scratch, replace_file, replace_folder

pytestmark = pytest.mark.base


def names(folder):
    """What stands in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def log(monkeypatch):
    """What is brought to the disk and what is renamed, in order, by name."""
    entries = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def note_sync(handle):
        entries.append(("sync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def noting(move):
        def note(path, target):
            entries.append(("name", Path(target).name))
            return move(path, target)

        return note

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", noting(replace))
    monkeypatch.setattr(Path, "rename", noting(rename))
    return entries


@pytest.mark.parametrize("content", [b"caf\xc3\xa9", "café", lambda file: file.write(b"caf\xc3\xa9")])
def test_a_file_holds_what_it_is_given_and_nothing_stays_beside_it(tmp_path, content):
    """Bytes, text and a writer alike; over a longer file, too."""
    path = tmp_path / "deep" / "file.json"
    for _ in range(2):
        replace_file(path, content)
        assert path.read_bytes() == "café".encode()
        path.write_bytes(b"x" * 100)
    assert names(path.parent) == ["file.json"]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_the_call_returns(tmp_path, log):
    """What a machine that loses power may rely on."""
    replace_file(tmp_path / "file", b"new")
    (first, scratch), *rest = log
    assert first == "sync"
    assert is_scratch(scratch)
    assert rest == [("name", "file"), ("sync", tmp_path.name)]


def test_a_file_that_cannot_be_written_leaves_the_former_and_nothing_else(tmp_path):
    """Here its writer fails half-way; an interrupt is no `Exception`."""
    path = tmp_path / "file"
    path.write_bytes(b"former")

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, fail)
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["file"]


def test_the_unfinished_file_stands_where_it_is_told_to(tmp_path):
    """A folder whose files are all counted must not hold others."""
    seen = {}
    (tmp_path / "blobs").mkdir()

    def look(_):
        seen.update({folder: names(folder) for folder in (tmp_path, tmp_path / "blobs")})

    replace_file(tmp_path / "blobs" / "file", look, scratch=tmp_path)
    assert [is_scratch(name) for name in seen[tmp_path]] == [True, False]
    assert seen[tmp_path / "blobs"] == []
    assert names(tmp_path) == ["blobs"]


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    """Nothing of the former shines through."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "old").write_text("old")
    with replace_folder(folder) as fresh:
        (fresh / "sub").mkdir()
        (fresh / "sub" / "new").write_text("new")
        assert names(folder) == ["old"]
    assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == ["sub", "sub/new"]
    assert names(tmp_path) == ["run"]


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, log):
    """Every file of it and every list of names, at any depth."""
    with replace_folder(tmp_path / "run") as fresh:
        (fresh / "sub").mkdir()
        (fresh / "sub" / "file").write_text("new")
    assert log == [("sync", "file"), ("sync", "sub"), ("sync", "new"), ("name", "run"), ("sync", tmp_path.name)]


def test_a_folder_that_cannot_be_filled_leaves_the_former_and_nothing_else(tmp_path):
    """An error in the block is what the caller sees."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(OSError, match="full"), replace_folder(folder) as fresh:
        (fresh / "half").write_text("half")
        raise OSError("full")
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_folder_that_cannot_have_its_name_gives_the_former_back(tmp_path, monkeypatch, failure):
    """The second of the two renames fails, or the user interrupts it."""
    folder, rename = tmp_path / "run", Path.rename
    folder.mkdir()
    (folder / "old").write_text("old")

    def refuse(path, target):
        if path.name == "new":
            raise failure("refused")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(failure, match="refused"), replace_folder(folder) as fresh:
        (fresh / "new").write_text("new")
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["run"]


def test_a_former_folder_that_cannot_be_brought_back_is_not_removed(tmp_path, monkeypatch):
    """Only the first of three renames works: the former stays in the scratch folder."""
    folder, rename, renames = tmp_path / "run", Path.rename, []
    folder.mkdir()
    (folder / "old").write_text("old")

    def once(path, target):
        renames.append(path)
        if len(renames) > 1:
            raise OSError("refused")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(OSError, match="refused"), replace_folder(folder) as fresh:
        (fresh / "new").write_text("new")
    (kept,) = tmp_path.glob("*/old/old")
    assert kept.read_text() == "old"


PLACES = {
    "a file above": "file/below",
    "a file far above": "file/below/deeper",
    "a link that leads to itself": "loop/below",
    "a name that is too long": "n" * 300,
    "a path that is too long": "n/" * 3000,
    "no place of files": "/proc/nobody/x",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a file, a link to itself, a pipe and a link to a device."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "null").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("check", [check_file, check_folder])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(here, check, place):
    """By the option that named it; nothing is made or left."""
    before = names(here)
    with pytest.raises(UsageError, match=r"^--out .*: cannot be written \(.+\): give another place$"):
        check(Path(place), "--out")
    assert names(here) == before


@pytest.mark.parametrize(
    ("name", "said"), [("folder", "a folder"), ("null", "no regular file"), ("pipe", "no regular file")]
)
def test_what_is_no_file_is_never_replaced_by_one(here, name, said):
    """A folder, a pipe, a device: neither before the work nor by the write, whoever the user is."""
    with pytest.raises(UsageError, match=f"--out {name}: {said} stands there"):
        check_file(Path(name), "--out")
    before = (here / name).lstat()
    with pytest.raises(OSError, match="not to be replaced"):
        replace_file(here / name, b"new")
    after = (here / name).lstat()  # whoever else writes to it sets a device's times
    assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)


@pytest.mark.parametrize("place", ["file", "new", "new/deeper", "folder/new"])
def test_a_place_that_can_be_written_is_left_as_it_is(here, place):
    """A file that is there, and folders that are still to be made."""
    before = names(here)
    check_file(Path(place), "--out")
    if place != "file":
        check_folder(Path(place), "--out")
    assert names(here) == before
