"""The 2,2 tree with a shared trunk, through export, catalog and executor."""

import numpy as np

from splitplace.catalog import Catalog
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.onnx_export import answer
from splitplace.inference.executor import Executor


def test_a_tree_comes_back_from_the_catalog_and_answers_as_torch_does(tree, tree_artifact, tmp_path):
    """Graph, contracts and weights survive the way to disk and back; the executor equals torch."""
    CatalogWriter(tmp_path / "catalog").write(tree_artifact)
    catalog = Catalog(tmp_path / "catalog")

    split = catalog.split("fashionmnist.tiny.semantic-2x2")
    assert split == tree_artifact.split
    assert split.roots == ("trunk",)
    assert split.children("trunk") == ("inner0", "inner1")
    assert split.sinks == ("leaf0", "leaf1", "leaf2", "leaf3")

    images = np.random.default_rng(0).integers(0, 256, (37, 1, 12, 12)).astype(np.uint8)
    executor = Executor(split, lambda name: catalog.load(split, name))
    np.testing.assert_allclose(
        executor.run({"image": images}, micro_batch=8), answer(tree, {"image": images}), atol=1e-5
    )


def test_a_missing_inner_node_takes_its_leaves_along(tree, tree_artifact):
    """Without inner0 the classes of leaf0 and leaf1 get no answer, all others are unchanged."""
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 12, 12)).astype(np.uint8)
    executor = Executor(tree_artifact.split, lambda name: tree_artifact.models[name], missing=frozenset({"inner0"}))
    logits = executor.run({"image": images})
    assert np.isneginf(logits[:, [3, 0, 6, 1]]).all()
    np.testing.assert_allclose(logits[:, [7, 2, 5, 4]], answer(tree, {"image": images})[:, [7, 2, 5, 4]], atol=1e-5)
