"""The bench of models that others wrote: a sample of it, what it counts as true, and that it finds what is wrong."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from splitplace.benchmarks import foreign, foreign_cell, foreign_check
from splitplace.errors import UsageError

SAMPLE = (
    *("conv-grouped", "max-pool-ceil", "group-norm", "resize-linear-sizes", "attention-heads", "embedding", "topk"),
    *("lstm-bidirectional", "qdq", "loop-for", "function-nested", "sequence-at", "two-inputs", "opset-9", "opset-13"),
    *("scan-over-the-batch", "dynamic-image", "string-answer", "one-operator"),
)


def ends(graph, folder):
    """A step whose process is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def raises(graph, folder):
    """A step that fails."""
    raise ValueError("no")


def hangs(graph, folder):
    """A step that never ends."""
    signal.pause()


def tried(name, folder):
    """One graph, in this process."""
    graph = foreign.graph_by_name(name)
    made = foreign_cell.build(graph, folder)
    cell = foreign.ForeignCell(name=name, family=graph.family, outcome="not made", opset=made["opset"])
    cut = foreign_cell.split(graph, folder)
    assert not cut["traceback"], cut["traceback"]
    return foreign.judge(cell, graph, cut, foreign_cell.check(graph, folder))


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_split_or_truly_refused(name, tmp_path):
    """Some graph of each kind; those that cannot be cut say why, and it is so."""
    cell = tried(name, tmp_path)
    refused = {"scan-over-the-batch": "no batch", "dynamic-image": "dynamic", "string-answer": "answer kind"}
    assert cell.reason == refused.get(name, "blocks" if name == "one-operator" else ""), cell
    assert cell.outcome == ("refused" if cell.reason else "split"), cell
    assert cell.reason_is_true is (True if cell.reason else None)


def test_the_node_at_which_a_damaged_fragment_differs_is_named(tmp_path):
    """One weight of one node changed in the second fragment: an error, and its node, whatever comes after it."""
    graph = foreign.graph_by_name("attention-by-hand")
    foreign_cell.build(graph, tmp_path)
    assert [2, 2] in foreign_cell.split(graph, tmp_path)["made"]
    chain = foreign_check.Chain.of(tmp_path / "split-2")
    whole = tmp_path / foreign_cell.MODEL
    assert foreign_check.compare(whole, chain, 2, graph.tolerance).error < graph.tolerance
    damaged = None
    for name in reversed(chain.names):
        model = onnx.load(chain.file(name))
        reader = next((n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in ("wv", "wq", "wk")), None)
        if reader is not None:
            (kernel,) = (weight for weight in model.graph.initializer if weight.name == reader.input[1])
            kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) + 1, kernel.name))
            onnx.save(model, chain.file(name))
            damaged = reader.output[0]
            break
    assert damaged is not None
    found = foreign_check.compare(whole, chain, 2, graph.tolerance)
    assert found.error > graph.tolerance
    assert found.where.startswith("MatMul ") and f"which makes {damaged}, in {name}" in found.where


def test_a_refusal_that_is_not_true_is_found():
    """The same line is true of a model of which it holds, and not of another; a count of blocks is held to a bound."""
    graph = foreign.graph_by_name("conv-grouped")
    cell = foreign.ForeignCell(name=graph.name, family=graph.family, outcome="not made")
    line = "m.onnx is refused: row 1 of a batch of 32 ...: the first axis is no batch of independent samples; export"
    cut = {"made": [], "refused": {"2": line, "4": line}}
    assert not foreign.judge(cell, graph, cut, {"compared": [], "facts": []}).reason_is_true
    assert foreign.judge(cell, graph, cut, {"compared": [], "facts": ["no batch"]}).reason_is_true
    few = {"made": [], "refused": {"2": "2 fragments: the network has 1 blocks that a cut can tell apart"}}
    assert foreign.judge(cell, graph, few, {"compared": [], "facts": []}).reason_is_true is False


def test_answers_of_another_kind_are_differences():
    """Another shape, type, infinity or word: no rounding."""
    one = np.array([1.0, np.inf], np.float32)
    assert foreign_check.error(one, one.copy()) == 0
    for other in (one[:1], one.astype(np.float64), np.array([1.0, 2.0], np.float32), ["a"]):
        assert foreign_check.error(one, other) == float("inf")


def test_what_the_file_has_is_not_tried_again(tmp_path, monkeypatch):
    """An interrupted run goes on; of other graphs the cells are kept."""
    asked = []

    def answer(graph, folder):
        asked.append(graph.name)
        return foreign.ForeignCell(name=graph.name, family=graph.family, outcome="split")

    monkeypatch.setattr(foreign, "try_graph", answer)
    file = tmp_path / "foreign.json"
    foreign.run(file, tmp_path, foreign.select(["qdq"]), 2, again=False, say=lambda _: None)
    first = list(asked)
    assert "qdq" in first and len(first) == len(set(first)) == len(json.loads(file.read_text())["cells"])
    foreign.run(file, tmp_path, foreign.select(["qdq", "topk"]), 1, again=False, say=lambda _: None)
    assert asked[len(first) :] == ["topk"]
    with pytest.raises(UsageError, match="no graph or family is called so"):
        foreign.select(["nonsense"])


def test_a_process_that_fails_is_a_traceback_or_a_timeout(tmp_path, monkeypatch):
    """What a graph does to the process that cuts it is an outcome, not the end of the bench."""
    graph = foreign.graph_by_name("topk")
    monkeypatch.setattr(foreign_cell, "LOADED", ())
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # where the other process finds these steps
    ended = foreign.step(ends, graph, tmp_path)
    assert (ended.answer, ended.end) == (None, "traceback") and "ended with -9" in ended.line
    raised = foreign.step(raises, graph, tmp_path)
    assert (raised.answer, raised.end) == (None, "traceback") and "ValueError: no" in raised.line
    monkeypatch.setattr(foreign, "LIMIT_S", 0.1)
    assert foreign.step(hangs, graph, tmp_path).end == "timeout"
