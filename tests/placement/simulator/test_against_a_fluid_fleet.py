"""The engine against an independent simulator (fluid_fleet.py): every task, whatever card, ring and wire."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.records.action import Decide, Place
from splitplace.records.demand import EncodedInput
from tests.placement.simulator.fluid_fleet import BROKER, FluidFleet, Host, Piece, Shape

pytestmark = pytest.mark.base

MICRO_BATCH, IMAGES = 10, 1000
CHAIN_S, BRANCHES_S = (20.0, 5.0, 10.0), (9.0, 4.0)
"""Core-seconds of 1000 images."""
INPUT, FIRST, SECOND, ANSWER = 8, 5.0, 2.0, 1.0
"""Bytes an image."""
HOSTS = (Host(1, 1.0, 900.0, 1500.0, 0.02), Host(2, 2.0, 2500.0, 800.0, 0.3), Host(4, 0.5, 400.0, 4000.0, 0.0))
ENCODED, DECODE_S = 3, 0.004
END_S = 2000.0


class Told:
    """Each task's split and devices are given."""

    name = "told"

    def __init__(self, orders):
        self.orders = orders

    def init(self, view):
        """Remembers nothing."""

    def update(self, state, feedback):
        """Learns nothing."""

    def decide(self, state, view, rng):
        """As ordered."""
        rows = view.tasks.undecided
        return [Decide(int(view.tasks.id_T[row]), self.orders[int(view.tasks.id_T[row])][0]) for row in rows]

    def place(self, state, view, requests, rng):
        """As ordered."""
        actions = []
        for request in requests:
            task = int(view.tasks.id_T[request.task])
            first = view.splits.fragments(request.split).start
            actions += [Place(task, f, self.orders[task][1][f - first]) for f in request.fragments]
        return actions


def shapes(wire, handover_s, parallel_share):
    """A chain and two branches that each read the input, as the reference has them.

    Decoding and handing over take one core, whatever a device has.
    """
    size, decode = (ENCODED, DECODE_S * MICRO_BATCH) if wire == "encoded" else (INPUT, 0.0)

    def piece(core_s, reads):
        batch_s = core_s * MICRO_BATCH / IMAGES
        serial_s = (1 - parallel_share) * batch_s + handover_s + (decode if reads else 0.0)
        return Piece(parallel_share * batch_s, MICRO_BATCH, serial_s=serial_s)

    chain = Shape(
        [piece(core_s, p == 0) for p, core_s in enumerate(CHAIN_S)],
        [(BROKER, 0, size), (0, 1, FIRST), (1, 2, SECOND), (2, BROKER, ANSWER)],
    )
    branches = Shape(
        [piece(core_s, True) for core_s in BRANCHES_S],
        [edge for p in range(2) for edge in ((BROKER, p, size), (p, BROKER, ANSWER))],
    )
    return chain, branches


@st.composite
def tasks_drawn(draw):
    """Arrival, split, images and devices."""
    found = []
    for at_s in sorted(draw(st.lists(st.integers(0, 120), min_size=1, max_size=9))):
        split = draw(st.integers(0, 1))
        count = len(CHAIN_S) if split == 0 else len(BRANCHES_S)
        where = [draw(st.integers(0, len(HOSTS) - 1)) for _ in range(count)]
        found.append((at_s + 0.25, split, draw(st.integers(1, 700)), where))
    return found


@pytest.mark.parametrize("parallelism", ["intra", "inter"])
@pytest.mark.parametrize("wire", ["raw", "encoded"])
@pytest.mark.parametrize("inputs", ["broadcast", "ring"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tasks=tasks_drawn(),
    card=st.sampled_from([None, 300.0, 5000.0]),
    grain=st.sampled_from([None, 1, 3]),
    handover_s=st.sampled_from([0.0, 0.03]),
    parallel_share=st.sampled_from([0.0, 0.8, 1.0]),
)
def test_every_task_is_answered_when_the_reference_answers_it(
    world, by_hand, inputs, wire, parallelism, tasks, card, grain, handover_s, parallel_share
):
    """To a millionth; tasks overlap, share cores and links, and hand on whole or by micro-batch."""
    demand = world.constants(
        {"core_s": CHAIN_S, "output_bytes": tuple(b * IMAGES for b in (FIRST, SECOND, ANSWER))},
        {"core_s": BRANCHES_S, "output_bytes": (ANSWER * IMAGES,) * 2, "shape": "parallel", "strategy": "semantic"},
        micro_batch=MICRO_BATCH,
    )
    splits = tuple(split.model_copy(update={"input_bytes_per_sample": INPUT}) for split in demand.splits)
    devices = [
        world.device(
            name=f"h{i}", cores=host.cores, core_speed=host.speed, up_bytes_per_s=host.up,
            down_bytes_per_s=host.down, rtt_s=host.rtt_s,
        )
        for i, host in enumerate(HOSTS)
    ]  # fmt: skip
    pace = {"precedence": "strict"} if grain is None else {"precedence": "pipelined", "pipeline_grain": grain}
    run = by_hand(
        [(at_s, "a", n, 1e6) for at_s, _, n, _ in tasks],
        world.fleet(*devices),
        demand.model_copy(update={"splits": splits, "parallel_share": parallel_share}),
        Told([(split, where) for _, split, _, where in tasks]),
        intervals=int(END_S / 100),
        broker_bytes_per_s=card,
        inputs=inputs,
        wire=wire,
        handover_s=handover_s,
        encoded={"a": EncodedInput(codec="png", bytes_per_sample=ENCODED, decode_s=DECODE_S)},
        parallelism=parallelism,
        **pace,
    )
    forms = shapes(wire, handover_s, parallel_share)
    fleet = FluidFleet(list(HOSTS), card or float("inf"), inputs == "ring", grain, together=parallelism == "intra")
    expected = fleet.answers([(at_s, forms[split], n, where) for at_s, split, n, where in tasks], END_S)
    assert [answered is not None for answered in expected] == run.tasks["finished"].tolist()
    found = (run.tasks["arrival_s"] + run.tasks["response_s"])[run.tasks["finished"]]
    assert found == pytest.approx([at_s for at_s in expected if at_s is not None], rel=1e-6)
