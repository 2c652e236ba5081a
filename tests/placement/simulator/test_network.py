"""A network that changes in the middle of a run: transfers under way, by hand."""

import json

import pytest

from splitplace.errors import SplitPlaceError
from splitplace.placement.simulator.scenario import NetworkShift, Scenario
from splitplace.placement.simulator.shipped import load_scenario

pytestmark = pytest.mark.base


@pytest.mark.parametrize(
    ("shifts", "response_s"),
    [
        ([], 15.0 + 0.1 + 0.1),
        ([(10.0, 0.5, 2.0)], 20.0 + 0.2 + 0.2),
        ([(10.0, 0.5, 2.0), (15.0, 1.0, 1.0)], 17.5 + 0.1 + 0.1),
        ([(20.0, 0.5, 2.0)], 15.0 + 0.1 + 0.1),
    ],
    ids=["none", "half", "half and back", "afterwards"],
)
def test_a_transfer_under_way_goes_on_at_the_new_rate(world, by_hand, shifts, response_s):
    """1500 bytes at 100 bytes/s, from a shift on at its factor of that; half the rtt of the moment there and back."""
    links = {"up_bytes_per_s": 100.0, "down_bytes_per_s": 100.0, "rtt_s": 0.2}
    demand = world.constants({"core_s": (1e-9,), "input_bytes_per_sample": 1}, micro_batch=1500)
    network = tuple(NetworkShift(time_s=t, bandwidth_factor=b, rtt_factor=r) for t, b, r in shifts)
    seen = []
    run = by_hand(
        [(0, "a", 1500, 99)], world.fleet(world.device(**links)), demand, "layer+random", network=network,
        watch=lambda view, actions: seen.append((float(view.links.up_bytes_per_s_D[0]), float(view.links.rtt_s_D[0]))),
    )  # fmt: skip
    assert run.tasks["response_s"].tolist() == pytest.approx([response_s])
    last = shifts[-1] if shifts else (0.0, 1.0, 1.0)
    assert seen[0] == (100.0, 0.2)
    assert seen[-1] == pytest.approx((100.0 * last[1], 0.2 * last[2]))


def test_a_view_tells_what_has_still_to_come(world, by_hand):
    """A chain of two fragments apart: of 1500 bytes of input, then of 3000 between them, at 100 a second each."""
    links = {"up_bytes_per_s": 100.0, "down_bytes_per_s": 100.0, "rtt_s": 0.2}
    demand = world.constants(
        {"core_s": (5.0, 1.0), "input_bytes_per_sample": 1, "output_bytes": (2000.0, 0.0)}, micro_batch=1500
    )
    seen = {}

    def watch(view, actions):
        seen[view.now_s] = (view.links.broker_bytes_per_s, *view.containers.coming_bytes_C.tolist())

    by_hand(
        [(0, "a", 1500, 99)], world.fleet(world.device(count=2, **links)), demand, world.spread(), watch=watch,
        interval_s=5.0, intervals=12, broker_bytes_per_s=200.0,
    )  # fmt: skip
    assert seen[5.0] == pytest.approx((200.0, 1000.0, 3000.0))
    assert seen[20.0] == pytest.approx((200.0, 0.0, 3000.0))
    # It computes 7.5 s from 15.1 s on, and sends from 22.6 s on.
    assert seen[25.0] == pytest.approx((200.0, 2760.0))
    assert seen[55.0] == (200.0,)


def test_mobility_and_a_shift_exclude_each_other():
    """Both would set the same links."""
    document = load_scenario("mobile-50").model_dump(mode="json", exclude_none=True)
    text = json.dumps(document | {"network": [{"time_s": 5.0}]})
    with pytest.raises(SplitPlaceError, match="state mobility or network"):
        Scenario.parse(text, "scenario")
