"""Who asks for what, when; and the fleets they ask of."""

import numpy as np
import pytest

from splitplace.api.simulate import simulate
from splitplace.errors import OverloadedError, SplitPlaceError
from splitplace.placement.simulator.demands import build, load_demand
from splitplace.placement.simulator.recorded import read_trace
from splitplace.placement.simulator.scenario import Workload
from splitplace.placement.simulator.shipped import load_fleet, load_scenario, units
from splitplace.placement.simulator.traces import write_parquet
from splitplace.placement.simulator.workload import draw

pytestmark = pytest.mark.base


def arrivals(world, intervals=4000, **workload):
    """Of the published constants' three applications, intervals of 100 s."""
    deadlines = {"mnist": (2, 11), "fashionmnist": (2, 15), "cifar100": (2, 25)}
    chosen = Workload(**({"rate": 6.0, "deadline_intervals": deadlines} | workload))
    costs = build(load_demand("upstream"), (world.device(),))
    return draw(world.scenario(workload=chosen), (world.device(),), costs, intervals, 0)


def per_interval(found, intervals=4000):
    """Tasks in each interval."""
    return np.bincount((found.arrival_s_N // 100).astype(int), minlength=intervals)


def test_the_papers_workload(world):
    """Poisson(6) at interval starts, applications alike, batches U(16000, 64000), deadlines in whole intervals."""
    found = arrivals(world)
    counts = per_interval(found)
    assert counts.mean() == pytest.approx(6.0, rel=0.02)
    assert counts.var() == pytest.approx(6.0, rel=0.1)
    assert (found.arrival_s_N % 100 == 0).all()
    assert np.bincount(found.application_N) / len(found.n_N) == pytest.approx([1 / 3] * 3, rel=0.05)
    assert (found.n_N.min(), found.n_N.max()) >= (16_000, 63_000)
    assert found.n_N.mean() == pytest.approx(40_000, rel=0.01)
    deadlines = found.deadline_s_N[found.application_N == 0] / 100
    assert sorted(set(deadlines)) == list(range(2, 12))


def test_the_published_codes_workload(world):
    """int(gauss(1, .5)): one task with probability P(1 <= x < 2) = .477, two with .023."""
    counts = per_interval(
        arrivals(world, rate=1.0, arrivals="gauss", mix={"mnist": 2, "cifar100": 1, "fashionmnist": 1})
    )
    assert np.bincount(counts)[:3] / len(counts) == pytest.approx([0.5, 0.477, 0.023], abs=0.02)


def test_a_spread_workload_is_a_poisson_process(world):
    """Exponential gaps: their mean and standard deviation agree."""
    gaps = np.diff(arrivals(world, spread=True).arrival_s_N)
    assert gaps.mean() == pytest.approx(100 / 6, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)


def test_rate_and_mix_change_by_phase(world):
    """From interval 2000 on three times the tasks, all of them CIFAR-100."""
    found = arrivals(world, phases=({"start": 2000, "rate_factor": 3.0, "mix": {"cifar100": 1.0}},))
    counts, late = per_interval(found), found.arrival_s_N >= 200_000
    assert counts[2000:].mean() / counts[:2000].mean() == pytest.approx(3.0, rel=0.05)
    assert set(found.application_N[late]) == {2}
    assert set(found.application_N[~late]) == {0, 1, 2}


@pytest.mark.sim
def test_a_rate_out_of_an_array():
    """Numpy's numbers of any width are numbers."""
    runs = [simulate("full+random", fleet="azure10", rate=rate, intervals=1) for rate in (2.0, np.float32(2.0))]
    assert [run.run.rate for run in runs] == [2.0, 2.0]


def test_a_mix_without_any_application_on_offer(world):
    """Named are what was asked for and what there is."""
    with pytest.raises(SplitPlaceError, match=r"imagenet.*mnist"):
        arrivals(world, mix={"imagenet": 1.0})


HEADER = "arrival_s,application,n,deadline_s\n"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + "1,a,20,2.0\n",
        (HEADER + "1,a,20,2.0\n").replace("\n", "\r\n"),
        (HEADER + "1,a ,20 ,2.0\n").replace(",", ", "),
        HEADER + '\n"1","a","20","2.0"\n\n',
        HEADER + "1,a,20,2.0,\n",
        HEADER.replace("\n", ",\n") + "1,a,20,2.0\n",
        HEADER.replace("\n", ",note\n") + "1,a,20,2.0\n",
        "n,host,deadline_s,application,arrival_s\n20,x,2.0,a,1\n",
    ],
)
def test_a_csv_trace_as_spreadsheets_and_people_write_it(tmp_path, text):
    """A byte order mark, other line ends, blanks, quotes, commas at the end, more columns, in any order or empty."""
    (tmp_path / "w.csv").write_bytes(text.encode())
    arrival, application, n, deadline = read_trace(tmp_path / "w.csv", ("a", "b"))
    assert [column.tolist() for column in (arrival, application, n, deadline)] == [[1.0], [0], [20], [2.0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no columns 'arrival_s' in its first line"),
        (HEADER.replace(",", ";") + "1;a;20;2.0\n", "'arrival_s;application;n;deadline_s'.* parted by commas"),
        ("arrival_s,application,n,deadline_s,n\n1,a,20,2.0,30\n", "2 columns 'n'"),
        (HEADER + "1,a,20,2.0\n1,a,20\n", "row 2 has 3 values for 4 columns"),
        ("host,deadline_s,application,arrival_s,n,\nx,2.0,a,1\n", "row 1 has 4 values for 6 columns"),
        (HEADER + "1,a,20,2,5\n", "row 1 has 5 values for 4 columns.* with a point in numbers"),
        ("x" * 10_000 + "\n", r"x{100}\.\.\."),
    ],
)
def test_a_csv_trace_that_could_be_read_wrong(tmp_path, text, said):
    """Told what its first line has, or which row has too few or too many values: none is guessed at."""
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(SplitPlaceError, match=said):
        read_trace(tmp_path / "w.csv", ("a", "b"))


