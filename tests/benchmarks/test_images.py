"""What images cost, measured on small splits: every cell is of a container that answered."""

import json

import numpy as np
import pytest

from splitplace.benchmarks import images as bench
from splitplace.benchmarks import models_tables
from splitplace.placement.http import codec
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.models import ServedModel
from splitplace.records.fragment import TensorSpec
from splitplace.splitting.artifact import SplitArtifact
from tests.placement.fleet.conftest import CLASSES, chain, make_graph


def small(family, seed):
    """A whole and a chain."""
    whole = make_graph("random", "full", "", [("full", "input", CLASSES, tuple(range(CLASSES)))], seed=seed)
    for graph in (whole, chain("random")):
        yield SplitArtifact(graph.split, graph.models)


def test_a_question_is_what_the_codec_takes():
    """One sample of each input, as it is stated."""
    specs = (
        TensorSpec(name="a", dtype="uint8", shape=("batch", 3)),
        TensorSpec(name="b", dtype="float32", shape=("batch",)),
    )
    model = ServedModel("m", specs, specs)
    body, head = bench.question(model, 0)
    found = codec.decode(body, str(head), model, Limits())
    assert {name: (value.dtype.name, value.shape) for name, value in found.inputs.items()} == {
        "a": ("uint8", (1, 3)),
        "b": ("float32", (1,)),
    }
    assert all(output.binary for output in found.outputs)
    assert bench.question(model, 0) == (body, head) != bench.question(model, 1)


@pytest.mark.slow
def test_every_image_is_started_and_told(monkeypatch, tmp_path):
    """The whole, the chain as one, and each fragment; the claims can fail."""
    monkeypatch.setattr(bench, "splits", small)
    said = []
    found = bench.run(tmp_path / "images.json", tmp_path / "work", ("tiny",), 1, said.append)
    assert [cell.tag for cell in found.cells] == [
        "random.tiny.full",
        "random.tiny.layer-3",
        *(f"random.tiny.layer-3.f{i}" for i in range(3)),
    ]
    assert [build.images for build in found.builds] == [2, 4] and len(found.layers) == 3
    assert all(np.array(cell.peak_rss_bytes) > 2**24 for cell in found.cells)
    assert bench.ImageResults.parse((tmp_path / "images.json").read_bytes(), "file") == found
    section = models_tables.images((tmp_path / "images.json").read_bytes(), tmp_path / "images.json")
    assert [len(table) for table in section.tables] == [3, 5, 2]
    large = found.model_copy(update={"cells": tuple(c.model_copy(update={"file_bytes": 1}) for c in found.cells)})
    hungry = [c.model_copy(update={"peak_rss_bytes": (1 if c.whole else 2,)}) for c in found.cells]
    assert not any(held for claim, held in bench.verdict(large).items() if "layers" in claim)
    judged = bench.verdict(found.model_copy(update={"cells": tuple(hungry)}))
    assert not any(held for claim, held in judged.items() if "memory" in claim)
    assert json.loads((tmp_path / "images.json").read_text())["load"] == found.load
