"""The cells of the demand: their steps, what is missing, and that a killed run goes on; of a tiny network."""

import json
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning
from torch import nn

from splitplace import provenance
from splitplace.benchmarks import demand as bench
from splitplace.benchmarks import demand_page
from splitplace.benchmarks.demand_cells import (
    COMPRESSED,
    NINE,
    CellFolder,
    CellStep,
    DemandCell,
    DemandSettings,
    StepDone,
    parse_cells,
    steps_of,
)
from splitplace.benchmarks.demand_file import collect, keep
from splitplace.benchmarks.demand_kept import DemandResults, KeptCell, find_kept, load
from splitplace.benchmarks.demand_plan import plan_lines, status
from splitplace.benchmarks.demand_ratios import apart, smallest
from splitplace.catalog import Catalog
from splitplace.catalog.demand import write_demand
from splitplace.cli import main
from splitplace.errors import InfeasibleError, NotFoundError, SplitPlaceError, UsageError
from splitplace.export.measure.profiler import Effort
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.progress import silent
from splitplace.records.evaluation import Evaluation
from splitplace.training.data.dataset import Dataset
from splitplace.training.run import Run

ROOT = Path(__file__).resolve().parents[2]
MODEL = f"{__name__}:Net"
CELL = DemandCell("mnist", MODEL)
TRAININGS = 7
"""The whole; trees of 4, of 2,2 and of 2; three compressed models."""
KILLED_AT = (2, 9, 17)
"""Which of a run's notes a process does not live to write."""
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.benchmarks import test_demand as here
from splitplace.benchmarks.demand_cells import CellFolder
left, write = int(sys.argv[2]), CellFolder.write
def write_or_die(folder, step, note):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, step, note)
CellFolder.write = write_or_die
here.make(Path(sys.argv[1]))
"""


class _Block(nn.Sequential):
    """Not flattened into its layers, as a plain nn.Sequential would be."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU())


class _Head(nn.Sequential):
    def __init__(self, inputs: int, outputs: int):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))


class Net(nn.Sequential):
    """Four stages of eight channels and more, at 14 px and less."""

    def __init__(self, num_classes: int, in_chans: int):
        blocks = [("c0", _Block(in_chans, 8, 2)), ("c1", _Block(8, 16, 2)), ("c2", _Block(16, 16, 1))]
        super().__init__(OrderedDict([*blocks, ("c3", _Block(16, 16, 1)), ("head", _Head(16, num_classes))]))


def images() -> Dataset:
    """Ten classes of grey squares, each of a brightness of its own."""
    rng = np.random.default_rng(3)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y_N = np.arange(n) % 10
        x_NCHW = rng.integers(0, 20, (n, 1, 28, 28)) + 22 * y_N[:, None, None, None]
        return x_NCHW.astype(np.uint8), y_N

    return Dataset("mnist", *part(160), *part(64), tuple("abcdefghij"), "drawn in the test")


def settings(folder: Path) -> DemandSettings:
    """One pass each, batches of 16, the shortest profiles."""
    preset, shipped = folder / "tiny.toml", ROOT / "training" / "presets" / "demand.toml"
    text = shipped.read_text().replace("group_epochs", "group_epochs_").replace("= { epochs = 3 }", "= { epochs = 1 }")
    text = text.replace("group_epochs_", "group_epochs").replace(
        "semantic = { epochs = 2 }", "semantic = { epochs = 1 }"
    )
    for size in (64, 128):
        text = text.replace(f"batch_size = {size}", "batch_size = 16")
    folder.mkdir(parents=True, exist_ok=True)
    preset.write_text(f'{text}\n[models."{MODEL}"]\ncuts = ["c1", "c3"]\n')
    return DemandSettings(preset=str(preset), effort=Effort((1, 64), 1, 0.01))


def make(folder: Path, until: str = "evaluate") -> tuple:
    """The one cell, in a work folder beside its preset."""
    asked = bench.replace(settings(folder), until=until)
    return bench.run(folder / "work", [CELL], lambda _: images(), asked, lambda _: None, silent)


