"""Where a split is written: what is its own is replaced, all else is left alone."""

from pathlib import Path

import pytest

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.split import INPUT, Edge, Merge, Split
from splitplace.splitting import split_folder
from splitplace.splitting.artifact import SplitArtifact, digest


def chain(fragments: int, content: str = "") -> SplitArtifact:
    """A path of so many fragments; what is in their files matters to nobody here."""
    models = {f"f{i}": f"{content}{i}".encode() for i in range(fragments)}
    specs = [TensorSpec(name=f"t{i}", dtype="float32", shape=("batch", 2)) for i in range(fragments + 1)]
    parts = tuple(
        Fragment(
            name=name,
            inputs=(specs[i],),
            outputs=(specs[i + 1],),
            params=0,
            flops_per_sample=0,
            weight_bytes=0,
            digest=digest(model),
        )
        for i, (name, model) in enumerate(models.items())
    )
    names = [INPUT, *models]
    edges = tuple(Edge(src=names[i], dst=names[i + 1], tensor=f"t{i}", bytes_per_sample=8) for i in range(fragments))
    merge = Merge(kind="identity", class_order=())
    split = Split(
        application="a", model="m", strategy="layer", variant=str(fragments), fragments=parts, edges=edges, merge=merge
    )
    return SplitArtifact(split, models)


def names(folder: Path) -> set[str]:
    """What is in a folder."""
    return {path.name for path in folder.iterdir()}


def test_another_split_takes_the_place_of_the_former_ones_files_alone(tmp_path: Path) -> None:
    """Fewer fragments leave no file of the former behind; a file and a folder of somebody's own stay."""
    place = tmp_path / "s"
    split_folder.write(chain(3), place)
    (place / "mine.onnx").write_text("mine")
    (place / "figures").mkdir()
    split_folder.write(chain(2, "new"), place)
    assert names(place) == {"split.json", "f0.onnx", "f1.onnx", "mine.onnx", "figures"}
    assert split_folder.read_split(place).models == chain(2, "new").models


def test_a_file_of_a_fragments_name_that_is_no_splits_is_not_overwritten(tmp_path: Path) -> None:
    """Somebody's own f2.onnx beside a split of two: three fragments are refused, and all is as it was."""
    split_folder.write(chain(2), tmp_path)
    (tmp_path / "f2.onnx").write_text("mine")
    with pytest.raises(UsageError, match=r"f2\.onnx"):
        split_folder.write(chain(3), tmp_path)
    assert (tmp_path / "f2.onnx").read_text() == "mine"
    assert split_folder.read_split(tmp_path).models == chain(2).models


def test_a_link_stays_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files arrive where it leads; the current folder can be written, too."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    split_folder.write(chain(2), tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "disk") == {"split.json", "f0.onnx", "f1.onnx"}
    monkeypatch.chdir(tmp_path / "disk")
    split_folder.write(chain(1), Path())
    assert names(tmp_path / "disk") == {"split.json", "f0.onnx"}


@pytest.mark.parametrize("place", ["file/below", "file", "full", "dangling"])
def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path: Path, place: str) -> None:
    """Under a file, a file, a folder of something else, a link that leads nowhere."""
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"give another (place|--out)"):
        split_folder.check_writable(tmp_path / place)


@pytest.mark.parametrize("source", ["f1.onnx", "link.onnx"])
def test_a_fragment_is_not_replaced_by_what_is_cut_out_of_it(tmp_path: Path, source: str) -> None:
    """Not by a link to it either; a model of the user's own beside the fragments stays there."""
    split_folder.write(chain(2), tmp_path / "split")
    (tmp_path / "split" / "link.onnx").symlink_to("f1.onnx")
    (tmp_path / "split" / "own.onnx").write_bytes(b"model")
    with pytest.raises(UsageError, match=rf"{source} in it is what is to be cut: give another --out"):
        split_folder.check_writable(tmp_path / "split", tmp_path / "split" / source)
    split_folder.check_writable(tmp_path / "split", tmp_path / "split" / "own.onnx")
    split_folder.check_writable(tmp_path / "elsewhere", tmp_path / "split" / source)


def test_a_full_disk_leaves_the_former_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is written aside before anything is replaced."""
    split_folder.write(chain(2), tmp_path)
    written = split_folder.replace_file

    def filling(path: Path, content: bytes | str) -> None:
        if path.name == "f1.onnx":
            raise OSError(28, "No space left on device")
        written(path, content)

    monkeypatch.setattr(split_folder, "replace_file", filling)
    with pytest.raises(SplitPlaceError, match="No space left"):
        split_folder.write(chain(2, "new"), tmp_path)
    assert split_folder.read_split(tmp_path).models == chain(2).models
    assert names(tmp_path) == {"split.json", "f0.onnx", "f1.onnx"}
