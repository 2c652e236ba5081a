"""The live fleet end to end, on two and three device processes."""

import numpy as np
import pytest

from splitplace.executor import Executor
from splitplace.placement.runtime.journal import Run, read_journal

pytestmark = pytest.mark.slow
WAIT_S = 60


def reference(graph, images, micro_batch):
    """What the same split gives on this device alone."""
    return Executor(graph.split, graph.models.__getitem__).run({"x": images}, micro_batch)


@pytest.mark.parametrize("precedence", ["pipelined", "strict"])
def test_a_fleet_answers_as_the_executor_does(start, toy, images, tmp_path, precedence):
    """Chain and 2,2 tree with shared trunk, spread over two devices by memory: equal logits, ran on both."""
    graphs = toy.chain(), toy.tree()
    devices = toy.make_device("a", 5), toy.make_device("b", 5)
    x, journal = images(27), tmp_path / "journal.jsonl"
    broker = start(*graphs, devices=devices, decide=(0, 1), precedence=precedence, journal=journal)
    with broker:
        results = [broker.submit("toy", x, deadline_s=30.0).result(WAIT_S) for _ in range(2)]
        reports = broker.reports()
    for graph, result in zip(graphs, results, strict=True):
        assert result.outcome.error is None
        assert result.outcome.split == graph.split.reference
        np.testing.assert_allclose(result.logits, reference(graph, x, toy.micro_batch), rtol=1e-5, atol=1e-6)
    assert all(report.fragments_run > 0 for report in reports)
    runs = [event for event in read_journal(journal) if isinstance(event, Run)]
    assert len(runs) == (3 + 7) * 7  # fragments x micro-batches
    assert {run.device for run in runs} == {"a", "b"}
