"""Models that nobody here wrote: each is cut and is the whole, or is refused for a reason that is true.

A graph is made, cut by `sp.split` and held against the whole in three processes with limits of their own. The last of
them has nothing of the splitter: it runs whole and fragments by onnxruntime on random inputs.
"""

import multiprocessing
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from splitplace import provenance
from splitplace.benchmarks import foreign_cell
from splitplace.benchmarks.foreign_facts import REASONS, reason
from splitplace.benchmarks.foreign_forms import FORMS
from splitplace.benchmarks.foreign_graphs import ForeignGraph
from splitplace.benchmarks.foreign_networks import networks
from splitplace.benchmarks.foreign_operators import OPERATORS
from splitplace.benchmarks.results_file import Measured, save
from splitplace.children import safe_spawn
from splitplace.errors import UsageError
from splitplace.records.base import Count, NonNegative, Record
from splitplace.records.provenance import Provenance

Outcome = Literal["split", "refused", "silent difference", "traceback", "timeout", "not made"]
OUTCOMES: tuple[Outcome, ...] = ("split", "refused", "silent difference", "traceback", "timeout", "not made")
GRAPHS_GOAL = 150
LIMIT_S = 600.0
"""Of a step. A machine that does other things as well takes its time."""


class ForeignCell(Measured):
    """What came of one graph."""

    name: str
    family: str
    outcome: Outcome
    reason: str = ""
    """The class of a refusal, as `foreign_facts.REASONS` has them."""
    reason_is_true: bool | None = None
    line: str = ""
    """What the user was told, or the end of what went wrong."""
    first_difference: str = ""
    """The node at which fragments begin to differ from the whole."""
    opset: Count = 0
    nodes: Count = 0
    fragments: tuple[Count, ...] = ()
    """How many were made of those asked for, for each count that was."""
    error: NonNegative = 0.0
    """Largest, as a share of the answer's range."""
    seconds: NonNegative = 0.0
    """Of cutting it, with the process that does."""
    peak_bytes: Count = 0
    """Of the process that cuts it."""


class ForeignResults(Record):
    """What has been tried so far; a run adds the graphs that are missing."""

    cells: tuple[ForeignCell, ...] = ()
    provenance: Provenance


@dataclass(frozen=True)
class _Told:
    """What a step answered, or how it ended instead."""

    answer: Mapping[str, Any] | None
    end: Outcome = "traceback"
    line: str = ""
    seconds: float = 0.0


@cache
def graphs() -> Mapping[str, ForeignGraph]:
    """All of them by name."""
    every = (*OPERATORS, *FORMS, *networks())
    named = {graph.name: graph for graph in every}
    assert len(named) == len(every), [name for name, n in Counter(g.name for g in every).items() if n > 1]
    return named


def graph_by_name(name: str) -> ForeignGraph:
    """One of them."""
    return graphs()[name]


def select(words: Sequence[str]) -> tuple[ForeignGraph, ...]:
    """The graphs whose name or family is or contains one of these words; all without.

    Raises:
        UsageError: A word that fits none.
    """
    for word in words:
        if not any(word in graph.name or word in graph.family for graph in graphs().values()):
            families = ", ".join(dict.fromkeys(graph.family for graph in graphs().values()))
            raise UsageError(f"--only {word}: no graph or family is called so: families are {families}")
    chosen = graphs().values()
    return tuple(g for g in chosen if not words or any(word in g.name or word in g.family for word in words))


def run(
    path: Path, work: Path, chosen: Iterable[ForeignGraph], jobs: int, again: bool, say: Callable[[str], None]
) -> ForeignResults:
    """Try every chosen graph that the results file lacks, writing it after each.

    Args:
        path: The results file.
        work: Folder for models and fragments; what went well is removed.
        chosen: As `select` gives them.
        jobs: How many graphs at once.
        again: Try those too that the file has.
        say: Told of each graph.
    """
    known = ForeignResults.parse(path.read_bytes(), str(path)).cells if path.exists() else ()
    cells = {cell.name: cell for cell in known if cell.name in graphs()}
    todo = [graph for graph in chosen if again or graph.name not in cells]
    origin = provenance.collect(seed=0)

    def so_far() -> ForeignResults:
        return ForeignResults(cells=tuple(cells[name] for name in graphs() if name in cells), provenance=origin)

    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(try_graph, graph, work / graph.name) for graph in todo]
        for i, done in enumerate(as_completed(running), 1):
            cell = done.result()
            cells[cell.name] = cell
            save(path, so_far())
            say(f"{i} of {len(todo)}: {cell.name}: {cell.outcome}")
    return so_far()


