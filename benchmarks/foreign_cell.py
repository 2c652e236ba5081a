"""One step of one graph of `bench foreign`, in a process of its own: make it, cut it, or hold it to the whole."""

import resource
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from splitplace.benchmarks.foreign_graphs import ForeignGraph

MODEL = "model.onnx"
Step = Callable[[ForeignGraph, Path], dict[str, Any]]

LOADED = ("torch", "timm", "onnxruntime", "splitplace.splitting.layerwise.cutting", "splitplace.benchmarks.foreign")
"""What every step needs or may need: loaded once, by the process that the others fork from."""


def build(graph: ForeignGraph, folder: Path) -> dict[str, Any]:
    """Makes the model."""
    graph.build(folder / MODEL)
    import onnx

    model = onnx.load(folder / MODEL, load_external_data=False)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return {"opset": opset, "nodes": len(model.graph.node)}


def split(graph: ForeignGraph, folder: Path) -> dict[str, Any]:
    """Cuts it, as a user of the library does; what a user would see of it."""
    import splitplace as sp

    told: dict[str, Any] = {"made": [], "refused": {}, "traceback": ""}
    for count in graph.fragments:
        try:
            done = sp.split(folder / MODEL, fragments=count, out=folder / f"split-{count}")
            told["made"].append([count, len(done.fragments)])
            del done
        except sp.errors.SplitPlaceError as error:
            told["refused"][str(count)] = str(error)
        except Exception:  # noqa: BLE001 - what the bench looks for
            told["traceback"] = traceback.format_exc()
            break
    return told


def check(graph: ForeignGraph, folder: Path) -> dict[str, Any]:
    """Holds what was cut against the whole, and says what is true of a model that was refused."""
    from splitplace.benchmarks import foreign_check as checking
    from splitplace.benchmarks.foreign_facts import facts

    whole, told = folder / MODEL, []
    for count in graph.fragments:
        if (folder / f"split-{count}").is_dir():
            chain = checking.Chain.of(folder / f"split-{count}")
            found = checking.compare(whole, chain, graph.high, graph.tolerance)
            told.append([min(found.error, sys.float_info.max), found.where])
    known = [] if len(told) == len(graph.fragments) else sorted(facts(whole, graph.high, graph.tolerance))
    return {"compared": told, "facts": known}


def answer(step: Step, graph_name: str, folder: Path, limited: bool, log: Path, told: Connection) -> None:
    """In the process: take one step and send what it answers; what it prints goes to the log."""
    from splitplace.benchmarks.foreign import graph_by_name

    sys.stderr = sys.stdout = log.open("a", buffering=1, encoding="utf-8")
    graph = graph_by_name(graph_name)
    if limited:
        # What is allocated, not what is mapped: libraries and weights on disk are no memory that a model takes.
        resource.setrlimit(resource.RLIMIT_DATA, (graph.memory_bytes, graph.memory_bytes))
    try:
        found = step(graph, folder)
    except Exception:  # noqa: BLE001 - whatever it is, it is told
        told.send({"failed": traceback.format_exc()})
    else:
        told.send(found | {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
