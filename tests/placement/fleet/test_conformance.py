"""The 2,2 tree with a shared trunk, grown from MobileNetV2: torch to ONNX to catalog to a live fleet."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from splitplace.catalog import Catalog
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.onnx_export import TOLERANCE, answer, to_onnx
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.engines.podman import PodmanEngine
from splitplace.records.fragment import BATCH, TensorSpec
from splitplace.splitting.semantic.branches import Batch, assemble, grow_fragments
from splitplace.splitting.semantic.tree import consecutive_tree
from splitplace.training.families.build import build
from tests.placement.fleet.conftest import InTurn

pytestmark = pytest.mark.slow
SHAPE_CHW, CLASSES = (1, 28, 28), 8


@pytest.fixture
def grown():
    """A tree of random weights, its norms settled on random images so that logits differ from image to image."""
    torch.manual_seed(3)
    network = build("mobilenetv2", CLASSES, SHAPE_CHW, ((0.3,), (0.3,)), (2,))
    x_BCHW = torch.randint(0, 256, (32, *SHAPE_CHW), dtype=torch.uint8)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(x_BCHW)
    batches = [Batch(x_BCHW, torch.arange(32) % CLASSES)]
    tree = consecutive_tree(CLASSES, (2, 2))
    fragments = grow_fragments(network.eval(), ("blocks5", "blocks6"), tree, batches, "image")
    spec = TensorSpec(name="image", dtype="uint8", shape=(BATCH, *SHAPE_CHW))
    return assemble("squares", "mobilenetv2", "2x2", spec, fragments)


@pytest.mark.parametrize("name", ["local", "podman"])
def test_a_grown_tree_answers_on_a_fleet_as_in_torch(grown, toy, tmp_path, request, name):
    """Seven fragments on two devices, read from the catalog by digest: the logits of the torch tree."""
    engine = LocalEngine() if name == "local" else PodmanEngine(request.getfixturevalue("device_image"))
    images = np.random.default_rng(0).integers(0, 256, (11, *SHAPE_CHW)).astype(np.uint8)
    expected = answer(grown, {"image": images})
    CatalogWriter(tmp_path / "catalog").write(to_onnx(grown))
    split = Catalog(tmp_path / "catalog").split("squares.mobilenetv2.semantic-2x2")
    assert split.children("trunk") == ("g0", "g1")
    assert split.sinks == ("g0-0", "g0-1", "g1-0", "g1-1")

    devices = [toy.make_device(name).model_copy(update={"memory_bytes": 2**29}) for name in "ab"]
    demand, policy = toy.demand_of(SimpleNamespace(split=split)), toy.policy(0, placer=InTurn())
    with Broker(devices, demand, tmp_path / "catalog", policy, engine) as broker:
        result = broker.submit("squares", images, deadline_s=1000.0).result(240)
        reports = broker.reports()
    assert result.outcome.error is None
    assert [report.fragments_run for report in reports] == [4, 3]
    size = np.abs(expected).max()
    assert (np.ptp(expected, axis=0) > 0.01 * size).all()  # no logit is the same for every image
    np.testing.assert_allclose(result.logits, expected, rtol=0, atol=TOLERANCE * size)
