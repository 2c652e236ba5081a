"""Claims in seconds, which no test judges: how long command line, probe, surgery, plans, advice, hops and fleets take.

Each figure is a median over repeats on a machine that does nothing else; the limit is the project's own promise.
"""

import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from splitplace import provenance
from splitplace.benchmarks import small_tasks
from splitplace.benchmarks.deep_network import OBJECTIVES, deep, planned, unlike_hosts
from splitplace.benchmarks.echo import echo
from splitplace.benchmarks.results_file import Measured, save
from splitplace.children import child_env, python_code
from splitplace.errors import SplitPlaceError
from splitplace.inference import probe
from splitplace.inference.cpu_share import ShareMethod, open_share
from splitplace.records.base import NonNegative, Positive, PositiveCount, Record
from splitplace.records.provenance import Provenance
from splitplace.splitting.layerwise.planner import Objective

HOP_LIMITS_S = {2**18: 5e-3, 2**20: 8e-3}
"""There and back, halved, by bytes: a general actor system needs 8 to 10 ms."""
START_UPS = (
    ("splitplace --help", "from splitplace.cli import main; main(['--help'])", 0.5),
    ("import splitplace", "import splitplace", 0.3),
)
ROUNDS = 3
"""At most, of what takes minutes."""
ADVISED_RATES = (5.0, 50.0, 500.0)
"""Of one image each, due within 2 s, on fifty hosts."""
SHARES = (0.5, 0.25)
SHARE_OFF = 0.15
SLICES = {"mobilenetv2": "stem", "resnet50v2": "stage1", "inceptionv3": "mixed_6a"}
IMAGE_CHW, CLASSES = (1, 28, 28), 10


class TimingCell(Measured):
    """One promise, and what was measured."""

    what: str
    unit: str
    median: NonNegative
    low: NonNegative
    high: NonNegative
    repeats: PositiveCount
    limit: Positive
    """At most this."""

    @property
    def holds(self) -> bool:
        """Whether the median keeps the promise."""
        return self.median <= self.limit


class TimingResults(Record):
    """Everything measured."""

    cells: tuple[TimingCell, ...]
    provenance: Provenance


def run(path: Path, repeats: int, demo: bool, say: Callable[[str], None]) -> TimingResults:
    """Measure everything, and write the results file.

    Args:
        path: The results file.
        repeats: Of each figure; the demo's first run is made once and its second run three times.
        demo: Whether to run the demo, which takes minutes.
        say: Told what is being measured.
    """
    commit = provenance.collect().commit
    cells: list[TimingCell] = []

    def add(what: str, unit: str, values: Sequence[float], limit: float) -> None:
        cells.append(
            TimingCell(
                what=what, unit=unit, median=statistics.median(values), low=min(values), high=max(values),
                repeats=len(values), limit=limit, commit=commit,
            )
        )  # fmt: skip

    say("the command line")
    for what, code, limit_s in START_UPS:
        add(what, "s of CPU", [_cpu_s(code) for _ in range(repeats)], limit_s)
    say("the probe")
    add("the probe", "s", [_wall_s(probe.core_speed) for _ in range(repeats)], 1.0)
    say("slices of networks")
    for model, cut in SLICES.items():
        add(f"a slice of {model} behind {cut}", "s of CPU", _slices_s(model, cut, repeats), 1.0)
    say("planning")
    for objective in OBJECTIVES:
        for limited in (False, True):
            what = f"planning 1,000 blocks for 8 unlike devices, {objective}{', memory limited' * limited}"
            add(what, "s of CPU", _plans_s(objective, limited, repeats), 2.0)
    rounds = min(repeats, ROUNDS)
    for rate in ADVISED_RATES:
        say(f"advice for 50 devices at {rate:g} requests a second")
        add(f"advise, 50 devices, {rate:g} requests a second", "s", [_advice_s(rate) for _ in range(rounds)], 30.0)
    for size_bytes, limit_s in HOP_LIMITS_S.items():
        say(f"a hop of {size_bytes >> 10} KiB")
        for encrypted, how in ((True, "between machines (CURVE)"), (False, "on one machine")):
            row = f"a hop of {size_bytes >> 10} KiB, as {how}"
            add(row, "s", hops_s(size_bytes, 10 * repeats, encrypted), limit_s)
    methods: tuple[ShareMethod, ...] = ("cgroup", "governor")
    for method in methods:
        for share in SHARES:
            say(f"a share of {share} by {method}")
            try:
                off = [abs(ratio - 1) for ratio in _speed_ratios(share, method, repeats)]
            except SplitPlaceError as error:
                say(f"{method}: not run ({error})")
                continue
            add(f"speed at a share of {share} by {method}: off by", "share", off, SHARE_OFF)
    with tempfile.TemporaryDirectory() as folder:
        for devices, limit_s in small_tasks.UP_LIMIT_S.items():
            say(f"{devices} devices come up")
            add(
                f"{devices} devices come up",
                "s",
                [small_tasks.up_s(Path(folder), devices) for _ in range(rounds)],
                limit_s,
            )
        found = small_tasks.small_tasks(Path(folder), [count for count in small_tasks.MANY for _ in range(rounds)], say)
    for at, (count, limit_s) in enumerate(small_tasks.MANY.items()):
        row, mine = f"{count:,} tasks of one image at once", found[rounds * at : rounds * (at + 1)]
        each_s, broker_s = [one.acknowledged_s / count for one in mine], [one.broker_s / count for one in mine]
        add(f"{row}, until all are answered", "s", [one.answered_s for one in mine], limit_s)
        add(f"{row}, for each to be acknowledged, on the disk", "s", each_s, small_tasks.ACKNOWLEDGED_LIMIT_S)
        add(f"{row}, of the broker for each", "s of CPU", broker_s, small_tasks.BROKER_LIMIT_S)
    if demo:
        say("the demo, first and second run")
        first_s, second_s = _demo_s(3)
        add("splitplace demo, first run", "s", [first_s], 480.0)
        add("splitplace demo, second run", "s", second_s, 90.0)
    results = TimingResults(cells=tuple(cells), provenance=provenance.collect())
    save(path, results)
    return results


