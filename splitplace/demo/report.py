"""What the demo has to say: one JSON document, tables for a terminal, and a page with the picture of the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as Grid

from splitplace import provenance
from splitplace.catalog import Catalog
from splitplace.demo.pipeline import Played, Shipped
from splitplace.demo.requests import LOOSE, TIGHT
from splitplace.placement.history import MicroBatchRun
from splitplace.placement.metrics import of_tasks, outcome
from splitplace.placement.outcome import TaskOutcome
from splitplace.records.evaluation import Evaluation
from splitplace.report.page import Section, Table, render
from splitplace.report.timeline import Span, TaskSpan, timeline_svg


def tell(
    catalog: Catalog,
    shipped: Shipped,
    evaluations: dict[str, Evaluation],
    rivals: Sequence[Played],
    timings: dict[str, float],
    seed: int,
) -> dict[str, Any]:
    """The whole result as one JSON document; of the first policy, but for the line that each has in `policies`."""
    played = rivals[0]
    return {
        "application": catalog.split(shipped.full).application,
        "model": catalog.split(shipped.full).model,
        "accuracy_unsplit": evaluations[shipped.full].top1,
        "splits": {
            "layer": _split(catalog, shipped.layer, evaluations, played),
            "semantic": _split(catalog, shipped.semantic, evaluations, played),
        },
        "devices": [
            {
                "name": report.name,
                "cpu_share": report.cpu_share,
                "cpu_share_method": report.cpu_share_method,
                "emulated": report.cpu_share_method != "none",
                "core_speed_stated": report.core_speed_stated,
                "core_speed_measured": report.core_speed_measured,
                "speed_ratio_measured": report.speed_ratio_measured,
                "fragments_run": report.fragments_run,
                "busy_share": report.busy_share,
                "memory_peak_bytes": report.memory_peak_bytes,
                "memory_bytes": report.memory_bytes,
            }
            for report in played.reports
        ],
        "deadlines_s": {"tight": TIGHT * played.layer_s, "loose": LOOSE * played.layer_s},
        "policies": [_policy(each) for each in rivals],
        "metrics": played.metrics.model_dump(mode="json", exclude={"timings"}),
        "catalog": str(catalog.path.absolute()),
        "provenance": provenance.collect(seed).model_dump(mode="json"),
        "timings": timings | played.metrics.timings.model_dump(mode="json"),
    }


def _policy(played: Played) -> dict[str, Any]:
    metrics = played.metrics
    return {
        "policy": played.policy,
        "decisions": metrics.decisions,
        "response_s": metrics.response_s.model_dump(mode="json"),
        "accuracy": metrics.accuracy,
        "sla_violation": metrics.sla_violation,
        "reward": metrics.reward,
    }


def _split(catalog: Catalog, reference: str, evaluations: dict[str, Evaluation], played: Played) -> dict[str, Any]:
    split = catalog.split(reference)
    mine = [task for task in played.outcomes if task.split == reference]
    got = outcome(of_tasks(mine, (split.application,)))
    return {
        "reference": reference,
        "accuracy": evaluations[reference].top1,
        "n": evaluations[reference].n,
        "top1_missing": [row.model_dump(mode="json") for row in evaluations[reference].top1_missing],
        "fragments": [
            {"name": f.name, "params": f.params, "flops_per_sample": f.flops_per_sample, "classes": list(f.classes)}
            for f in split.fragments
        ],
        "tasks": len(mine),
        "response_s": got.response_s.model_dump(mode="json"),
        "sla_violation": got.sla_violation,
        "reward": got.reward,
    }


def tables(told: dict[str, Any], report: Path) -> RenderableType:
    """The result for a terminal."""
    return Group(
        _grid(
            f"splits of {told['model']} (accuracy of the whole: {told['accuracy_unsplit']:.4f})", _splits_table(told)
        ),
        _grid("the same stream under two policies (the other tables are of the first)", _policies_table(told)),
        _grid(f"devices (speeds emulated by {told['devices'][0]['cpu_share_method']})", _devices_table(told)),
        f"Who ran what when: {report}",
    )


def page(told: dict[str, Any], played: Played) -> str:
    """The result as an HTML page with the picture of who ran what when."""
    start_s = min((task.arrival_s for task in played.outcomes), default=0.0)
    spans = [
        Span(event.device, event.strategy, event.start_s - start_s, event.end_s - start_s)
        for event in played.events
        if isinstance(event, MicroBatchRun)
    ]
    tasks = [
        TaskSpan(task.strategy, task.arrival_s - start_s, task.response_s, task.deadline_s)
        for task in played.outcomes
        if task.strategy is not None and task.response_s is not None
    ]
    stamp = told["provenance"]
    deadlines = told["deadlines_s"]
    sections = [
        Section(
            "Who ran what when",
            "Above, every task from arrival to answer, with its deadline as a mark; below, every micro-batch on the "
            "device that ran it. Devices are processes of one machine, slowed to a share of a core: emulated.",
            svg=timeline_svg([report.name for report in played.reports], spans, tasks),
        ),
        Section(
            "Splits",
            f"Accuracy of the unsplit model: {told['accuracy_unsplit']:.4f}, on the same held-out images. "
            "The layer split answers every image as the unsplit model does. Response, violation and reward are of the "
            "tasks that ran as this split.",
            _splits_table(told),
        ),
        Section(
            "Policies",
            "The same tasks at the same times under what a fleet runs by default and under the paper's bandit, one "
            "after the other. The pictures and the other tables are of the first.",
            _policies_table(told),
        ),
        Section(
            "Devices",
            "Processes of this machine, each slowed to its share of a core: emulated. Speed is relative to the "
            "reference core: what the share should give, and what the probe measured on the device. Memory is what its "
            "fragments took at most, of what they may use, beside the runtime's own.",
            _devices_table(told),
        ),
        Section(
            "Tasks",
            f"Deadlines are {deadlines['tight']:.2f} s (tight) or {deadlines['loose']:.2f} s (loose): "
            f"{TIGHT} and {LOOSE} times what the layer split should take on the idle fleet by its profiles.",
            _tasks_table(played.outcomes),
        ),
    ]
    facts = {
        "commit": stamp["commit"],
        "created": stamp["created"],
        "machine": f"{stamp['machine']['cpu']}, {stamp['machine']['cores']} cores",
        "versions": ", ".join(f"{name} {version}" for name, version in stamp["versions"].items()),
        "seed": str(stamp["seed"]),
    }
    return render("SplitPlace demo", sections, facts)


def _splits_table(told: dict[str, Any]) -> Table:
    rows = [
        (
            strategy,
            f"{split['accuracy']:.4f}",
            split["tasks"],
            _seconds(split["response_s"]["mean"]),
            _seconds(split["response_s"]["p95"]),
            _share(split["sla_violation"]),
            _share(split["reward"]),
        )
        for strategy, split in told["splits"].items()
    ]
    return Table(("split", "accuracy", "tasks", "response", "p95", "violated", "reward"), rows)


def _policies_table(told: dict[str, Any]) -> Table:
    rows = [
        (
            row["policy"],
            row["decisions"].get("layer", 0),
            row["decisions"].get("semantic", 0),
            _seconds(row["response_s"]["mean"]),
            _seconds(row["response_s"]["p95"]),
            _share(row["accuracy"]),
            _share(row["sla_violation"]),
            _share(row["reward"]),
        )
        for row in told["policies"]
    ]
    return Table(("policy", "layer", "semantic", "response", "p95", "accuracy", "violated", "reward"), rows)


def _devices_table(told: dict[str, Any]) -> Table:
    rows = [
        (
            device["name"],
            f"{device['cpu_share']:.2f}",
            f"{device['core_speed_stated']:.2f}",
            "-" if device["core_speed_measured"] is None else f"{device['core_speed_measured']:.2f}",
            device["fragments_run"],
            f"{device['busy_share']:.0%}",
            f"{device['memory_peak_bytes'] / 1e6:.0f}/{device['memory_bytes'] / 1e6:.0f}",
        )
        for device in told["devices"]
    ]
    return Table(("device", "cpu share", "speed", "measured", "fragments", "busy", "memory MB"), rows)


def _tasks_table(outcomes: tuple[TaskOutcome, ...]) -> Table:
    columns = ("task", "decision", "deadline", "response", "wait", "execute", "transfer", "right", "met")
    rows = [
        (
            task.id,
            task.strategy or "-",
            _seconds(task.deadline_s),
            _seconds(task.response_s),
            _seconds(task.wait_s),
            _seconds(task.execute_s),
            _seconds(task.transfer_s),
            "-" if task.correct is None else f"{task.correct} of {task.n}",
            "yes" if task.response_s is not None and task.response_s <= task.deadline_s else "no",
        )
        for task in outcomes
    ]
    return Table(columns, rows)


def _grid(title: str, table: Table) -> Grid:
    grid = Grid(title=title, title_justify="left")
    for i, column in enumerate(table.columns):
        grid.add_column(column, justify="left" if i == 0 else "right")
    for row in table.rows:
        grid.add_row(*(str(cell) for cell in row))
    return grid


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