@pytest.mark.sim
def test_a_parquet_trace_in_any_order(tmp_path):
    """Sorted by arrival; its name ends in capitals, as some systems have them."""
    columns = {"arrival_s": [5.0, 1.0], "application": ["b", "a"], "n": [10, 20], "deadline_s": [1.0, 2.0]}
    write_parquet(tmp_path / "w.PARQUET", columns, "by hand")
    arrival, application, n, deadline = read_trace(tmp_path / "w.PARQUET", ("a", "b"))
    found = [column.tolist() for column in (arrival, application, n, deadline)]
    assert found == [[1.0, 5.0], [0, 1], [20, 10], [2.0, 1.0]]


def test_a_fleet_of_any_size_keeps_its_proportions():
    """2 : 1 : 1 : 1 of Table 3; the one too many goes to the largest remainder."""
    assert [entry.count for entry in load_fleet("azure50:10001").devices] == [4001, 2000, 2000, 2000]
    assert len(load_fleet("azure50:3").units()) == 3


@pytest.mark.parametrize(
    ("name", "field", "factor"),
    [("compute", "cores", 0.5), ("network", "up_bytes_per_s", 0.5), ("memory", "memory_bytes", 0.5)],
)
def test_constrained_scenarios_halve_one_thing(name, field, factor):
    """Paper A.3, and nothing else changes."""
    plain = units(load_scenario("paper-50"), load_fleet("azure50"))
    half = units(load_scenario(f"{name}-constrained"), load_fleet("azure50"))
    for a, b in zip(plain, half, strict=True):
        changed = {key for key, value in a.model_dump().items() if value != getattr(b, key)}
        assert changed == ({field, "down_bytes_per_s"} if name == "network" else {field})
        assert getattr(b, field) == pytest.approx(getattr(a, field) * factor, abs=1)


def test_reference_mips_of_table_3():
    """Core speed = (MIPS / cores) / reference: 4029 MIPS on two cores, a reference of 1007.25, twice as fast."""
    scenario = load_scenario("paper-50").model_copy(update={"reference_mips": 4029 / 4})
    assert units(scenario, load_fleet("azure50"))[0].core_speed == pytest.approx(2.0)


def test_tasks_of_more_micro_batches_than_can_be_handed_on_are_refused(by_hand, world):
    """At once, with what to do; in coarser grain, or one fragment after another, they run."""
    demand, fleet = world.constants({"core_s": (1e-9, 1e-9)}), world.fleet(world.device())
    rows = [(0.0, "a", 10**12, 100.0)]
    with pytest.raises(
        OverloadedError, match=r"1e\+12 micro-batches .* at most 10000000: raise the scenario's pipeline_gr"
    ):
        by_hand(rows, fleet, demand, "layer+least-loaded", precedence="pipelined")
    coarse = {"precedence": "pipelined", "pipeline_grain": 10**11}
    for changes in (coarse, {"precedence": "strict"}):
        assert by_hand(rows, fleet, demand, "layer+least-loaded", **changes).metrics.tasks.arrived == 1
