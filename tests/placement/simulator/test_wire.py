"""What inputs take on the wire, raw or encoded, and what that leaves of links and the broker's card."""

import pytest

from splitplace.errors import SplitPlaceError
from splitplace.records.demand import EncodedInput

pytestmark = pytest.mark.base

BRANCHES = {"core_s": (10.0, 10.0), "shape": "parallel", "input_bytes_per_sample": 8}
PNG = {"a": EncodedInput(codec="png", bytes_per_sample=2, decode_s=0.003)}


def responses(run):
    """Seconds by task."""
    return run.tasks["response_s"].tolist()


@pytest.mark.parametrize(("wire", "expected"), [("raw", 8.0 + 10.0), ("encoded", 2.0 + 3.0 + 10.0)])
def test_an_encoded_input_is_smaller_and_decoded_where_it_is_read(world, by_hand, wire, expected):
    """1000 images of 8 bytes raw at 1000 bytes/s; of 2 encoded, and 3 ms each on the device's core of speed 1."""
    fleet = world.fleet(world.device(count=2, down_bytes_per_s=1000.0))
    run = by_hand([(0, "a", 1000, 99)], fleet, world.constants(BRANCHES), world.spread(), wire=wire, encoded=PNG)
    assert responses(run) == pytest.approx([expected])


def test_only_who_reads_the_input_decodes_it_by_its_own_speed(world, by_hand):
    """A chain on two cores of speed 2: 5 s and half of 3 s to decode, then 5 s."""
    demand = world.constants({"core_s": (10.0, 10.0), "input_bytes_per_sample": 8})
    fleet = world.fleet(world.device(count=2, core_speed=2.0))
    run = by_hand([(0, "a", 1000, 99)], fleet, demand, world.spread(), wire="encoded", encoded=PNG)
    assert responses(run) == pytest.approx([1.5 + 5.0 + 5.0])


def test_a_ring_hands_the_encoded_input_on_over_a_finite_card(world, by_hand):
    """2000 bytes at 100 bytes/s from the broker, 20 s; on at 1000 bytes/s, 2 s; then 3 s to decode and 10 s of work."""
    fleet = world.fleet(world.device(count=2, up_bytes_per_s=1000.0, down_bytes_per_s=1000.0))
    run = by_hand(
        [(0, "a", 1000, 999)], fleet, world.constants(BRANCHES), world.spread(),
        wire="encoded", encoded=PNG, inputs="ring", broker_bytes_per_s=100.0,
    )  # fmt: skip
    assert responses(run) == pytest.approx([20.0 + 2.0 + 3.0 + 10.0])


def test_results_come_in_over_the_card_too(world, by_hand):
    """Two results of 1000 bytes at once over 100 bytes/s: 20 s, after 10 s of work."""
    demand = world.constants({"core_s": (10.0, 10.0), "shape": "parallel", "output_bytes": (1000.0, 1000.0)})
    fleet = world.fleet(world.device(count=2))
    run = by_hand([(0, "a", 1000, 99)], fleet, demand, world.spread(), broker_bytes_per_s=100.0)
    assert responses(run) == pytest.approx([30.0])


def test_nobody_says_what_an_encoded_input_takes(world, by_hand):
    """Named are the application and where to state it."""
    with pytest.raises(SplitPlaceError, match=r"encoded input of a takes: state it in the scenario \(\[encoded.a\]\)"):
        by_hand([(0, "a", 1, 9)], world.fleet(world.device()), world.constants(BRANCHES), "full+random", wire="encoded")


def test_how_much_of_everything_was_in_use(world, by_hand):
    """100 s: 10 s of one of two cores, 8000 bytes down a link of 1000 bytes/s and out of a card of 800 bytes/s."""
    demand = world.constants({"core_s": (10.0,), "input_bytes_per_sample": 8}, memory_bytes=500)
    fleet = world.fleet(world.device(cores=2, down_bytes_per_s=1000.0, memory_bytes=1000))
    rules = {"intervals": 1, "broker_bytes_per_s": 800.0, "parallelism": "inter"}
    run = by_hand(
        [(0, "a", 1000, 99)], fleet, demand, "layer+random", **rules
    )  # in 10 s, and 10 s of work: half of the memory for 20 s
    assert run.utilisation == pytest.approx(
        {"cores": 0.05, "uplinks": 0.0, "downlinks": 0.08, "broker_out": 0.1, "broker_in": 0.0, "memory": 0.1}
    )


def test_an_unlimited_card_has_no_share_and_a_link_that_shrank_is_counted_as_it_was(world, by_hand):
    """4000 bytes at 1000 bytes/s by 4 s, from 10 s on a tenth: 4000 of 10 x 1000 + 90 x 100 bytes."""
    demand = world.constants({"core_s": (1.0,), "input_bytes_per_sample": 4})
    fleet = world.fleet(world.device(down_bytes_per_s=1000.0))
    shifts = ({"time_s": 10.0, "bandwidth_factor": 0.1},)
    run = by_hand([(0, "a", 1000, 99)], fleet, demand, "layer+random", intervals=1, network=shifts)
    assert run.utilisation["broker_out"] is run.utilisation["broker_in"] is None
    assert run.utilisation["downlinks"] == pytest.approx(4000 / 19_000)
