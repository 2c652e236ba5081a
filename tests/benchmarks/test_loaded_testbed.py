"""The bench of fleets under load beside their simulation: its errors, orders, verdicts and table by hand."""

import pytest

from splitplace import provenance
from splitplace.benchmarks import loaded_testbed as bench
from splitplace.benchmarks.loaded_testbed_run import WARM, simulated_again
from splitplace.errors import NotReadyError
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.scenario import CpuLimit, load_fleet
from splitplace.records.demand import Demand


def cell(strategy="full", measured_s=(1.0, 2.0, 3.0), simulated_s=(1.0, 2.0, 3.0), **changes):
    """Three tasks a second apart, which only compute."""
    zeros = (0.0,) * 3

    def parts(times):
        return {"response_s": times, "wait_s": zeros, "execute_s": times, "transfer_s": zeros}

    fields = {
        "cores": 2,
        "precedence": "strict",
        "load": 0.5,
        "rate": 1.0,
        "images": (32,) * 3,
        "drift": 1.02,
        "warm": ((0.0, 32),),
    }
    return bench.LoadedCell(
        strategy=strategy, arrival_s=(10.0, 11.0, 12.0), measured=parts(measured_s), simulated=parts(simulated_s),
        **(fields | changes),
    )  # fmt: skip


def costs(slower=1.0, **changes):
    """Of a whole model on the first host of azure10, which computes so many times longer afterwards."""
    measured = load_demand("measured")
    entry = next(each for each in measured.splits if each.split.strategy == "full")
    demand = Demand(splits=(entry,), provenance=measured.provenance)
    host = load_fleet("azure10").units()[0]
    before, after = (
        bench.FleetCosts(devices=(host.model_copy(update={"core_speed": host.core_speed / by}),), demand=demand)
        for by in (1.0, slower)
    )
    fields = {"cores": 2, "cpu_limits": {}, "handover_s": 0.0004, "handover_s_per_byte": 0.0, "broker_s": 0.002}
    return bench.LoadedCosts(strategy="full", before=before, after=after, load=0.0, **(fields | changes))


def results(*cells):
    """A whole file."""
    return bench.LoadedResults(cells=cells, costs=(costs(1.2),), provenance=provenance.collect(seed=0))


def four(**times):
    """A run of each split, whose tasks all take so long measured and simulated."""
    return [cell(name, (live,) * 3, (told,) * 3) for name, (live, told) in times.items()]


def test_errors_of_tasks_of_the_median_and_of_throughput():
    """Twice the first, half the second; the last answer 5 s after the first arrival, simulated, and 6 s measured."""
    found = cell(measured_s=(2.0, 1.0, 4.0))
    assert found.errors == pytest.approx([1.0, -0.5, 1 / 3])
    assert found.run_error == pytest.approx(0.0)
    assert found.throughput_error == pytest.approx(5 / 6 - 1)


def test_the_order_of_the_splits_is_kendalls():
    """Of six pairs one is the other way round: tau 2/3; a stream that one split has not met says nothing."""
    cells = four(full=(1.0, 1.0), layer=(2.0, 2.0), semantic=(3.0, 4.0), compressed=(4.0, 3.0))
    assert bench.orders(results(*cells)) == [pytest.approx(2 / 3)]
    assert bench.orders(results(*cells[:3])) == []


GOOD = {"full": (1.0, 1.0), "layer": (2.0, 2.0), "semantic": (3.0, 3.0), "compressed": (4.0, 4.0)}


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, (True, True, True, True)),
        ({"layer": (2.19, 2.0)}, (True, True, True, True)),
        ({"layer": (2.3, 2.0)}, (False, False, True, True)),
        ({"full": (1.3, 1.0), "layer": (2.6, 2.0), "semantic": (3.7, 3.0)}, (False, False, False, True)),
        ({"semantic": (4.1, 3.9)}, (True, True, True, False)),
    ],
)
def test_each_claim_is_about_what_it_says(changed, holds):
    """Every run's throughput and median response, all tasks' median, and the order."""
    assert tuple(bench.verdict(results(*four(**(GOOD | changed)))).values()) == holds


def test_the_table_has_a_row_a_run(tmp_path):
    """Means of each part, simulated and measured, from the file as written; a picture lies beside it."""
    found = results(cell(measured_s=(1.0, 2.0, 4.5)), *four(**GOOD)[1:])
    text = found.model_dump_json().encode()
    section = bench.section(text, tmp_path / "testbed-loaded.json")
    row = section.tables[0][0]
    assert (row["split"], row["response ms"], row["transfer ms"], row["drift"]) == (
        "full", "2000.0 / 2500.0", "0.0 / 0.0", "+2.0%",
    )  # fmt: skip
    assert section.remarks[2] == "Kendall's tau over 1 streams: 0.91 at least, 0.91 in the mean."
    assert "<svg" in bench.draw(tmp_path / "testbed-loaded.json", found).read_text()


@pytest.mark.parametrize(("slower", "shaky"), [(1.0, False), (1.09, False), (1.12, True), (1 / 1.12, True)])
def test_a_machine_that_changed_by_over_a_tenth_is_told(tmp_path, slower, shaky):
    """Either way, by what a micro-batch takes through all fragments."""
    found = costs(slower)
    assert found.change == pytest.approx(slower - 1)
    assert found.shaky == shaky
    text = results(*four(**GOOD)).model_dump_json().encode()
    assert "by its profiles: full on 2 core(s) +20%" in bench.section(text, tmp_path / "r.json").remarks[1]


def test_nothing_measured_is_nothing_to_simulate_again(tmp_path):
    """Said in a line."""
    with pytest.raises(NotReadyError, match=r"none\.json is not there: measure first"):
        simulated_again(tmp_path / "none.json", print)


def test_what_was_measured_is_simulated_again_by_hand(tmp_path):
    """Whole models ten seconds apart: what broker, links, runs and hand-overs take, less what a rested host gains."""
    limit = CpuLimit(share=0.5, period_s=0.02)
    told = costs(cpu_limits={load_fleet("azure10").units()[0].kind: limit}, handover_s_per_byte=1e-10)
    (entry,), (host,) = told.before.demand.splits, told.before.devices
    n, sizes = 256, (784, 40)  # bytes of an image, and of its ten logits
    came = [(10.0 * row, n) for row in range(WARM + 3)]
    at_s, images = zip(*came, strict=True)
    old = cell(images=images[WARM:], warm=tuple(came[:WARM])).model_copy(update={"arrival_s": at_s[WARM:]})
    file = bench.LoadedResults(cells=(old,), costs=(told,), provenance=provenance.collect(0))
    path = tmp_path / "results.json"
    path.write_text(file.model_dump_json())
    (found,) = simulated_again(path, print).cells
    assert bench.LoadedResults.parse(path.read_bytes(), "file").cells == (found,)
    assert found.measured == old.measured
    batches = n // entry.micro_batch
    computed_s = batches * (entry.latency_s("full", host) + 0.0004 / host.core_speed)
    computed_s += n * sum(sizes) * 1e-10 / host.core_speed
    moved_s = n * sum(sizes) / host.up_bytes_per_s + host.rtt_s
    assert found.simulated["response_s"] == pytest.approx([0.002 + moved_s + computed_s - 0.01] * 3, abs=2e-6)
