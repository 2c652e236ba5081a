"""Measures one fragment in a process of its own, neither torch nor onnx: `python -m` this module.

Reads a `WorkOrder` as one JSON line on stdin, then example inputs and the ONNX file; writes one JSON line per result on
stdout.

Memory: one process a batch size, because a heap remembers what was in it before. It is anonymous resident memory, which
is the process's own (mapped library code is shared and can be dropped): its growth from the runtime up and nothing
loaded to the fragment loaded and run, with the input batch, after freed memory was given back.

Latency: one process for all batch sizes, which take turns (`export/measure/timing.py`).
"""

import gc
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Literal

import numpy as np

from splitplace.errors import SplitPlaceError
from splitplace.export.measure.timing import in_rounds
from splitplace.inference import memory, probe
from splitplace.inference.cpu_share import PERIOD_US, open_share
from splitplace.inference.executor import Array, FragmentSession
from splitplace.inference.noise import draw
from splitplace.inference.trial import unpacked
from splitplace.records.base import Count, Positive, PositiveCount, Record
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.profile import Latency


class WorkOrder(Record):
    """What to measure; memory at the first batch size, or latency at all."""

    what: Literal["memory", "latency"]
    fragment: Fragment
    model_bytes: PositiveCount
    example_bytes: Count = 0
    """Of real inputs, which come before the model; made up if there are none."""
    batch_sizes: tuple[PositiveCount, ...]
    threads: PositiveCount
    rounds: PositiveCount
    budget_s: Positive
    """Wall time for the timed runs of one batch size, over all rounds."""
    cpu_share: Positive = 1.0
    """Below 1, the process puts itself under a CPU quota of this share of its threads' cores."""

    @property
    def block_s(self) -> float:
        """Seconds of runs behind a sample: one run, but five periods of a quota, which pauses between runs too."""
        return 5 * PERIOD_US / 1e6 if self.cpu_share < 1 else 0.0


class FragmentLoad(Record):
    """A fragment loaded and run at one batch size."""

    batch_size: PositiveCount
    runtime_base_bytes: Count
    """Resident with the runtime up and nothing loaded."""
    fragment_bytes: Count
    load_s: Positive


class Round(Record):
    """One round of latencies is done."""

    number: Count


class Timed(Record):
    """All rounds."""

    core_speed: Positive
    """Of one core, by the probe, taken in each round on as many cores as there are threads."""
    latency: tuple[Latency, ...]


def measure_memory(order: WorkOrder) -> FragmentLoad:
    """Load the fragment, run one batch size, and say what it took."""
    probe.measure(block_s=0, budget_s=1e-3)  # brings the runtime up: what that takes is the base
    examples = _examples(order)
    gc.collect()
    memory.release()
    base, before = memory.rss_bytes(), memory.anonymous_bytes()
    model = _model(order)
    start = time.perf_counter()
    session = FragmentSession(order.fragment, model, order.threads)
    load_s = time.perf_counter() - start
    del model
    inputs = samples(order, order.batch_sizes[0], examples)
    session.run(inputs)
    session.run(inputs)
    memory.trim()
    grown = max(memory.anonymous_bytes() - before, 0)
    return FragmentLoad(batch_size=order.batch_sizes[0], runtime_base_bytes=base, fragment_bytes=grown, load_s=load_s)


def measure_latency(order: WorkOrder) -> Timed:
    """Time every batch size; says on stdout how far it is."""
    examples = _examples(order)
    session = FragmentSession(order.fragment, _model(order), order.threads)
    speed, latency = in_rounds(
        {size: partial(session.run, samples(order, size, examples)) for size in order.batch_sizes},
        threads=order.threads,
        rounds=order.rounds,
        budget_s=order.budget_s,
        block_s=order.block_s,
        after_round=lambda number: _say(Round(number=number)),
    )
    return Timed(core_speed=speed, latency=latency)


def samples(order: WorkOrder, batch_size: int, examples: Mapping[str, Array]) -> dict[str, Array]:
    """One batch for every input of a contract: of the examples, again and again, or random."""
    return {
        spec.name: np.resize(examples[spec.name], (batch_size, *examples[spec.name].shape[1:]))
        if spec.name in examples
        else sample(spec, batch_size)
        for spec in order.fragment.inputs
    }


def sample(spec: TensorSpec, batch_size: int) -> Array:
    """Random values of a contract; zeros would run faster and hold no memory."""
    return draw(spec, batch_size, np.random.default_rng(0))


def _model(order: WorkOrder) -> bytes:
    return sys.stdin.buffer.read(order.model_bytes)


def _examples(order: WorkOrder) -> dict[str, Array]:
    """By name; before the model, so that what they take is not the fragment's."""
    return unpacked(sys.stdin.buffer.read(order.example_bytes)) if order.example_bytes else {}


def _say(result: Record) -> None:
    print(result.model_dump_json(), flush=True)


def main() -> None:
    """Work off the order on stdin; a refusal is one line on stderr and exit 1."""
    order = WorkOrder.parse(sys.stdin.buffer.readline(), "work order")
    try:
        share = open_share(order.cpu_share, order.threads, "cgroup")
        try:
            _say(measure_memory(order) if order.what == "memory" else measure_latency(order))
        finally:
            share.close()
    except SplitPlaceError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
