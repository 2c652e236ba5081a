"""What RESULTS.md and the bench commands say of each kind of results file: tables, the bench's own verdict, seeds.

Each bench is imported where its file is read: those of the simulator run where no torch is.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from splitplace.benchmarks.paired import Interval, Ratio, interval
from splitplace.benchmarks.results_file import Measured, machines_of
from splitplace.records.base import Record
from splitplace.records.provenance import Provenance

if TYPE_CHECKING:
    from splitplace.benchmarks.chaos import ChaosResults
    from splitplace.benchmarks.layer_split import PlanCell
    from splitplace.benchmarks.ray_faults import RayFaultsResults
    from splitplace.benchmarks.training import AccuracyCell

Row = dict[str, str]


@dataclass(frozen=True)
class FileSection:
    """What the page says of a file; rows of a table share their keys."""

    provenance: Provenance
    tables: Sequence[Sequence[Row]]
    verdict: Mapping[str, str]
    seeds: Sequence[int]
    commits: Sequence[str] = ()
    """Of the cells, where they say it."""
    remarks: Sequence[str] = ()
    machines: Sequence[str] = ()
    """Likewise: those that measured them."""


def layer_split(text: bytes, file: Path) -> FileSection:
    """Plans by model, chains by cell."""
    from splitplace.benchmarks import layer_split as bench

    found = bench.LayerSplitResults.parse(text, str(file))
    plans = []
    for model in dict.fromkeys(cell.model for cell in found.plans):
        mine = [cell for cell in found.plans if cell.model == model]
        counts = [cell.fragments for cell in mine]
        orders = "" if all(cell.exact for cell in mine) else " (of one order of the blocks)"
        plans.append(
            {
                "model": model,
                "fragments": f"{min(counts)} to {max(counts)}",
                "largest gap to the bound": f"{max(cell.gap for cell in mine):.2%}{orders}",
                "bottleneck of equal nodes": _spread(mine, lambda cell: cell.equal_nodes_s),
                "of equal parameters": _spread(mine, lambda cell: cell.equal_params_s),
                "of equal FLOPs": _spread(mine, lambda cell: cell.equal_flops_s),
                "torch.distributed.pipelining": bench.NOT_RUN,
            }
        )
    chains = [
        {
            "model": cell.model,
            "px": str(cell.px),
            "batch": str(cell.batch),
            "whole ms": f"{1e3 * cell.whole_s:.1f}",
            "chain / whole": ratio(cell.ours),
            "naive chain / whole": ratio(cell.naive),
            "A/A": ratio(cell.same),
        }
        for cell in found.ratios
    ]
    verdict = words(bench.verdict(found))
    return FileSection(
        found.provenance, [plans, chains], verdict, _seed(found.provenance), _commits(found.plans, found.ratios)
    )


def _spread(cells: "Sequence[PlanCell]", other: "Callable[[PlanCell], float]") -> str:
    longer = [other(cell) / cell.bottleneck_s - 1 for cell in cells]
    return f"{min(longer):+.0%} to {max(longer):+.0%}"


def foreign(text: bytes, file: Path) -> FileSection:
    """Outcomes by family; refusals by reason, with what the user is told."""
    from splitplace.benchmarks import foreign as bench

    found = bench.ForeignResults.parse(text, str(file))
    families = []
    for family in dict.fromkeys(cell.family for cell in found.cells):
        mine = [cell for cell in found.cells if cell.family == family]
        opsets = sorted({cell.opset for cell in mine if cell.opset})
        counts = {outcome: str(sum(cell.outcome == outcome for cell in mine)) for outcome in bench.OUTCOMES}
        largest = max((cell.error for cell in mine), default=0.0)
        families.append(
            {"family": family, "graphs": str(len(mine)), "opsets": f"{opsets[0]} to {opsets[-1]}" if opsets else ""}
            | counts
            | {"largest error": f"{largest:.1e}"}
        )
    refused = [
        {
            "graph": cell.name,
            "reason": cell.reason,
            "true": "yes" if cell.reason_is_true else "no",
            "what is said": cell.line.replace("\n", " ")[:200],
        }
        for cell in found.cells
        if cell.outcome == "refused"
    ]
    wrong = [
        {"graph": cell.name, "outcome": cell.outcome, "begins to differ at": cell.first_difference}
        for cell in found.cells
        if cell.outcome not in ("split", "refused")
    ]
    verdict = words(bench.verdict(found))
    return FileSection(
        found.provenance,
        [table for table in (families, refused, wrong) if table],
        verdict,
        _seed(found.provenance),
        _commits(found.cells),
    )


def training(text: bytes, file: Path) -> FileSection:
    """Speed and accuracies."""
    from splitplace.benchmarks import training as bench

    found = bench.TrainingResults.parse(text, str(file))
    fast = found.speed
    speed = [
        {
            "images a second over the bare loop's": inverse(fast.seconds),
            "A/A": inverse(fast.noise),
            "pairs": str(fast.seconds.pairs),
            "bare loop": f"{fast.bare_images_per_s:.0f} images/s",
        }
    ]
    cells = [
        {
            "application": cell.application,
            "model": cell.model,
            "goal": "" if cell.goal is None else f"{cell.goal:.1%}",
            "held-out accuracy": _accuracy(cell),
            "passes": "" if cell.epochs is None else str(cell.epochs),
            "seed": "" if cell.seed is None else str(cell.seed),
        }
        for cell in found.cells
    ]
    return FileSection(
        found.provenance,
        [speed, cells],
        words(bench.verdict(found)),
        _seed(found.provenance),
        _commits([fast], found.cells),
    )


def _accuracy(cell: "AccuracyCell") -> str:
    return cell.state if cell.accuracy is None else f"{cell.accuracy:.2%}"


def semantic(text: bytes, file: Path) -> FileSection:
    """Recipes, means over seeds; critical paths."""
    from splitplace.benchmarks import semantic as bench

    found = bench.SemanticResults.parse(text, str(file))
    recipes = []
    for method in dict.fromkeys(cell.method for cell in found.trained):
        mine = [cell for cell in found.trained if cell.method == method]
        missing = zip(*(cell.accuracy_missing for cell in mine), strict=True)
        costs = [cell.cost for cell in mine]
        recipes.append(
            {
                "recipe": method,
                "accuracy": mean(interval([cell.accuracy for cell in mine])),
                "without 1, 2, 3 branches": ", ".join(f"{interval(values).mean:.3f}" for values in missing),
                "parameters": f"{mine[0].params:,}",
                "MFLOPs": f"{mine[0].flops_per_sample / 1e6:.1f}",
                "training seconds over the whole's": f"{min(costs):.2f} to {max(costs):.2f}",
            }
        )
    paths = [
        {
            "model": cell.model,
            "cut before": ", ".join(cell.cuts),
            "critical path / whole": ratio(cell.path),
            "layer-4 / whole": ratio(cell.layer),
            "A/A": ratio(cell.same),
            "parameters / whole": f"{cell.params:.2f}",
            "with overlap": f"{cell.params_overlap:.2f}",
        }
        for cell in found.paths
    ]
    states = bench.cells(file.parent)
    return FileSection(
        found.provenance,
        [table for table in (recipes, paths) if table],
        words(bench.verdict(found)),
        sorted({cell.seed for cell in found.trained}),
        _commits(found.trained, found.paths),
        ["What there is to train: " + "; ".join(f"{cell}, {state}" for cell, state in states.items()) + "."],
    )


def artifacts(text: bytes, file: Path) -> FileSection:
    """Each bound beside what was found."""
    del file
    found: dict[str, Any] = json.loads(text)
    claims = dict(found["claims"])
    cells = claims.pop("cells")
    rows, verdict = [], {}
    for name, claim in claims.items():
        figure, sign = (claim["worst"], "at most") if "worst" in claim else (claim["share"], "at least")
        said = name.replace("_", " ")
        rows.append({"figure": said, "found": f"{figure:.1%}", "bound": f"{sign} {claim['expected']:.0%}"})
        verdict[f"{said} {sign} {claim['expected']:.0%}"] = word(claim["holds"])
    provenance = Provenance(**found["provenance"])
    remark = f"{cells} held-out cells, of batch sizes that no profile measured; weights {found['weights']}."
    return FileSection(provenance, [rows], verdict, _seed(provenance), remarks=[remark])


def simulator(text: bytes, file: Path) -> FileSection:
    """Ratios, and one run at full size."""
    from splitplace.benchmarks import simulator as bench

    found = bench.SimulatorResults.parse(text, str(file))
    rows = [
        {"what": "azure50, 100 intervals", "figure": f"{found.small_s:.3f} s"},
        {"what": "over the numpy loop", "figure": ratio(found.small)},
        {"what": "a task at 10,000 devices over one at 50", "figure": ratio(found.task_large)},
        {"what": "A/A", "figure": ratio(found.noise)},
    ]
    large = "not run"
    if found.large is not None:
        large = f"{found.large.tasks:,} tasks in {found.large.wall_s:.1f} s, {found.large.peak_bytes / 1e9:.2f} GB"
    rows.append({"what": "10,000 devices, 100 intervals", "figure": large})
    return FileSection(found.provenance, [rows], words(bench.verdict(found)), [0])


def placement(text: bytes, file: Path) -> FileSection:
    """A row a placer; DASO and daso-tasks against each other row."""
    from splitplace.benchmarks import placement as bench

    found = bench.PlacementResults.parse(text, str(file))

    def column(row: str, field: str) -> Interval:
        return interval(bench.column(found, row, field))

    rows = [
        {
            "placer": row,
            "realised O^P": mean(column(row, "realised")),
            "predicted": f"{column(row, 'predicted').mean:.3f}",
            "reward": mean(column(row, "reward")),
            "response s": f"{column(row, 'response_s').mean:.1f}",
            "kWh": f"{column(row, 'energy_kwh').mean:.3f}",
        }
        | ({"scored": f"{column(row, 'scored').mean:.3f}"} if found.cells[0].scored is not None else {})
        for row in sorted({cell.row for cell in found.cells}, key=[row.name for row in bench.rows()].index)
    ]
    said = [line for row in ("daso", "daso-tasks") for line in bench.verdict(found, row).values()]
    verdict = {claimed: figure for claimed, _, figure in (line.partition(": ") for line in said)}
    limit = interval([bound.reward for bound in found.reward_bounds]).mean
    about = (
        f"{found.scenario}, {found.fleet}, demand {found.demand}, decider {found.decider}, "
        f"{found.intervals} intervals.",
        f"No policy can have a reward above {limit:.4f} on these tasks, whatever it knows of the future.",
    )
    seeds = sorted({cell.seed for cell in found.cells})
    return FileSection(found.provenance, [rows], verdict, seeds, _commits(found.cells), about, machines_of(found.cells))


def adaptation(text: bytes, file: Path) -> FileSection:
    """Windows before and after the shift."""
    from splitplace.benchmarks import adaptation as bench

    found = bench.AdaptationResults.parse(text, str(file))
    rows = []
    for key in dict.fromkeys((cell.shift, cell.placer, cell.row) for cell in found.cells):
        row = dict(zip(("shift", "placer", "policy"), key, strict=True))
        for field, name in {"reward": "reward", "error": "error of its surrogate"}.items():
            for span, when in ((bench.BEFORE, "before"), (bench.AFTER, "after")):
                row[f"{name} {when}"] = mean(interval(bench.window(found, key, field, span)))
        if found.cells[0].scored:
            row["scored after"] = f"{interval(bench.window(found, key, 'scored', bench.AFTER)).mean:.3f}"
        rows.append(row)
    seeds = sorted({cell.seed for cell in found.cells})
    verdict, machines = bench.verdict(found), machines_of(found.cells)
    return FileSection(found.provenance, [rows], verdict, seeds, _commits(found.cells), machines=machines)


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
    return FileSection(found.provenance, [rows], words(bench.verdict(found)), [], _commits(found.cells))


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
        found.provenance, [rows], claims, _seed(found.provenance), _commits(found.cells), remarks=remarks
    )


def images(text: bytes, file: Path) -> FileSection:
    """What an image is made of, and what each takes until it answers."""
    from splitplace.benchmarks import images as bench

    found = bench.ImageResults.parse(text, str(file))
    layers = [{"layer of every image": what, "MB": f"{size / 1e6:.1f}"} for what, size in found.layers.items()]
    rows = [
        {
            "image": cell.tag,
            "ONNX files, MB": f"{cell.file_bytes / 1e6:.2f}",
            "own layers, MB": f"{cell.model_bytes / 1e6:.2f}",
            "start to first answer, s": f"{median(cell.first_answer_s):.2f}",
            "of it CPU of the process, s": f"{median(cell.first_answer_cpu_s):.2f}",
            "peak memory, MB": f"{median(cell.peak_rss_bytes) / 1e6:.0f}",
            "starts": str(len(cell.first_answer_s)),
        }
        for cell in found.cells
    ]
    builds = [
        {
            "built": build.reference,
            "images": str(build.images),
            "wall, s": f"{build.wall_s:.1f}",
            "CPU, s": f"{build.cpu_s:.1f}",
        }
        for build in found.builds
    ]
    remarks = [
        f"Load average before the run: {found.load:.1f}; containers of one core and 512 MB. On a busy machine the "
        "clock's seconds are what it took there and then, those of the CPU what it costs."
    ]
    claims = words(bench.verdict(found))
    return FileSection(
        found.provenance, [layers, rows, builds], claims, _seed(found.provenance), _commits(found.cells), remarks
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
            "kills": str(spread.n),
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
    ]
    return FileSection(
        found.provenance,
        [faults, tasks, seconds],
        words(bench.verdict(found)),
        _seed(found.provenance),
        remarks=remarks,
    )


def ray_faults(text: bytes, file: Path) -> FileSection:
    """What was killed, what became of the tasks, how long it took, and what a node holds."""
    from splitplace.benchmarks import ray_faults as bench

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
        for kind in sorted(bench.KINDS)
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
        _seed(found.provenance),
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
        found.provenance, [held, tasks], words(bench.verdict(found)), _seed(found.provenance), remarks=remarks
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
        found.provenance, [ways, crowds], words(bench.verdict(found)), _seed(found.provenance), remarks=remarks
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
        found.provenance, [rows], words_of, _seed(found.provenance), _commits(found.cells), remarks=remarks
    )


def ratio(found: Ratio) -> str:
    """A median with its interval."""
    return f"{found.median:.3f} [{found.low:.3f}, {found.high:.3f}]"


def inverse(found: Ratio) -> str:
    """The ratio the other way round: of speeds, where it is one of seconds."""
    return f"{1 / found.median:.3f} [{1 / found.high:.3f}, {1 / found.low:.3f}]"


def mean(found: Interval) -> str:
    """A mean with its interval; without one, where there is a single seed."""
    return f"{found.mean:.3f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if found.low > float("-inf") else "")


def word(holds: bool | str) -> str:
    """Whether a claim holds, or why that is not known."""
    return {True: "holds", False: "does not hold"}[holds] if isinstance(holds, bool) else holds


def words(verdict: Mapping[str, bool] | Mapping[str, bool | str]) -> dict[str, str]:
    """Each claim with its word."""
    return {claim: word(holds) for claim, holds in verdict.items()}


def _seed(provenance: Provenance) -> list[int]:
    return [] if provenance.seed is None else [provenance.seed]


def _commits(*cells: Sequence[Record]) -> list[str]:
    return [cell.commit for each in cells for cell in each if isinstance(cell, Measured) and cell.commit]