def verdict(results: TimingResults) -> dict[str, bool]:
    """Each promise, and whether it was kept."""
    return {f"{cell.what}: at most {cell.limit:g} {cell.unit}": cell.holds for cell in results.cells}


def _cpu_s(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(python_code(code), env=child_env(), check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _wall_s(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def _plans_s(objective: Objective, limited: bool, repeats: int) -> list[float]:
    work = deep()
    hosts, seconds = unlike_hosts(work, limited), []
    for _ in range(repeats):
        start_s = time.process_time()
        planned(work, hosts, objective)
        seconds.append(time.process_time() - start_s)
    return seconds


def _advice_s(rate: float) -> float:
    import splitplace as sp

    return _wall_s(lambda: sp.advise("measured", fleet="azure50", rate=rate, deadline=2.0))


def _slices_s(model: str, cut: str, repeats: int) -> list[float]:
    """CPU seconds of cutting every other channel out of what stands behind a cut of a random network."""
    import torch

    from splitplace.splitting.semantic.surgery import channel_sets, slice_channels
    from splitplace.training.families.build import build

    torch.manual_seed(0)
    network = build(model, CLASSES, IMAGE_CHW, ((0.3,), (0.3,)), (2,)).eval()
    position = [name for name, _ in network.named_children()].index(cut)
    with torch.no_grad():
        x_B = network[:position](torch.randint(0, 256, (3, *IMAGE_CHW), dtype=torch.uint8))
    behind = network[position:]
    keep = {channels.name: range(0, channels.size, 2) for channels in channel_sets(behind, x_B)}
    seconds = []
    for _ in range(repeats):
        start_s = time.process_time()
        slice_channels(behind, x_B, keep)
        seconds.append(time.process_time() - start_s)
    return seconds


def hops_s(size_bytes: int, repeats: int, encrypted: bool) -> list[float]:
    """Seconds of one hop between two processes of this machine, there and back halved, the first ten left out."""
    x = np.random.default_rng(0).integers(0, 255, (1, size_bytes)).astype(np.uint8)
    with echo(encrypted) as there_and_back:
        return [_wall_s(lambda: there_and_back(x)) / 2 for _ in range(repeats + 10)][10:]


SLOWED = """
import sys
from splitplace.inference import probe
from splitplace.inference.cpu_share import open_share
from splitplace.inference.speed import measured_core_speed
share = open_share(float(sys.argv[1]), 1, sys.argv[2])
try:
    for _ in sys.stdin:
        print(measured_core_speed(share, 1.0, 1), flush=True)
finally:
    share.close()
"""


def _speed_ratios(share: float, method: ShareMethod, repeats: int) -> list[float]:
    """Measured over stated speed of a process at a share, against a whole core probed in turns with it.

    Raises:
        SplitPlaceError: This machine does not offer the method.
    """
    open_share(share, 1, method).close()
    pair = [
        subprocess.Popen(
            python_code(SLOWED, *arguments), env=child_env(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for arguments in (("1.0", "auto"), (str(share), method))
    ]  # fmt: skip
    ratios = []
    try:
        for _ in range(repeats):
            whole, slowed = (_ask(process) for process in pair)
            ratios.append(slowed / whole / share)
    finally:
        for process in pair:
            process.communicate(timeout=60)
    return ratios


def _ask(process: "subprocess.Popen[str]") -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def _demo_s(repeats: int) -> tuple[float, list[float]]:
    """Seconds of the demo from nothing, and of the same command again."""
    with tempfile.TemporaryDirectory(prefix="splitplace-") as folder:
        command = python_code("from splitplace.cli import main; main()", "demo", "--out", folder)

        def demo() -> object:
            return subprocess.run(command, env=child_env(), check=True, capture_output=True, timeout=3600)

        return _wall_s(demo), [_wall_s(demo) for _ in range(repeats)]
