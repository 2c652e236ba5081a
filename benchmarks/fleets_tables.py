"""Tables of what was measured of live fleets, their front door, and what is promised in seconds.

Each bench is imported where its file is read: the page is written where no onnx is.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from splitplace.benchmarks.paired import interval
from splitplace.benchmarks.results_section import FileSection, Row, commits_of, mean, seeds_of, words

if TYPE_CHECKING:
    from splitplace.benchmarks.chaos import ChaosResults
    from splitplace.benchmarks.ray_faults import RayFaultsResults


def timings(text: bytes, file: Path) -> FileSection:
    """Each promise beside what was measured."""
    from splitplace.benchmarks import timings as bench

    found = bench.TimingResults.parse(text, str(file))
    rows = [
        {
            "what": cell.what,
            "median": f"{cell.median:.4g}",
            "lowest": f"{cell.low:.4g}",
            "highest": f"{cell.high:.4g}",
            "at most": f"{cell.limit:.4g}",
            "unit": cell.unit,
            "repeats": str(cell.repeats),
        }
        for cell in found.cells
    ]
    return FileSection(found.provenance, [rows], words(bench.verdict(found)), [], commits_of(found.cells))


def pipeline(text: bytes, file: Path) -> FileSection:
    """Each figure beside what is claimed of it."""
    from splitplace.benchmarks import pipeline as bench

    found = bench.PipelineResults.parse(text, str(file))
    rows = [
        {
            "what": cell.what,
            "median": f"{cell.median:.4g}",
            "lowest": f"{cell.low:.4g}",
            "highest": f"{cell.high:.4g}",
            "claimed": cell.bound,
            "unit": cell.unit,
            "repeats": str(cell.repeats),
        }
        for cell in found.cells
    ]
    remarks = [f"Load average before the run: {found.load:.1f}."]
    claims = words(bench.verdict(found))
    return FileSection(
        found.provenance, [rows], claims, seeds_of(found.provenance), commits_of(found.cells), remarks=remarks
    )


def _became(found: "ChaosResults | RayFaultsResults") -> Row:
    """What became of the tasks that were sent while things were done to a fleet, by the offline reader."""
    return {
        "sent": str(found.sent),
        "acknowledged": str(found.acknowledged),
        "answered": str(found.answered),
        "failed": "; ".join(f"{times} {reason}" for reason, times in found.failed_by_reason.items()) or "0",
        "lost": str(found.lost),
        "twice": str(found.twice),
        "wrong": str(found.wrong),
        "hung": str(found.hung),
    }


def chaos(text: bytes, file: Path) -> FileSection:
    """What was done to the fleet, what became of the tasks, and how long recovery took."""
    from splitplace.benchmarks import chaos as bench

    found = bench.ChaosResults.parse(text, str(file))
    faults = [{"fault": kind.replace("_", " "), "times": str(times)} for kind, times in found.faults.items()]
    faults += [{"fault": kind.replace("_", " "), "times": f"not run: {why}"} for kind, why in found.not_run.items()]
    tasks = [_became(found)]
    spreads = {
        "recovery": found.recovery_s,
        "of it, detection": found.detection_s,
        "of it, re-run": found.rerun_s,
        "recovery, no other fault under way": found.recovery_alone_s,
        "recovery, fragment not loaded elsewhere": found.recovery_unloaded_s,
    }
    seconds = [
        {
            "seconds": name,
            "kills": f"{spread.n} of {found.faults.get('device_killed', 0)}",
            "median": "" if spread.median is None else f"{spread.median:.3f}",
            "p99": "" if spread.p99 is None else f"{spread.p99:.3f}",
        }
        for name, spread in spreads.items()
    ]
    remarks = [
        f"{found.images} images answered in {found.wall_s:.0f} s; {found.compared} outputs compared with the whole "
        f"model's, at most {found.largest_error:.1g} apart; refused and tried again: {found.refused} times. "
        f"Load average before the run: {found.load:.1f}, after it: {found.load_after:.1f}."
        + ("" if found.inputs == "broadcast" else f" Inputs by {found.inputs}.")
        + ("" if found.every_s is None else f" A fault every {found.every_s:g} s.")
    ]
    return FileSection(
        found.provenance,
        [faults, tasks, seconds],
        words(bench.verdict(found)),
        seeds_of(found.provenance),
        remarks=remarks,
    )


def ray_faults(text: bytes, file: Path) -> FileSection:
    """What was killed, what became of the tasks, how long it took, and what a node holds."""
    from splitplace.benchmarks import ray_faults as bench
    from splitplace.benchmarks.ray_faults_run import KINDS

    found = bench.RayFaultsResults.parse(text, str(file))

    def spread(of: Mapping[str, Any], kind: str) -> str:
        seen = of.get(kind)
        return "" if seen is None or seen.median is None else f"{seen.median:.1f}"

    faults = [
        {
            "fault": kind.replace("_", " "),
            "times": str(found.faults.get(kind, "not run")),
            "noticed, s": spread(found.noticed_s, kind),
            "all as before, s": spread(found.back_s, kind),
        }
        | ({"ended by Ray, s": spread(found.ended_s, kind)} if found.ended_s else {})
        for kind in sorted(KINDS)
    ]
    tasks = [_became(found)]
    memory = [
        {
            "resident of a node": f"{found.node_bytes / 1e6:.0f} MB of Ray's processes",
            "of which the agent's": f"{found.agent_bytes / 1e6:.0f} MB",
            "and the device's runtime": f"{found.device_bytes / 1e6:.0f} MB",
        }
    ]
    if found.device_empty_bytes is not None:
        memory[0]["that before its first fragment"] = f"{found.device_empty_bytes / 1e6:.0f} MB"
    remarks = [
        f"A head and {found.nodes} nodes on one machine; medians. A head's death is noticed when Ray has ended the "
        "nodes, which it was told to do after ten seconds; a cut, when the status says that a pair goes through the "
        f"broker, which takes a task that needs it. {found.compared} outputs compared with the whole model's. "
        f"Load average before the run: {found.load:.1f}, after it: {found.load_after:.1f}."
    ]
    return FileSection(
        found.provenance,
        [faults, tasks, memory],
        words(bench.verdict(found)),
        seeds_of(found.provenance),
        remarks=remarks,
    )


def soak(text: bytes, file: Path) -> FileSection:
    """What each process held, and what became of the tasks."""
    from splitplace.benchmarks import soak as bench

    found = bench.SoakResults.parse(text, str(file))
    held = [
        {
            "process": memory.process,
            "MB at first": f"{memory.first_bytes / 1e6:.1f}",
            "at last": f"{memory.last_bytes / 1e6:.1f}",
            "at most": f"{memory.peak_bytes / 1e6:.1f}",
            "growth, MB a minute": f"{memory.slope_bytes_per_min / 1e6:+.3f}",
        }
        for memory in found.memory
    ]
    tasks = [
        {
            "minutes": f"{found.minutes:g}",
            "tasks": str(found.tasks),
            "images": str(found.images),
            "answered": str(found.answered),
            "failed": str(found.failed),
            "refused": str(found.refused),
            "hung": str(found.hung),
            "stalls": str(found.stalls),
            "deaths": str(found.deaths),
        }
    ]
    kinds = ", ".join(f"{kind} {size / 1e6:.1f}" for kind, size in sorted(found.data_bytes.items()))
    remarks = [
        f"Capacity {found.capacity_images_per_s:.0f} images/s of three devices with {found.share:g} of a core each; "
        f"tasks came at {found.utilisation:.0%} of it. MB in the data folder at the end: {kinds}; at most "
        f"{found.data_peak_bytes / 1e6:.1f} together. Load average before the run: {found.load:.1f}, after it: "
        f"{found.load_after:.1f}."
    ]
    return FileSection(
        found.provenance, [held, tasks], words(bench.verdict(found)), seeds_of(found.provenance), remarks=remarks
    )


def serve(text: bytes, file: Path) -> FileSection:
    """Each way by size, and each number of clients."""
    from splitplace.benchmarks import serve as bench

    found = bench.ServeResults.parse(text, str(file))
    ways = [
        {
            "body": cell.size,
            "way": cell.way,
            "direct, ms": f"{1e3 * cell.direct_s:.3f}",
            "over it, median, ms": f"{1e3 * cell.median_s:+.3f}",
            "over it, 99th percentile, ms": f"{1e3 * cell.tail_s:+.3f}",
            "rounds": str(cell.rounds),
        }
        for cell in found.cells
    ]
    bounds = {way: bench.explained_s(found.crowds, way) for way in (bench.HTTP, bench.RAY)}
    crowds = [
        {
            "way": cell.way,
            "clients": str(cell.clients),
            "median, ms": f"{1e3 * cell.median_s:.1f}",
            "of it explained by queueing": f"{1e3 * bounds[cell.way][cell.clients]:.1f}",
            "99th percentile, ms": f"{1e3 * cell.tail_s:.1f}",
            "answers a second": f"{cell.per_s:.0f}",
            "lost": str(cell.lost),
        }
        for cell in found.crowds
    ]
    if not found.ray:
        ways += [{key: bench.RAY if key == "way" else bench.NOT_RUN for key in ways[0]}]
    servers = ", ".join(f"{name} {text}" for name, text in found.servers.items())
    beside = f"; Ray Serve {found.ray['ray']}" if found.ray else ""
    remarks = [
        f"{servers}{beside}. Load average before the run: {found.load:.1f}, after it: {found.load_after:.1f}. Each "
        f"number of clients for {found.seconds:g} s."
    ]
    return FileSection(
        found.provenance, [ways, crowds], words(bench.verdict(found)), seeds_of(found.provenance), remarks=remarks
    )


def testbed(text: bytes, file: Path) -> FileSection:
    """Simulated beside measured, by size of task; the errors of all tasks together."""
    from splitplace.benchmarks import testbed as bench

    found = bench.TestbedResults.parse(text, str(file))
    rows = [
        {
            "policy": cell.policy,
            "precedence": cell.precedence,
            "images": str(cell.images),
            "simulated ms": f"{1e3 * cell.simulated_s:.1f}",
            "measured ms": f"{1e3 * median(cell.measured_s):.1f}",
            "lowest to highest": f"{1e3 * min(cell.measured_s):.1f} to {1e3 * max(cell.measured_s):.1f}",
            "median error": f"{median(cell.errors):+.1%}",
            "worst": f"{cell.worst:+.1%}",
            "drift": f"{cell.drift - 1:+.1%}",
        }
        for cell in found.cells
    ]
    errors = [abs(error) for cell in found.cells for error in cell.errors]
    remarks = [
        f"{len(errors)} tasks: error {median(errors):.1%} in the median, {max(errors):.1%} at worst. Devices at "
        f"{', '.join(f'{share:g}' for share in found.shares)} of a core; a hop of 256 KiB takes "
        f"{1e3 * found.hop_s:.2f} ms, a hand-over {1e3 * found.handover_s:.2f} ms of a core of speed 1, the "
        f"broker {1e3 * found.broker_s:.2f} ms a task; "
        f"load average before the run {found.load:.1f}."
    ]
    words_of = words(bench.verdict(found))
    return FileSection(
        found.provenance, [rows], words_of, seeds_of(found.provenance), commits_of(found.cells), remarks=remarks
    )


def demo(text: bytes, file: Path) -> FileSection:
    """A row a policy, and their differences on the same streams."""
    from splitplace.benchmarks import demo as bench

    found = bench.DemoResults.parse(text, str(file))
    fields = {"late": "late", "accuracy": "accuracy", "reward": "reward", "response, s": "response_s"}

    def of(policy: str, field: str) -> str:
        return mean(interval([getattr(cell, field) for cell in found.cells if cell.policy == policy]))

    policies = (bench.DEFAULT, bench.BANDIT)
    rows = [{"policy": name} | {title: of(name, field) for title, field in fields.items()} for name in policies]
    off = {title: mean(bench.differences(found.cells, field)) for title, field in fields.items()}
    rows.append({"policy": "difference"} | off)
    seeds = sorted({cell.seed for cell in found.cells})
    remarks = [
        f"{len(seeds)} streams of {found.cells[0].tasks} tasks on the demo's fleet, each under both. Load average "
        f"before the run: {found.load:.1f}."
    ]
    return FileSection(found.provenance, [rows], words(bench.verdict(found)), seeds, commits_of(found.cells), remarks)
