"""The bench of fleets under load beside their simulation: its errors, orders, verdicts and table by hand."""

import pytest

from splitplace import provenance
from splitplace.benchmarks import loaded_testbed as bench
from splitplace.benchmarks import loaded_testbed_run
from splitplace.benchmarks.device_faults import DeviceFault
from splitplace.benchmarks.loaded_testbed_group import LOADS, WARM, GroupKey, wanted
from splitplace.benchmarks.loaded_testbed_page import section as page
from splitplace.benchmarks.loaded_testbed_run import groups, key_of, not_to_be_had, run, simulated_again
from splitplace.errors import NotReadyError, UsageError
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.scenario import CpuLimit
from splitplace.placement.simulator.shipped import load_fleet
from splitplace.records.demand import Demand

FAULT = DeviceFault(kind="killed", device="e2asv4-0", at_s=11.0, lasts_s=4.0)


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
    section = page(text, tmp_path / "testbed-loaded.json")
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
    assert "by its profiles: full on 2 core(s) +20%" in page(text, tmp_path / "r.json").remarks[1]


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


SHAPED = {"part": "shaped", "cores": 1}
FAULTY = {"part": "faulty", "cores": 1, "fault": FAULT}


def test_what_is_late_and_for_how_long_after_a_fault():
    """Over a second: two of three; the last of them is answered 3 s after the fault at 11 s. With none late, 0 s."""
    found = cell(measured_s=(1.0, 1.5, 2.0), simulated_s=(0.5, 1.0, 0.9), **FAULTY)
    assert (found.late(found.measured), found.late(found.simulated)) == (pytest.approx(2 / 3), 0.0)
    assert (found.recovery_s(found.measured), found.recovery_s(found.simulated)) == (pytest.approx(3.0), 0.0)


@pytest.mark.parametrize(
    ("measured_s", "holds"),
    [((1.0, 1.0, 3.0), (True, True)), ((1.0, 1.5, 3.0), (False, True)), ((1.0, 1.0, 4.1), (True, False))],
)
def test_claims_about_faults_are_about_late_tasks_and_recovery(measured_s, holds):
    """One more of three that is late, or the last of them over a second later, is told."""
    cells = cell(measured_s=measured_s, simulated_s=(1.0, 1.0, 3.0), **FAULTY)
    found = bench.verdict(results(cells))
    assert tuple(found.values())[-2:] == holds


def test_parts_are_judged_and_told_apart(tmp_path):
    """The claims about plain runs do not look at others; each part has a table, and what is left out is told."""
    file = results(cell(), cell(measured_s=(2.0, 3.0, 4.0), **SHAPED)).model_copy(update={"left_out": ("faults: why",)})
    found = page(file.model_dump_json().encode(), tmp_path / "r.json")
    assert [len(rows) for rows in found.tables] == [1, 1]
    assert found.verdict["median response of every run within 10%"] == "holds"
    assert found.verdict["behind shaped links: median response of every run within 10%"] == "does not hold"
    assert not any(claim.startswith("with faults") for claim in found.verdict)
    assert found.remarks[-1] == "Left out: faults: why."


def test_what_devices_did_is_a_column_where_the_file_has_it(tmp_path):
    """A file from before has none; with them, in percent and milliseconds."""
    old = page(results(cell()).model_dump_json().encode(), tmp_path / "r.json").tables[0][0]
    more = cell(sent_late_s=0.004, run_over_profile=1.1, between_s=0.0005)
    new = page(results(more).model_dump_json().encode(), tmp_path / "r.json").tables[0][0]
    assert {name: new[name] for name in new if name not in old} == {
        "runs over profiles": "+10.0%", "between runs ms": "0.50", "sent late ms": "4",
    }  # fmt: skip


@pytest.mark.parametrize(("late_s", "stalled"), [(None, False), (0.09, False), (0.11, True)])
def test_a_run_whose_sender_stood_still_is_known(late_s, stalled):
    """By how much later than planned a task came; a file from before does not say."""
    assert cell(sent_late_s=late_s).stalled == stalled


def test_each_part_has_its_groups_and_runs():
    """Plain: eight of six runs; behind shaped links two of four; with faults three of three."""
    found = groups(bench.STRATEGIES, (1, 2), ("faulty", "plain", "shaped"))
    assert {part: sum(len(wanted(key.part)) for key in found if key.part == part) for part in SPLIT_RUNS} == SPLIT_RUNS
    assert groups(("layer",), (1, 2), ("shaped",)) == [GroupKey("shaped", "layer", 1)]
    assert not set(LOADS) & {run.load for part in ("shaped", "faulty") for run in wanted(part)}


SPLIT_RUNS = {"plain": 48, "shaped": 8, "faulty": 9}


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ((("full",), (1,), ("sharped",)), "sharped"),
        ((("compressed",), (1,), ("shaped", "faulty")), "nothing there"),
        ((("layer",), (2,), ("faulty",)), "nothing there"),
    ],
)
def test_what_no_part_has_is_refused(asked, match):
    """A name that is none, and splits or fleets that the parts asked for do not have."""
    with pytest.raises(UsageError, match=match):
        groups(*asked)


def test_what_this_machine_cannot_do_is_told_in_a_line(monkeypatch, tmp_path):
    """No namespaces with tbf, no quotas: each part by its reason; with nothing left, nothing is measured or written."""

    def no(*_, **__):
        raise NotReadyError("not here")

    monkeypatch.setattr(loaded_testbed_run, "shaped", no)
    monkeypatch.setattr(loaded_testbed_run, "open_share", no)
    found = not_to_be_had({"plain", "shaped", "faulty"})
    assert [*found] == ["shaped", "faulty"]
    assert all("not here" in reason and "\n" not in reason for reason in found.values())
    said = []
    with pytest.raises(NotReadyError, match="not here"):
        run(tmp_path / "r.json", tmp_path, 1, said.append, parts=("shaped", "faulty"))
    assert said == [f"left out: {reason}" for reason in found.values()]
    assert not (tmp_path / "r.json").exists()


def test_what_the_file_has_is_not_measured_again(tmp_path):
    """A group that is there: the file as it is, whatever part is asked for."""
    told = costs(part="shaped").model_copy(update={"cores": 1, "strategy": "layer"})
    file = bench.LoadedResults(cells=(), costs=(told,), provenance=provenance.collect(seed=0))
    (tmp_path / "r.json").write_text(file.model_dump_json())
    assert key_of(told) == GroupKey("shaped", "layer", 1)
    assert run(tmp_path / "r.json", tmp_path, 1, print, ("layer",), (1,), parts=("shaped",)) == file