def digests(folder: Path) -> dict[str, str]:
    """Of all that is in the cell's catalog, by reference."""
    catalog = Catalog(CellFolder(folder / "work", CELL).catalog)
    return {reference: catalog.split_descriptor(reference).digest for reference in catalog.references()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The cell, made without an interruption; the folder, and how often something was trained."""
    folder, fits, fit = tmp_path_factory.mktemp("demand"), [], pytorch_lightning.Trainer.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_lightning.Trainer, "fit", lambda *a, **k: (fits.append(1), fit(*a, **k))[1])
        make(folder)
    return folder, len(fits)


def test_the_nine_are_three_networks_on_three_data_sets():
    """Each once, the small network first."""
    assert len(set(NINE)) == 9
    assert {cell.model for cell in NINE} == {"resnet50v2", "mobilenetv2", "inceptionv3"}
    assert {cell.application for cell in NINE} == {"mnist", "fashionmnist", "tiny100"}
    assert [cell.model for cell in NINE[:3]] == ["mobilenetv2"] * 3


def test_cells_by_name():
    """In the order given, each once; any known data set and network, so CIFAR-100 by the same command."""
    cells = parse_cells("cifar100.mobilenetv2,mnist.resnet50v2,cifar100.mobilenetv2")
    assert list(map(str, cells)) == ["cifar100.mobilenetv2", "mnist.resnet50v2"]


@pytest.mark.parametrize("text", ["mnist", "", "mnist.", "nobody.mobilenetv2", "mnist.nobody", "mnist,tiny100"])
def test_a_cell_that_cannot_be(text):
    """Told what there is."""
    with pytest.raises(NotFoundError, match=r"unknown (cell|model) .*expected one of .*mobilenetv2"):
        parse_cells(text)


def test_every_way_to_split_is_a_step():
    """Trained, shipped, judged and measured; what needs another comes behind it."""
    steps = steps_of(DemandCell("mnist", "mobilenetv2"), DemandSettings())
    shipped = [step.what for step in steps if step.kind == "export"]
    assert shipped == [step.what for step in steps if step.kind == "evaluate"]
    assert set(shipped) == {
        *("full", "layer-2", "layer-3", "layer-4", "semantic-4", "semantic-4-roots", "semantic-2", "semantic-2x2"),
        *("semantic-4-splitnet", "compressed-light", "compressed-quick", "compressed-small"),
    }
    assert sorted(shipped) == sorted(step.what for step in steps if step.kind == "profile")
    stages = list(dict.fromkeys(step.stage for step in steps))
    assert all(step.after is None or stages.index(step.after) < stages.index(step.stage) for step in steps)


@pytest.mark.parametrize(
    ("cell", "trees"),
    [
        ("fashionmnist.mobilenetv2", {"semantic-4", "semantic-4-roots", "semantic-4-splitnet"}),
        ("mnist.resnet50v2", {"semantic-4", "semantic-4-roots"}),
    ],
)
def test_trees_of_two_are_where_they_are_compared(cell, trees):
    """Elsewhere the tree of four; SplitNet once a data set."""
    (found,) = parse_cells(cell)
    steps = steps_of(found, DemandSettings())
    assert {step.what for step in steps if step.kind == "profile" and "semantic" in step.what} == trees


def test_steps_up_to_a_kind():
    """Trainings alone, or all but profiles."""
    cell = DemandCell("mnist", "mobilenetv2")
    assert {step.kind for step in steps_of(cell, DemandSettings(until="train"))} == {"train", "ratios"}
    kinds = {step.kind for step in steps_of(cell, DemandSettings(until="evaluate"))}
    assert kinds == {"train", "ratios", "export", "evaluate"}


@pytest.mark.parametrize("first", range(1, 100, 14))
@pytest.mark.parametrize("guess", [-5, 1, 40, 99, 150])
def test_the_smallest_ratio_is_found_from_any_guess(first, guess):
    """As by trying all."""
    assert smallest(lambda percent: percent >= first, guess) == first


def test_ratios_are_apart():
    """So that no two trainings are one; only ever larger."""
    assert apart({"light": 25, "quick": 25, "small": 26}) == {"light": 25, "quick": 26, "small": 27}
    assert apart({"light": 25, "quick": 40, "small": 70}) == {"light": 25, "quick": 40, "small": 70}


def test_no_ratio_is_small_enough():
    """Said, not looped over."""
    with pytest.raises(InfeasibleError, match="coarser tree"):
        smallest(lambda percent: False, 50)


def test_an_empty_folder_lacks_everything(tmp_path):
    """Every step is missing, the estimate is above 0 and smaller for a part of the images; the plan says so."""
    asked = DemandSettings()
    found = [status(tmp_path, cell, asked) for cell in NINE]
    for cell, one in zip(NINE, found, strict=True):
        assert one.missing == tuple(map(str, steps_of(cell, asked)))
        assert not one.complete and one.top1 is None and one.goal is not None
        assert {made for made, _ in one.done.values()} == {0}
        assert 0 < status(tmp_path, cell, DemandSettings(share=0.01)).minutes_left < one.minutes_left
    lines = plan_lines(found, 1)
    assert len(lines) == len(NINE) + 1
    assert lines[-1].startswith(f"{sum(len(one.missing) for one in found)} steps in 9 cells, about ")
    assert not list(tmp_path.iterdir())


def test_a_step_is_done_when_what_it_made_is_there_as_noted(tmp_path, monkeypatch):
    """Not when it is another, is gone, or was made of something else or of what is not done; nor without a note."""
    folder = CellFolder(tmp_path, CELL)
    steps = [CellStep(kind, "full", "", None) for kind in ("train", "export", "evaluate")]
    there = {step.kind: "sha256:" + digit * 64 for step, digit in zip(steps, "123", strict=True)}
    monkeypatch.setattr(CellFolder, "found", lambda self, step: there.get(step.kind))
    for step, before in zip(steps, [None, *steps], strict=False):
        assert not folder.done(step)
        of = "" if before is None else there[before.kind]
        note = StepDone(step=str(step), digest=there[step.kind], of=of, seconds=1.0, commit="c", machine="m")
        folder.write(step, note)
        assert folder.done(step)
    for kind, other in (("evaluate", "4"), ("export", "4"), ("train", "4"), ("train", None), ("evaluate", None)):
        with monkeypatch.context() as patch:
            patch.setitem(there, kind, other and "sha256:" + other * 64)
            assert not folder.done(steps[-1])


def test_part_of_the_images_is_of_every_class(monkeypatch):
    """At least one; the same share of each, and other digests."""
    whole = images()
    monkeypatch.setattr(bench.sp, "fetch", lambda name: whole)
    few = bench.some_images("mnist", 0.25)
    assert np.bincount(few.y_train_N).tolist() == [4] * 10
    assert np.bincount(bench.some_images("mnist", 0.001).y_train_N).tolist() == [1] * 10
    assert few.sha256 != whole.sha256 and few.n_classes == 10
    row = int(np.flatnonzero(whole.y_train_N == 3)[0])
    assert (few.x_train_NCHW[np.flatnonzero(few.y_train_N == 3)[0]] == whole.x_train_NCHW[row]).all()


def test_a_gpu_that_is_not_there():
    """Refused before any work; without a word, the CPU."""
    if bench.torch.cuda.is_available():
        assert bench.choose_device(None) == "gpu"
    else:
        with pytest.raises(UsageError, match="torch sees no GPU"):
            bench.choose_device("gpu")
        assert bench.choose_device(None) == "cpu"


def test_trainings_of_all_cells_come_before_what_is_shipped():
    """Where several processes work, and each stage behind what it needs."""
    asked = DemandSettings(until="evaluate")
    stages = bench.by_stage([stage for cell in NINE[:2] for stage in bench.stages_of(cell, asked)])
    ships = [stage.name.startswith("ship") for stage in stages]
    assert ships == sorted(ships) and sum(ships) == (2 + 2 + 3) + (2 + 4 + 3)
    for place, stage in enumerate(stages):
        before = bench.stage_before(stage, asked, stages)
        assert before is None or stages.index(before) < place


def test_what_stands_on_what_was_lost_waits_for_it():
    """The ratios are there, the full model is not: what is compressed waits for the full model."""
    (cell,), asked = parse_cells("mnist.resnet50v2"), DemandSettings(until="train")
    full, compressed = bench.CellStage(cell, "full"), bench.CellStage(cell, "compressed-light")
    assert bench.stage_before(compressed, asked, [full, compressed]) == full
    assert bench.stage_before(compressed, asked, [compressed]) is None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_step_once(made):
    """Seven trainings; every split in the catalog, judged; ratios that are as quick and as small as the tree."""
    folder, fits = made
    asked = bench.replace(settings(folder), until="evaluate")
    found = status(folder / "work", CELL, asked)
    assert found.complete and found.minutes_left == 0
    # The branches of each tree are trained alone first.
    assert fits == TRAININGS + 3
    cell = CellFolder(folder / "work", CELL)
    percents = found.compressed_percent
    assert set(percents) == set(COMPRESSED)
    tree, small = (Run.open(cell.run(what)).metrics for what in ("semantic-4", "compressed-small"))
    assert small.params <= max(part.params for part in tree.fragments)
    assert len(digests(folder)) == 3 + 1 + 4 + len(set(percents.values()))
    assert found.top1 == Catalog(cell.catalog).evaluation(cell.reference("layer-4")).top1


@pytest.mark.slow
def test_what_is_there_is_not_made_again(made):
    """No training, no export, no evaluation, and not a word."""
    folder, _ = made
    said = []

    def refuse(_):
        raise AssertionError("images were asked for")

    asked = bench.replace(settings(folder), until="evaluate")
    bench.run(folder / "work", [CELL], refuse, asked, said.append, silent)
    assert said == ["0 steps in 0 cells, about 0 min one after another"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_anywhere_the_same_command_goes_on(made, tmp_path):
    """SIGKILL when something is made and not yet noted, three times; in the end, all is as without."""
    for steps in KILLED_AT:
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(steps)]
        assert subprocess.run(command, cwd=ROOT, timeout=300).returncode == -signal.SIGKILL
    (one,) = make(tmp_path)
    assert one.complete
    assert digests(tmp_path) == digests(made[0])


@pytest.mark.slow
def test_what_was_damaged_is_missing_again(made, tmp_path):
    """Weights that are not those of the note, and what was made of them."""
    folder, _ = made
    weights = CellFolder(folder / "work", CELL).run("semantic-2") / "model.safetensors"
    whole = weights.read_bytes()
    asked = bench.replace(settings(folder), until="evaluate")
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert status(folder / "work", CELL, asked).missing == tuple(
            f"{kind} semantic-2" for kind in ("train", "export", "evaluate")
        )
    finally:
        weights.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demand_of_a_complete_cell_can_be_simulated(made, tmp_path):
    """Profiles come last; what deciders mean by a word stands first."""
    folder, _ = made
    asked, kept = settings(folder), tmp_path / "results.json"
    assert collect(keep(kept, folder / "work", [CELL], lambda _: images(), asked)) is None and not kept.exists()
    make(folder, "profile")
    value = collect(keep(kept, folder / "work", [CELL], lambda _: images(), asked))
    path = tmp_path / "demand.json"
    write_demand(value, path)
    assert load_demand(str(path)) == value
    assert value.encoded["mnist"].bytes_per_sample > 0
    first = {entry.split.strategy: entry.split.variant for entry in reversed(value.splits)}
    percents = status(folder / "work", CELL, asked).compressed_percent
    assert (first["layer"], first["semantic"], first["full"]) == ("4", "4-roots", "")
    assert int(first["compressed"]) in percents.values()
    workload = load_scenario("measured-50").workload.model_copy(update={"load": None, "utilisation": 0.05})
    scenario = load_scenario("measured-50").model_copy(update={"workload": workload, "interval_s": 10.0})
    run = simulate(scenario, load_fleet("azure10"), value, parse_policy("random+random"), 3)
    assert run.metrics.tasks.arrived > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_was_kept_outlives_the_work_folder(made, tmp_path):
    """With it lost, the cell is complete as it was, and its demand the same; an earlier kind takes no later's place."""
    folder, kept = made[0], tmp_path / "results.json"
    make(folder, "profile")
    asked, lost = settings(folder), tmp_path / "lost"
    there = keep(kept, folder / "work", [CELL], lambda _: images(), asked)
    earlier = bench.replace(asked, until="evaluate")
    assert keep(kept, folder / "work", [CELL], lambda _: images(), earlier) == there == load(kept)
    assert keep(kept, lost, [CELL], lambda _: images(), asked) == there
    found = status(lost, CELL, asked, find_kept(there, CELL, asked))
    assert found == status(folder / "work", CELL, asked) and found.complete


def kept_cell(**changed) -> KeptCell:
    """Judged, not profiled; of nothing that was ever made."""
    note = StepDone(step="choose ratios", digest="sha256:" + "1" * 64, of="", seconds=1.0, commit="c", machine="m",
                    percent={"light": 25})  # fmt: skip
    found = {
        reference: Evaluation(dataset="mnist", sha256="0" * 64, n=10, top1=top1, seed=0, source="drawn")
        for reference, top1 in (("mnist.mobilenetv2.full", 0.9), ("mnist.mobilenetv2.compressed-25", 0.7))
    }
    facts = {"cell": "mnist.mobilenetv2", "preset": "demand", "seed": 0, "share": 1.0, "until": "evaluate"}
    return KeptCell(**{**facts, "steps": (note,), "evaluations": found, **changed})


@pytest.mark.parametrize(
    ("changed", "covers"),
    [
        ({}, True),
        ({"until": "train"}, False),
        ({"until": "profile"}, False),
        ({"seed": 1}, False),
        ({"share": 0.5}, False),
    ],
)
def test_what_was_kept_is_all_that_is_asked(changed, covers):
    """Of that seed and those images, and measured; no weights or graphs, though. A cell of another name is not it."""
    asked = bench.replace(DemandSettings(until="evaluate"), **changed)
    assert (find_kept((kept_cell(),), DemandCell("mnist", "mobilenetv2"), asked) is not None) == covers
    assert find_kept((kept_cell(),), DemandCell("mnist", "resnet50v2"), asked) is None


def test_what_was_kept_is_not_made_again(tmp_path):
    """Not a word but the plan's, and nothing in the work folder; measuring it again is refused, by name."""
    cell, asked, said = DemandCell("mnist", "mobilenetv2"), DemandSettings(until="evaluate"), []

    def refuse(_):
        raise AssertionError("images were asked for")

    (found,) = bench.run(tmp_path, [cell], refuse, asked, said.append, silent, kept=(kept_cell(),))
    assert found.complete and found.top1 == 0.9 and found.compressed_percent == {"light": 25}
    assert said == ["0 steps in 0 cells, about 0 min one after another"] and not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"--again: mnist\.mobilenetv2: measured before, and not in "):
        bench.run(tmp_path, [cell], refuse, asked, said.append, silent, again=True, kept=(kept_cell(),))


