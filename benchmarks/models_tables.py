"""Tables of what was measured of models: how they are cut, trained, split by meaning, packed, and what they weigh.

Each bench is imported where its file is read: the page is written where no torch is.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from splitplace.benchmarks.paired import interval
from splitplace.benchmarks.results_section import (
    FileSection,
    commits_of,
    inverse,
    mean,
    ratio,
    seeds_of,
    word,
    words,
)
from splitplace.records.provenance import Provenance

if TYPE_CHECKING:
    from splitplace.benchmarks.layer_split import PlanCell
    from splitplace.benchmarks.training import AccuracyCell


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
        found.provenance, [plans, chains], verdict, seeds_of(found.provenance), commits_of(found.plans, found.ratios)
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
        seeds_of(found.provenance),
        commits_of(found.cells),
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
        seeds_of(found.provenance),
        commits_of([fast], found.cells),
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
        commits_of(found.trained, found.paths),
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
    return FileSection(provenance, [rows], verdict, seeds_of(provenance), remarks=[remark])


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
        found.provenance, [layers, rows, builds], claims, seeds_of(found.provenance), commits_of(found.cells), remarks
    )
