"""What the page says of fleets under load beside their simulation: a row a run, simulated before measured."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from splitplace.benchmarks.loaded_testbed import PARTS, LoadedCell, LoadedResults, orders, verdict
from splitplace.benchmarks.results_section import FileSection, Row, words


def section(text: bytes, file: Path) -> FileSection:
    """A table of the runs, one of those behind shaped links and one of those with faults, as far as there are such."""
    found = LoadedResults.parse(text, str(file))
    tables = [_rows(found.of("plain")), _rows(found.of("shaped")), _rows(found.of("faulty"))]
    seeds = [] if found.provenance.seed is None else [found.provenance.seed]
    commits = [cell.commit for cell in found.cells if cell.commit]
    return FileSection(
        found.provenance,
        [rows for rows in tables if rows],
        words(verdict(found)),
        seeds,
        commits,
        remarks=_remarks(found),
    )


def _rows(cells: Sequence[LoadedCell]) -> list[Row]:
    """Mean of each part of the response; what the device did, where the file has it."""
    rows = []
    for cell in cells:
        row = {
            "split": cell.strategy,
            "cores": str(cell.cores),
            "precedence": cell.precedence,
            "load": f"{cell.load:g}",
        }
        if cell.fault is not None:
            row["fault"] = f"{cell.fault.kind}, {cell.fault.lasts_s:.1f} s"
        row |= {
            "throughput": f"{cell.throughput_error:+.1%}",
            "median response": f"{cell.run_error:+.1%}",
            "tasks, median": f"{median(abs(error) for error in cell.errors):.1%}",
        }
        for part in PARTS:
            simulated_s, measured_s = (1e3 * cell.mean_s(times, part) for times in (cell.simulated, cell.measured))
            row[f"{part.removesuffix('_s')} ms"] = f"{simulated_s:.1f} / {measured_s:.1f}"
        if cell.fault is not None:
            row["late"] = f"{cell.late(cell.simulated):.0%} / {cell.late(cell.measured):.0%}"
            row["recovery s"] = f"{cell.recovery_s(cell.simulated):.1f} / {cell.recovery_s(cell.measured):.1f}"
        if any(each.sent_late_s is not None for each in cells):
            row |= _devices(cell)
        rows.append(row | {"drift": f"{cell.drift - 1:+.1%}"})
    return rows


def _devices(cell: LoadedCell) -> Row:
    return {
        "runs over profiles": "" if cell.run_over_profile is None else f"{cell.run_over_profile - 1:+.1%}",
        "between runs ms": "" if cell.between_s is None else f"{1e3 * cell.between_s:.2f}",
        "sent late ms": "" if cell.sent_late_s is None else f"{1e3 * cell.sent_late_s:.0f}",
    }


def _remarks(found: LoadedResults) -> list[str]:
    more, tau = found.costs, orders(found)
    remarks = [
        f"{len(found.cells)} runs; milliseconds are means, simulated / measured. A hand-over takes "
        f"{1e3 * median(each.handover_s for each in more):.2f} ms of a core of speed 1 and "
        f"{1e9 * median(each.handover_s_per_byte for each in more):.2f} ms a MB, the broker "
        f"{1e3 * median(each.broker_s for each in more):.2f} ms a task; load average before: "
        f"{max(each.load for each in more):.1f} at most."
        if more
        else "Nothing is measured."
    ]
    if unsteady := [f"{each.strategy} on {each.cores} core(s) {each.change:+.0%}" for each in more if each.shaky]:
        remarks.append(f"The machine changed meanwhile, by its profiles: {', '.join(unsteady)}.")
    if (most := max((each.tries for each in more), default=1)) > 1:
        again = sum(each.tries - 1 for each in more)
        remarks.append(f"{again} group(s) were measured again since the machine had changed, up to {most} times.")
    if tau:
        remarks.append(
            f"Kendall's tau over {len(tau)} streams: {min(tau):.2f} at least, {float(np.mean(tau)):.2f} in the mean."
        )
    return [*remarks, *(f"Left out: {reason}." for reason in found.left_out)]
