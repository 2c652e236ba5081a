"""What was trained, for people."""

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from splitplace import Run


def run_shown(run: "Run") -> Table:
    """A row a fragment; how right the whole is on held-out images below."""
    config, metrics, edges = run.config, run.metrics, edges_of(run)
    table = Table("fragment", "reads", "parameters", "FLOPs an image", "classes")
    for part, size in zip(config.parts, metrics.fragments, strict=True):
        names = ", ".join(config.class_names[c] for c in part.classes) if len(part.classes) <= 10 else ""
        reads = ", ".join(src for src, dst in edges if dst == part.name)
        table.add_row(
            part.name, reads, f"{size.params:,}", f"{size.flops_per_sample:,}", names or str(len(part.classes))
        )
    table.title = config.request.reference
    table.caption = (
        f"held-out accuracy {metrics.accuracy:.4f} on {metrics.n} images · {metrics.epochs} epoch(s) at "
        f"{metrics.images_per_s:.0f} images/s · {run.path}"
    )
    return table


def edges_of(run: "Run") -> list[tuple[str, str]]:
    """From which part each reads: a fragment's name, or input."""
    parents = {part.output: part.name for part in run.config.parts}
    return [(parents.get(name, "input"), part.name) for part in run.config.parts for name in part.inputs]
