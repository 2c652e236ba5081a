"""Tables of what was measured in the simulator: its speed, placers under one decider, learning during a run."""

from pathlib import Path

from splitplace.benchmarks.paired import Interval, interval
from splitplace.benchmarks.results_file import machines_of
from splitplace.benchmarks.results_section import FileSection, commits_of, mean, ratio, words


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


def plans(text: bytes, file: Path) -> FileSection:
    """A row a fleet and rate, and how plans grow."""
    from splitplace.benchmarks import plans as bench

    found = bench.PlansResults.parse(text, str(file))
    rows = [
        {
            "devices": f"{cell.devices:,}",
            "tasks an interval": f"{cell.rate:g}",
            "in view": f"{cell.tasks:g}",
            "the broker's card": "as stated" if cell.card else "none",
            "a plan, ms": f"{1e3 * cell.median_s:.1f}",
            "its 95th percentile": f"{1e3 * cell.p95_s:.1f}",
            "promised": "" if cell.limit_s is None else f"{1e3 * cell.limit_s:g}",
            "plans": str(cell.plans),
        }
        for cell in found.cells
    ]
    remarks = [f"Policy {found.policy}; each run {found.repeats} times. Load average before the run: {found.load:.1f}."]
    if found.growth is not None and found.growth_off is not None:
        remarks.insert(0, f"Growth exponent {found.growth:.2f} ± {found.growth_off:.2f}.")
    return FileSection(found.provenance, [rows], words(bench.verdict(found)), [0], remarks=remarks)


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
    commits, machines = commits_of(found.cells), machines_of(found.cells)
    return FileSection(found.provenance, [rows], verdict, seeds, commits, about, machines)


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
    return FileSection(found.provenance, [rows], verdict, seeds, commits_of(found.cells), machines=machines)
