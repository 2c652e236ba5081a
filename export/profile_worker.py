"""Measures one fragment in a process of its own: `python -m splitplace.export.profile_worker`, neither torch nor onnx.

Reads a `WorkOrder` as one JSON line on stdin, then the ONNX file; writes one JSON line per result on stdout: the
`Base` first, then a `Cell` for each batch size. Memory is anonymous resident memory, which is the process's own
(mapped library code is shared and can be dropped): its growth from before a session is opened until it has run, with
the input batch, after freed memory was given back. Each batch size gets a new session, as a device that runs only
this size would have: onnxruntime's arena never shrinks.
"""

import gc
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splitplace import probe
from splitplace.errors import SplitPlaceError
from splitplace.executor import Array, FragmentSession, trim_memory
from splitplace.placement.runtime.cpu_share import PERIOD_US, open_share
from splitplace.records.base import Count, Positive, PositiveCount, Record
from splitplace.records.fragment import BATCH, Fragment, TensorSpec

STABLE = 0.05
"""Warm when the median of the last runs is within this of the runs before."""
WINDOW = 3


class WorkOrder(Record):
    """What to measure."""

    fragment: Fragment
    model_bytes: PositiveCount
    batch_sizes: tuple[PositiveCount, ...]
    threads: PositiveCount
    min_runs: PositiveCount
    budget_s: Positive
    """Wall time for the timed runs of one batch size; `min_runs` are made even if they take longer."""
    cpu_share: Positive = 1.0
    """Below 1, the process puts itself under a CPU quota of this share of its threads' cores."""

    @property
    def block_s(self) -> float:
        """Seconds of runs behind a sample: one run, but five periods of a quota, which pauses between runs too."""
        return 5 * PERIOD_US / 1e6 if self.cpu_share < 1 else 0.0


class Base(Record):
    """The process with the runtime up and nothing loaded."""

    core_speed: Positive
    runtime_base_bytes: Count


class Cell(Record):
    """One batch size."""

    batch_size: PositiveCount
    load_s: Positive
    median_s: Positive
    p10_s: Positive
    p90_s: Positive
    runs: PositiveCount
    fragment_bytes: Count


def measure_base(order: WorkOrder) -> Base:
    """Core speed by the probe; then what the process holds once the probe is gone again."""
    # As the cells are timed: a speed that neighbours slowed must not scale latencies that they did not.
    speed = probe.core_speed(order.threads, order.block_s)
    gc.collect()
    trim_memory()
    return Base(core_speed=speed, runtime_base_bytes=_resident_bytes("VmRSS"))


def measure_cell(order: WorkOrder, model: bytes, batch_size: int) -> Cell:
    """Load, warm up and time one batch size."""
    gc.collect()
    trim_memory()
    before = _resident_bytes("RssAnon")
    start = time.perf_counter()
    session = FragmentSession(order.fragment, model, order.threads)
    load_s = time.perf_counter() - start
    inputs = {spec.name: sample(spec, batch_size) for spec in order.fragment.inputs}
    _warm_up(session, inputs, order.budget_s)
    times, runs = _timed(session, inputs, order)
    grown = _resident_bytes("RssAnon") - before
    p10, median, p90 = np.percentile(times, [10, 50, 90])
    return Cell(
        batch_size=batch_size,
        load_s=load_s,
        median_s=float(median),
        p10_s=float(p10),
        p90_s=float(p90),
        runs=runs,
        fragment_bytes=max(grown, 0),
    )


def sample(spec: TensorSpec, batch_size: int) -> Array:
    """Random values of a contract; zeros would run faster and hold no memory."""
    shape = [batch_size if size == BATCH else int(size) for size in spec.shape]
    rng = np.random.default_rng(0)
    if np.dtype(spec.dtype).kind == "f":
        return rng.standard_normal(shape, np.float32).astype(spec.dtype, copy=False)
    return rng.integers(0, 2 if spec.dtype == "bool" else 100, shape).astype(spec.dtype)


def _warm_up(session: FragmentSession, inputs: dict[str, Array], budget_s: float) -> None:
    times: list[float] = []
    end = time.perf_counter() + budget_s
    while len(times) < 2 * WINDOW or (not _stable(times) and time.perf_counter() < end):
        times.append(_run(session, inputs))
        if times[0] > budget_s and len(times) >= 2:
            return  # one run outlasts the budget: warm after the second


def _stable(times: list[float]) -> bool:
    last, earlier = np.median(times[-WINDOW:]), np.median(times[-2 * WINDOW : -WINDOW])
    return bool(abs(last - earlier) <= STABLE * earlier)


def _timed(session: FragmentSession, inputs: dict[str, Array], order: WorkOrder) -> tuple[npt.NDArray[np.float64], int]:
    samples: list[float] = []
    runs = 0
    end = time.perf_counter() + order.budget_s
    while len(samples) < (1 if order.block_s else order.min_runs) or time.perf_counter() < end:
        block: list[float] = []
        while not block or sum(block) < order.block_s:
            block.append(_run(session, inputs))
        samples.append(float(np.mean(block)))
        runs += len(block)
    return np.array(samples), runs


def _run(session: FragmentSession, inputs: dict[str, Array]) -> float:
    start = time.perf_counter()
    session.run(inputs)
    return time.perf_counter() - start


def _resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"no {field} in /proc/self/status: profiling needs Linux")


def main() -> None:
    """Work off the order on stdin; a refusal is one line on stderr and exit 1."""
    order = WorkOrder.parse(sys.stdin.buffer.readline(), "work order")
    model = sys.stdin.buffer.read(order.model_bytes)
    try:
        share = open_share(order.cpu_share, order.threads, "cgroup")
        try:
            _measure(order, model)
        finally:
            share.close()
    except SplitPlaceError as error:
        sys.exit(str(error))


def _measure(order: WorkOrder, model: bytes) -> None:
    print(measure_base(order).model_dump_json(), flush=True)
    # The first session of a process leaves a little behind that no later one does; it belongs to no batch size.
    measure_cell(order.model_copy(update={"min_runs": 1, "budget_s": 1e-3}), model, 1)
    for batch_size in order.batch_sizes:
        print(measure_cell(order, model, batch_size).model_dump_json(), flush=True)


if __name__ == "__main__":
    main()
