"""`splitplace split` on an .onnx file: what it writes, what it says, and what it refuses without writing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from splitplace import cli
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.splitting.split_folder import read_split

Builder = Callable[..., bytes]
FLEET = """
name = "two"
[[devices]]
name = "pi"
kind = "pi"
count = 2
cores = 4
core_speed = 0.5
memory_bytes = {memory}
disk_bytes = 1000000000
disk_bytes_per_s = 1e8
up_bytes_per_s = 1e8
down_bytes_per_s = 1e8
rtt_s = 0.001
power_w = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
"""


@pytest.fixture
def toy(tmp_path: Path, residual_cnn: Builder) -> Path:
    """A model file."""
    path = tmp_path / "toy.net.onnx"
    path.write_bytes(residual_cnn())
    return path


def run(capsys: pytest.CaptureFixture[str], *tokens: str) -> dict[str, object]:
    """The JSON document of a command that succeeds."""
    with pytest.raises(SystemExit) as done:
        cli.main([*tokens, "--json"])
        raise SystemExit(0)
    assert done.value.code == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def fails(capsys: pytest.CaptureFixture[str], *tokens: str) -> tuple[int, str]:
    """Exit code and the one line of a command that fails."""
    with pytest.raises(SystemExit) as done:
        cli.main(list(tokens))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("splitplace: ")]
    assert len(lines) == 1
    return int(done.value.code or 0), lines[0]


def test_it_writes_a_split_folder_and_says_what_each_fragment_costs(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every field that is promised, on a fleet; the folder reads back as the verified split."""
    fleet, out, picture = tmp_path / "fleet.toml", tmp_path / "out", tmp_path / "cuts.svg"
    fleet.write_text(FLEET.format(memory=10**9))
    document = run(
        capsys, "split", str(toy), "--fragments", "2", "--out", str(out), "--devices", str(fleet),
        "--plot", str(picture), "--explain", "--slack", "0",
    )  # fmt: skip
    assert document["reference"] == "custom.toy-net.layer-2"
    promised = {"cut_tensors", "params", "flops", "weight_bytes", "peak_activation_bytes", "boundary_bytes", "cost_s"}
    rows = document["fragments"]
    assert isinstance(rows, list) and all(promised <= set(row) for row in rows)
    assert {row["device"] for row in rows} == {"pi-0", "pi-1"}
    assert document["exact"] is True
    assert 0 < float(str(document["lower_bound_s"])) <= float(str(document["bottleneck_s"])) * (1 + 1e-9)
    assert len(list(document["explanation"])) == 1  # type: ignore[call-overload]  # parsed JSON
    assert b"<svg" in picture.read_bytes()
    assert read_split(out).split.reference == document["reference"]


@pytest.mark.parametrize(("link", "part"), [("1e12", "work"), ("1e3", "transfers")])
def test_it_says_what_the_bottleneck_is(
    link: str, part: str, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The longest stage's work, or what its device receives and sends."""
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET.format(memory=10**9).replace("1e8", link))
    document = run(capsys, "split", str(toy), "--fragments", "2", "--devices", str(fleet))
    rows = document["fragments"]
    assert isinstance(rows, list)
    assert document["bottleneck_in"] == f"{max(rows, key=lambda row: float(row['stage_s']))['name']}'s {part}"


def test_the_same_input_gives_the_same_folder(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs write the same bytes, and the second may replace the first."""
    contents = []
    for _ in range(2):
        run(capsys, "split", str(toy), "--fragments", "3", "--out", str(tmp_path / "out"))
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--fragments", "0"), 2, "at least 1"),
        (("--fragments", "500"), 2, "ask for fewer"),
        (("--fragments", "2", "--memory-limit", "lots"), 2, "64MiB"),
        (("--fragments", "2", "--memory-limit", "10KiB"), 1, "smallest limit"),
        (("--fragments", "2", "--plot", "cuts.txt"), 2, ".png"),
        (("--fragments", "2", "--devices", "none.toml"), 2, "none.toml"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, words: str
) -> None:
    """One line, the right exit code, no folder."""
    got, line = fails(capsys, "split", str(toy), "--out", str(tmp_path / "out"), *options)
    assert got == code and words in line
    assert not (tmp_path / "out").exists()


def test_a_catalog_is_a_source_by_its_only_split(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As wherever a split is named; of several, or none, it is asked which."""
    catalog = str(tmp_path / "cat")
    CatalogWriter(tmp_path / "cat")
    assert "holds no split" in fails(capsys, "split", catalog, "--fragments", "2")[1]
    for fragments in ("1", "2"):
        run(capsys, "split", str(toy), "--fragments", fragments, "--out", str(tmp_path / fragments))
    run(capsys, "export", str(tmp_path / "1"), "--catalog", catalog)
    assert run(capsys, "split", catalog, "--fragments", "2")["reference"] == "custom.toy-net.layer-2"
    run(capsys, "export", str(tmp_path / "2"), "--catalog", catalog)
    assert "which split? expected" in fails(capsys, "split", catalog, "--fragments", "2")[1]


def test_a_class_of_one_s_own_is_cut_by_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no weights before."""
    code, line = fails(capsys, "split", "my_net:Net", "--fragments", "2")
    assert code == 2 and "the RUN folder that `splitplace train APP --model my_net:Net` leaves" in line


def test_a_folder_of_something_else_is_left_alone(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--out on a folder with other files is refused before any work."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    code, line = fails(capsys, "split", str(toy), "--fragments", "2", "--out", str(tmp_path / "out"))
    assert code == 2 and "no SPLIT folder" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_without_out_nothing_is_written(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan is made, verified and printed all the same."""
    before = sorted(tmp_path.rglob("*"))
    document = run(capsys, "split", str(toy), "--fragments", "2")
    assert document["out"] is None and len(list(document["fragments"])) == 2  # type: ignore[call-overload]  # JSON
    assert sorted(tmp_path.rglob("*")) == before


def test_a_memory_limit_holds_to_the_byte(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the smallest limit that the error names, a split; one byte under it, none."""
    _, line = fails(capsys, "split", str(toy), "--fragments", "2", "--memory-limit", "10KiB")
    smallest = int(line.split("on every device, is ")[1].split(" bytes")[0])
    document = run(capsys, "split", str(toy), "--fragments", "2", "--memory-limit", str(smallest))
    assert max(row["memory_bytes"] for row in document["fragments"]) == smallest  # type: ignore[attr-defined]  # JSON
    code, _ = fails(capsys, "split", str(toy), "--fragments", "2", "--memory-limit", str(smallest - 1))
    assert code == 1


@pytest.mark.slow
def test_measured_costs_print_the_memory_errors(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With measured costs every fragment also says what a process grew by, and how far the estimate is off."""
    rows = run(capsys, "split", str(toy), "--fragments", "2", "--costs", "measured")["fragments"]
    for row in rows:  # type: ignore[attr-defined]  # JSON
        expected = row["memory_bytes"] / row["memory_measured_bytes"] - 1
        assert row["memory_error"] == pytest.approx(expected)
