"""The parts of `bench layer-split` that can be held against something."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splitplace import provenance
from splitplace.api.split import split
from splitplace.benchmarks import layer_split
from splitplace.benchmarks.layer_split import LayerSplitResults, LayerSplitSettings, equal_cuts, run
from splitplace.benchmarks.paired import Ratio, bootstrap, paired_ratios
from splitplace.export.convert.from_timm import TimmModel
from splitplace.splitting.layerwise import cutting


def test_equal_cuts_come_closest_to_equal_parts() -> None:
    """Ten equal blocks in five parts, and a heavy one that no cut can halve."""
    assert equal_cuts(np.ones(10), 5) == [0, 2, 4, 6, 8, 10]
    assert equal_cuts(np.array([1.0, 1.0, 8.0, 1.0]), 2) == [0, 2, 4]


def test_equal_cuts_leave_no_fragment_empty() -> None:
    """With all the weight in one block, every fragment still has one."""
    assert equal_cuts(np.array([0.0, 0.0, 0.0, 5.0]), 4) == [0, 1, 2, 3, 4]


def test_paired_ratios_find_a_known_ratio() -> None:
    """Variants that report fixed seconds give exactly their ratio, and the baseline against itself gives 1."""
    base, ratios = paired_ratios(lambda: 2.0, {"slow": lambda: 3.0}, pairs=5)
    assert base == 2.0
    assert ratios["slow"].median == pytest.approx(1.5)
    assert (ratios["A/A"].low, ratios["A/A"].high) == (1.0, 1.0)
    assert ratios["slow"].pairs == 5


def test_the_interval_covers_the_median() -> None:
    """Of noisy ratios around 1.2, the interval holds 1.2 and narrows with more pairs."""
    rng = np.random.default_rng(0)
    one = bootstrap(np.array([1.5]))
    assert (one.median, one.low, one.high, one.pairs) == (1.5, 1.5, 1.5, 1)
    few, many = (bootstrap(rng.normal(1.2, 0.05, n)) for n in (30, 3000))
    assert few.low <= 1.2 <= few.high
    assert many.high - many.low < (few.high - few.low) / 3


def test_ratios_are_of_cuts_as_the_command_line_makes_them() -> None:
    """The bench's slack is the default of `splitplace split`."""
    assert inspect.signature(split).parameters["slack"].default == layer_split.RATIO_SLACK


def test_pipelining_still_ships_no_automatic_split() -> None:
    """METHODOLOGY.md says so: a hook that takes a policy, and no policy to give it."""
    from torch.distributed import pipelining

    assert {"pipeline", "SplitPoint", "pipe_split"} <= set(pipelining.__all__)
    assert not [name for name in pipelining.__all__ if "policy" in name.lower() or "auto" in name.lower()]


def test_an_interrupted_bench_goes_on_where_it_stopped(
    tmp_path: Path, residual_cnn: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells are written as they are measured; a second run measures the missing ones only and keeps the others."""
    toy = TimmModel(residual_cnn(), 16, "none", None, ())
    monkeypatch.setattr(layer_split, "_opened", lambda name, size: (toy, cutting.analyse(toy.onnx, name)))
    path, said = tmp_path / "results.json", list[str]()
    first = LayerSplitSettings(models=("toy",), fragments=(2,), batches=(1,), pairs=2, profile_runs=2)
    one = run(path, first, said.append)
    assert len(one.plans) == len(one.ratios) == 1 and len(said) == 2
    assert one.plans[0].lower_bound_s <= one.plans[0].bottleneck_s * (1 + 1e-9)
    assert one.plans[0].bottleneck_s <= one.plans[0].equal_nodes_s
    said.clear()
    two = run(path, replace(first, fragments=(2, 4)), said.append)
    assert said == ["toy: measuring blocks, planning K = [4]"]
    assert two.plans[0] == one.plans[0] and two.ratios == one.ratios and two.plans[1].fragments == 4
    assert LayerSplitResults.parse(path.read_bytes(), "results") == two


def _cell(model: str, batch: int, ours: float, noise: float) -> layer_split.RatioCell:
    wide = Ratio(median=1.0, low=1.0 - noise / 2, high=1.0 + noise / 2, pairs=30)
    measured = Ratio(median=ours, low=ours - 0.01, high=ours + 0.01, pairs=30)
    return layer_split.RatioCell(
        model=model, px=224, batch=batch, whole_s=0.1, ours=measured, naive=measured, same=wide
    )


@pytest.mark.parametrize(
    ("worst", "noise", "said"),
    [
        (1.035, 0.01, True),
        (1.045, 0.01, False),
        (1.035, 0.04, "not known, too noisy in 1 of 8 cells: repeat on a quiet machine"),
        (1.045, 0.04, "not known, too noisy in 1 of 8 cells: repeat on a quiet machine"),
    ],
)
def test_a_ratio_claim_needs_every_cell_and_a_quiet_machine(worst: float, noise: float, said: bool | str) -> None:
    """The lower end under 1.03 holds; where the baseline against itself scatters by more than 3 %, nothing is known."""
    cells = [_cell(model, batch, 1.0, 0.01) for model in layer_split.FAMILIES for batch in (8, 32)]
    cells[0] = _cell("mobilenetv2", 8, worst, noise)
    results = LayerSplitResults(ratios=tuple(cells), core_speed=1.0, provenance=provenance.collect())
    assert layer_split.verdict(results)["chain at most 3 % slower"] == said


def test_a_claim_without_its_cells_is_not_run() -> None:
    """An empty file claims nothing; one with a cell too few says how many lack."""
    empty = LayerSplitResults(core_speed=1.0, provenance=provenance.collect())
    assert layer_split.verdict(empty) == {
        "every gap at most 1 %": "not run",
        "chain at most 3 % slower": "not run in 8 of 8 cells",
    }
