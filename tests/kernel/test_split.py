"""The graph every room reads: a 2,2 tree with a shared trunk, a chain, and everything that is no split."""

import copy
import json

import pytest

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.records.split import Split, parse_reference

pytestmark = pytest.mark.base

DIGEST = "sha256:" + "0" * 64


def tensor(name: str, features: int) -> dict:
    """A float32 boundary tensor."""
    return {"name": name, "dtype": "float32", "shape": ["batch", features]}


def fragment(name: str, source: tuple[str, int], out: tuple[str, int], classes: tuple[int, ...] = ()) -> dict:
    """A fragment with one tensor in, one out."""
    return {
        "name": name,
        "inputs": [tensor(*source)],
        "outputs": [tensor(*out)],
        "classes": list(classes),
        "params": 1,
        "flops_per_sample": 1,
        "weight_bytes": 4,
        "digest": DIGEST,
    }


def tree() -> dict:
    """Trunk -> two inner -> four leaves, two classes each; the leaves' classes interleave."""
    fragments = [fragment("trunk", ("image", 8), ("t", 4))]
    edges = [{"src": "input", "dst": "trunk", "tensor": "image", "bytes_per_sample": 32}]
    classes = {"g0-0": (0, 4), "g0-1": (1, 5), "g1-0": (2, 6), "g1-1": (3, 7)}
    for inner in ("g0", "g1"):
        fragments.append(fragment(inner, ("t", 4), (f"{inner}.x", 2)))
        edges.append({"src": "trunk", "dst": inner, "tensor": "t", "bytes_per_sample": 16})
    for leaf, own in classes.items():
        inner = leaf[:2]
        fragments.append(fragment(leaf, (f"{inner}.x", 2), (f"{leaf}.logits", 2), own))
        edges.append({"src": inner, "dst": leaf, "tensor": f"{inner}.x", "bytes_per_sample": 8})
    order = [c for own in classes.values() for c in own]
    return {
        "application": "fashionmnist",
        "model": "mobilenetv2",
        "strategy": "semantic",
        "variant": "2x2",
        "fragments": fragments,
        "edges": edges,
        "merge": {"kind": "concat", "class_order": order},
    }


def parse(document: dict) -> Split:
    """Through JSON, as from a catalog."""
    return Split.parse(json.dumps(document), "test")


def test_a_tree_with_a_shared_trunk_is_a_split():
    """Roots, sinks, parents and order come from the edges alone."""
    split = parse(tree())
    assert split.reference == "fashionmnist.mobilenetv2.semantic-2x2"
    assert split.roots == ("trunk",)
    assert split.sinks == ("g0-0", "g0-1", "g1-0", "g1-1")
    assert split.parents("g1-1") == ("g1",)
    assert split.topological == ("trunk", "g0", "g1", "g0-0", "g0-1", "g1-0", "g1-1")
    assert [spec.name for spec in split.inputs] == ["image"]


def test_json_there_and_back_is_the_same_split():
    """What one room writes another reads."""
    split = parse(tree())
    assert Split.parse(split.model_dump_json(), "test") == split


def with_spare(document: dict) -> dict:
    """The tree with a fragment that knows every class, on its trunk."""
    document["fragments"].append(fragment("spare", ("t", 4), ("spare.logits", 8), tuple(range(8))))
    document["edges"].append({"src": "trunk", "dst": "spare", "tensor": "t", "bytes_per_sample": 16})
    document["merge"]["spare"] = "spare"
    return document


def test_a_spare_is_a_sink_and_no_branch():
    """It answers beside the branches, and the classes' order is theirs."""
    split = parse(with_spare(tree()))
    assert split.sinks == (*split.branches, "spare")
    assert split.branches == parse(tree()).sinks
    assert Split.parse(split.model_dump_json(), "test") == split


def test_a_split_without_a_spare_is_written_as_before_there_were_any():
    """So its digest is what it was."""
    assert json.loads(parse(tree()).model_dump_json())["merge"] == tree()["merge"]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["merge"].update(spare="nobody"),
        lambda d: d["merge"].update(spare="trunk"),
        lambda d: d["fragments"][-1]["classes"].pop(),
        lambda d: d["fragments"][-1]["classes"].reverse(),
    ],
)
def test_a_spare_knows_every_class_in_order(change):
    """And is a sink."""
    document = with_spare(tree())
    change(document)
    with pytest.raises(SplitPlaceError, match=r"the spare '\w+' must be a sink that predicts the classes 0\.\.7"):
        parse(document)


def broken(change) -> dict:
    """The tree with one thing changed."""
    document = copy.deepcopy(tree())
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["edges"].pop(), "fed by no edge"),
        (lambda d: d["edges"].append(d["edges"][-1]), "fed twice"),
        (lambda d: d["edges"][1].update(src="nobody"), "not there"),
        (lambda d: d["edges"][1].update(bytes_per_sample=17), "17 bytes a sample stated, 16 by shape"),
        (lambda d: d["merge"].update(kind="identity"), "needs one sink"),
        (lambda d: d["merge"]["class_order"].reverse(), "the merge orders"),
        (lambda d: d["merge"]["class_order"].__setitem__(0, 1), "exactly once"),
        (lambda d: d["fragments"].append(d["fragments"][0]), "must differ"),
        (lambda d: d["fragments"][0].update(params=-1), "fragments.0.params"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.update(application="../etc"), "application"),
    ],
)
def test_what_is_no_split_is_refused_by_name(change, message):
    """Each broken graph gets one line that says what is wrong."""
    with pytest.raises(SplitPlaceError, match=message) as caught:
        parse(broken(change))
    assert "\n" not in str(caught.value)


def test_a_cycle_is_refused():
    """Two fragments that wait for each other never run."""
    document = tree()
    document["fragments"][0]["inputs"].append(tensor("g0.x", 2))
    document["edges"].append({"src": "g0", "dst": "trunk", "tensor": "g0.x", "bytes_per_sample": 8})
    with pytest.raises(SplitPlaceError, match="cycle"):
        parse(document)


def test_references_are_taken_apart():
    """APP.MODEL.STRATEGY-VARIANT, variant optional."""
    assert parse_reference("tiny100.resnet50v2.layer-4") == ("tiny100", "resnet50v2", "layer", "4")
    assert parse_reference("mnist.mobilenetv2.full") == ("mnist", "mobilenetv2", "full", "")


@pytest.mark.parametrize("text", ["", "mnist", "a.b.vertical", "a/b.c.layer", "a.b.layer-2/../.."])
def test_what_is_no_reference_is_wrong_usage(text):
    """Exit code 2, and nothing that could leave a folder."""
    with pytest.raises(UsageError):
        parse_reference(text)
