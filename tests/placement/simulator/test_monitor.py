"""What a simulated fleet uses, by hand: cores, memory, links and disks, of devices and of the fragments on them."""

import numpy as np
import pytest

from splitplace.errors import NotReadyError

MEMORY = 100


@pytest.fixture
def looks(world, by_hand):
    """The utilisation at each interval of 100 s, by time."""

    def look(rows, devices, *splits, policy="layer+least-loaded", **changes):
        seen = {}

        def watch(view, actions):
            seen[view.now_s] = view.utilisation

        demand = world.constants(*splits, memory_bytes=MEMORY)
        by_hand(rows, world.fleet(*devices), demand, policy, watch=watch, tick="interval", retry="interval", **changes)
        return seen

    return look


def of(seen, fragment, device=0):
    """The shares of a fragment on a device: cpu, memory, net, disk."""
    (row,) = np.flatnonzero((seen.fragment_U == fragment) & (seen.device_U == device))
    return [float(share[row]) for share in (seen.cpu_U, seen.memory_U, seen.net_U, seen.disk_U)]


def test_who_runs_has_a_core(world, looks):
    """One container on two cores: half of them, for as long as it takes; its memory is a tenth of the device's."""
    device, split = [world.device(cores=2, memory_bytes=1000)], {"core_s": (250.0,)}
    seen = looks([(0.0, "a", 1000, 900)], device, split, parallelism="inter")
    assert of(seen[100.0], 0) == [0.5, 0.1, 0.0, 0.0]
    assert (seen[100.0].cpu_D.tolist(), seen[100.0].memory_D.tolist()) == ([0.5], [0.1])
    assert seen[0.0].fragment_U.size == seen[400.0].fragment_U.size == 0
    assert seen[400.0].cpu_D.tolist() == [0.0]


def test_who_runs_on_all_cores_has_them_all(world, looks):
    """One container on two cores: both; of two, each half of the time."""
    device, split = [world.device(cores=2, memory_bytes=1000)], {"core_s": (250.0,)}
    seen = looks([(0.0, "a", 1000, 900)], device, split, parallelism="intra")
    assert (of(seen[100.0], 0)[0], seen[100.0].cpu_D.tolist()) == (1.0, [1.0])
    seen = looks([(0.0, "a", 1000, 900)] * 2, device, split, parallelism="intra")
    assert (of(seen[100.0], 0)[0], seen[100.0].cpu_D.tolist()) == (1.0, [1.0])


def test_containers_of_a_fragment_are_told_together(world, looks):
    """Three on two cores: all of them, and three times the memory of one."""
    rows = [(0.0, "a", 1000, 900)] * 3
    seen = looks(rows, [world.device(cores=2, memory_bytes=1000)], {"core_s": (500.0,)})
    assert of(seen[100.0], 0) == pytest.approx([1.0, 0.3, 0.0, 0.0])


def test_tasks_that_share_a_fragment_have_its_memory_once(world, looks):
    """As on a live fleet."""
    rows = [(0.0, "a", 1000, 900)] * 3
    seen = looks(rows, [world.device(cores=2, memory_bytes=1000)], {"core_s": (500.0,)}, weights="shared")
    assert of(seen[100.0], 0) == pytest.approx([1.0, 0.1, 0.0, 0.0])


def test_two_devices_share_nothing(world, looks):
    """A chain over two: the second waits for the first, with its memory taken, then has its core."""
    devices = [world.device(name=name, memory_bytes=MEMORY) for name in "ab"]
    split = {"core_s": (150.0, 150.0)}
    seen = looks([(0.0, "a", 1000, 900)], devices, split, policy=world.spread(), memory_claim_bytes=MEMORY)
    assert [of(seen[100.0], f, f)[:2] for f in (0, 1)] == [[1.0, 1.0], [0.0, 1.0]]
    assert of(seen[300.0], 1, 1)[:2] == [1.0, 1.0]
    assert seen[300.0].cpu_D.tolist() == [0.0, 1.0]


def test_a_transfer_fills_the_link_of_whoever_receives(world, looks):
    """An input of 300 s on the way down, alone on its link; then the core, and the link is free."""
    split = {"core_s": (100.0,), "input_bytes_per_sample": 3}
    seen = looks([(0.0, "a", 1000, 900)], [world.device(down_bytes_per_s=10.0)], split)
    assert (of(seen[100.0], 0)[0], of(seen[100.0], 0)[2]) == (0.0, 1.0)
    assert (of(seen[300.0], 0)[0], of(seen[300.0], 0)[2]) == (1.0, 0.0)
    assert seen[100.0].net_D.tolist() == [1.0]


def test_the_broker_may_be_what_holds_a_transfer_up(world, looks):
    """Two devices take their inputs at half of its 10 bytes/s each: a quarter of their own links."""
    devices = [world.device(name=name, memory_bytes=MEMORY, down_bytes_per_s=20.0) for name in "ab"]
    split = {"core_s": (100.0,), "input_bytes_per_sample": 3}
    seen = looks([(0.0, "a", 1000, 900)] * 2, devices, split, broker_bytes_per_s=10.0)
    assert seen[100.0].net_D.tolist() == [0.25, 0.25]
    assert [of(seen[100.0], 0, device)[2] for device in (0, 1)] == [0.25, 0.25]


def test_a_transfer_passes_the_links_of_both_ends(world, looks):
    """From one device to another: out of the first fragment, into the second, each device's own link."""
    devices = [world.device(name="a", up_bytes_per_s=20.0), world.device(name="b", down_bytes_per_s=10.0)]
    split = {"core_s": (50.0, 10.0), "output_bytes": (3000.0, 0.0)}
    seen = looks([(0.0, "a", 1000, 900)], devices, split, policy=world.spread())
    assert seen[200.0].net_D.tolist() == [0.5, 1.0]
    assert [of(seen[200.0], f, f)[2] for f in (0, 1)] == [0.5, 1.0]


def test_weights_that_load_are_read_from_the_disk(world, looks):
    """2000 bytes at 10 a second."""
    split = {"core_s": (100.0,), "weight_bytes": 2000}
    seen = looks([(0.0, "a", 1000, 900)], [world.device(disk_bytes_per_s=10.0)], split)
    assert of(seen[100.0], 0)[3] == seen[100.0].disk_D[0] == 1.0
    assert of(seen[200.0], 0)[3] == seen[200.0].disk_D[0] == 0.0


def test_the_utilisation_of_an_earlier_view_is_refused(world, by_hand):
    """It would be that of another moment."""
    kept = []

    def watch(view, actions):
        kept.append(view)

    by_hand(
        [(9.0, "a", 1, 9)],
        world.fleet(world.device()),
        world.constants({"core_s": (1.0,)}),
        "layer+random",
        watch=watch,
    )
    assert kept[-1].utilisation.cpu_D.tolist() == [0.0]
    with pytest.raises(NotReadyError, match="the utilisation of an earlier view"):
        _ = kept[0].utilisation