def test_the_page_says_which_goals_were_reached(tmp_path):
    """By the worst of the seeds; a cell that was not made is "not run", and so is one of a part of the images."""
    cells = (kept_cell(), kept_cell(seed=1), kept_cell(cell="tiny100.mobilenetv2", share=0.1))
    section = demand_page.section(
        DemandResults(cells=cells, provenance=provenance.collect(0)).model_dump_json().encode(), tmp_path
    )
    assert section.verdict["mnist.mobilenetv2: the whole network is right on 99.2% or more"] == "does not hold"
    assert section.verdict["tiny100.mobilenetv2: the whole network is right on 43.0% or more"] == "not run"
    assert len(section.verdict) == 9 and list(section.seeds) == [0, 1]
    (rows,) = section.tables
    assert rows[0]["full"] == "90.00%" and rows[0]["compressed, light"] == "70.00% (by 25 %)"
    above = kept_cell(
        evaluations={
            "mnist.mobilenetv2.full": kept_cell()
            .evaluations["mnist.mobilenetv2.full"]
            .model_copy(update={"top1": 0.995})
        }
    )
    assert demand_page.verdict([above])["mnist.mobilenetv2: the whole network is right on 99.2% or more"] is True


def test_the_command_says_what_is_missing(tmp_path, capsys, monkeypatch):
    """As one JSON document, or a table; nothing is made."""
    monkeypatch.delenv("COLUMNS", raising=False)  # as wide as it needs
    with pytest.raises(SystemExit, match="0"):
        main(
            [
                "bench",
                "demand",
                "--status",
                "--work",
                str(tmp_path / "work"),
                "--results",
                str(tmp_path / "none"),
                "--device",
                "cpu",
                "--json",
            ]
        )
    said = json.loads(capsys.readouterr().out)
    assert [one["cell"] for one in said["cells"]] == list(map(str, NINE))
    assert not any(one["complete"] for one in said["cells"])
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "demand", "--status", "--work", str(tmp_path / "work"), "--cells", "tiny100.resnet50v2"])
    said = capsys.readouterr().out
    assert "tiny100.resnet50v2" in said and "not run" in said
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--share", "0"], "--share 0: expected a share"),
        (["--jobs", "0"], "--jobs 0: expected at least 1"),
        (["--seed", "-1"], "--seed -1: expected at least 0"),
        (["--cells", "mnist"], "unknown cell 'mnist'"),
        (["--preset", "nobody"], "unknown preset 'nobody'"),
    ],
)
def test_what_the_command_refuses(tmp_path, capsys, options, message):
    """Exit 2, one line, before any work."""
    with pytest.raises(SystemExit) as ended:
        main(["bench", "demand", "--work", str(tmp_path / "work"), "--device", "cpu", *options])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and message in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_a_preset_that_is_not_there(tmp_path):
    """Before anything is read or made."""
    with pytest.raises(SplitPlaceError, match="unknown preset"):
        status(tmp_path, CELL, DemandSettings(preset="nobody"))
    assert json.dumps(list(map(str, tmp_path.iterdir()))) == "[]"