def try_graph(graph: ForeignGraph, folder: Path) -> ForeignCell:
    """Make one, cut it, hold it against the whole, and judge."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cell = ForeignCell(name=graph.name, family=graph.family, outcome="not made", commit=provenance.commit())
    made = step(foreign_cell.build, graph, folder)
    if made.answer is None:
        return cell.model_copy(update={"line": made.line})
    cell = cell.model_copy(update={"opset": made.answer["opset"], "nodes": made.answer["nodes"]})
    cut = step(foreign_cell.split, graph, folder)
    cell = cell.model_copy(update={"seconds": cut.seconds})
    if cut.answer is None:
        return cell.model_copy(update={"outcome": cut.end, "line": cut.line})
    cell = cell.model_copy(update={"peak_bytes": cut.answer["peak_bytes"]})
    if cut.answer["traceback"]:
        return cell.model_copy(update={"outcome": "traceback", "line": cut.answer["traceback"][-2000:]})
    checked = step(foreign_cell.check, graph, folder)
    if checked.answer is None:
        return cell.model_copy(update={"outcome": checked.end, "line": f"while it was checked: {checked.line}"})
    cell = judge(cell, graph, cut.answer, checked.answer)
    cell = cell.model_copy(update={"line": cell.line.replace(f"{folder}/", "")})  # where it ran is nobody's matter
    if cell.outcome == "split" or cell.reason_is_true:
        shutil.rmtree(folder, ignore_errors=True)
    return cell


@cache
def _processes() -> multiprocessing.context.ForkServerContext:
    """Where steps run: forks of a process that has loaded everything and computed nothing, on one thread each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(foreign_cell.LOADED))
    return context


def step(take: foreign_cell.Step, graph: ForeignGraph, folder: Path) -> _Told:
    """Take one step in a process of its own."""
    context, start = _processes(), time.monotonic()
    answer, theirs = context.Pipe(duplex=False)
    log = folder / "log.txt"
    limited = take is foreign_cell.split
    process = context.Process(target=foreign_cell.answer, args=(take, graph.name, folder, limited, log, theirs))
    with safe_spawn():
        process.start()
    theirs.close()
    name = take.__name__
    try:
        if not answer.poll(LIMIT_S):
            return _Told(None, "timeout", f"{name} took over {LIMIT_S:.0f} s", LIMIT_S)
        found = answer.recv()
    except EOFError:
        process.join()
        return _Told(None, "traceback", f"{name}: its process ended with {process.exitcode}", time.monotonic() - start)
    finally:
        process.kill()
        process.join()
    if "failed" in found:
        return _Told(None, "traceback", f"{name}: {found['failed'][-2000:]}", time.monotonic() - start)
    return _Told(found, seconds=time.monotonic() - start)


def judge(cell: ForeignCell, graph: ForeignGraph, cut: Mapping[str, Any], checked: Mapping[str, Any]) -> ForeignCell:
    """The outcome, from what cutting and checking answered."""
    errors = [error for error, _ in checked["compared"]]
    cell = cell.model_copy(update={"fragments": tuple(n for _, n in cut["made"]), "error": max(errors, default=0.0)})
    where = [place for error, place in checked["compared"] if error > graph.tolerance]
    if where:
        return cell.model_copy(update={"outcome": "silent difference", "first_difference": where[0]})
    true = set(checked["facts"]) | graph.refusals
    for count, line in cut["refused"].items():
        kind = reason(line)
        holds = kind in true and "\n" not in line
        if kind == "blocks":
            (n,) = re.findall(REASONS["blocks"], line)
            holds = graph.blocks <= int(n) < int(count)
            if holds and int(n) >= 2:
                continue  # fewer fragments were made, and so many there cannot be
        told = {"outcome": "refused", "reason": kind, "reason_is_true": holds, "line": line}
        return cell.model_copy(update=told)
    return cell.model_copy(update={"outcome": "split"})


def verdict(results: ForeignResults) -> dict[str, bool | str]:
    """Whether the claims hold."""
    counts = Counter(cell.outcome for cell in results.cells)
    tried = sum(counts.values()) - counts["not made"]
    if tried < GRAPHS_GOAL:
        return {f"at least {GRAPHS_GOAL} graphs": f"not run: {tried}"}
    untrue = [cell.name for cell in results.cells if cell.reason_is_true is False]
    return {
        f"at least {GRAPHS_GOAL} graphs": True,
        "no silent difference": not counts["silent difference"],
        "no traceback, nothing that does not end": not counts["traceback"] + counts["timeout"],
        "every refusal for a true reason": not untrue,
    }
