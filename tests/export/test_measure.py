"""Profiles, evaluations and demand of small splits, through the catalog."""

import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import onnxruntime as ort
import pytest

import splitplace as sp
from splitplace.catalog import Catalog
from splitplace.catalog.demand import demand, write_demand
from splitplace.catalog.oci import MAX_JSON_BYTES
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.export.measure.evaluation import _absent, as_numbered, evaluate
from splitplace.export.measure.profiler import Effort, fingerprint, profile_split
from splitplace.inference.executor import Executor
from splitplace.records.by_class import by_class
from splitplace.records.demand import Demand

TINY = Effort((1, 4), rounds=3, budget_s=0.01)
REFERENCE = "fashionmnist.tiny.semantic-2x2"


@pytest.fixture
def stored(tree_artifact, tmp_path):
    """A catalog with the 2,2 tree."""
    catalog = CatalogWriter(tmp_path / "catalog")
    catalog.write(tree_artifact)
    return catalog


def held_out(n=40):
    """Random images and labels of eight classes."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (n, 1, 12, 12)).astype(np.uint8), rng.integers(0, 8, n)


def evaluated(catalog, images, labels, **changes):
    """An evaluation with plausible provenance."""
    split = catalog.split(REFERENCE)
    facts = {"dataset": "fashionmnist", "sha256": "0" * 64, "seed": 0, "source": "random numbers"} | changes
    return evaluate(split, lambda name: catalog.load(split, name), images, labels, **facts)


@pytest.mark.slow
def test_each_fragment_is_profiled_in_a_process_and_stored_as_its_referrer(stored):
    """Profiles hold every batch size; the split's digest stays; another reader sees them."""
    before = stored.split_descriptor(REFERENCE).digest
    profiles = profile_split(stored, REFERENCE, TINY)
    assert [profile.fragment for profile in profiles] == [f.name for f in stored.split(REFERENCE).fragments]
    for profile in profiles:
        assert [row.batch_size for row in profile.latency] == [1, 4]
        assert all(row.p10_s <= row.median_s <= row.p90_s and row.runs >= 3 for row in profile.latency)
        assert 30e6 < profile.runtime_base_bytes < 500e6
        assert profile.memory[-1].fragment_bytes < 50e6
        assert profile.device.onnxruntime == ort.__version__
    assert profiles[0].input_bytes_per_sample == 144
    assert profiles[0].output_bytes_per_sample == 6 * 144 * 4
    assert Catalog(stored.path).profiles(REFERENCE) == profiles
    assert stored.split_descriptor(REFERENCE).digest == before


@pytest.mark.slow
def test_profiling_goes_on_where_it_stopped(stored, monkeypatch):
    """What is measured on this device is not measured again; one missing fragment is."""
    first = profile_split(stored, REFERENCE, TINY)
    assert profile_split(stored, REFERENCE, TINY) == first
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert profile_split(stored, REFERENCE, TINY) == first
    with pytest.raises(SplitPlaceError, match="what was measured before is kept"):
        profile_split(stored, REFERENCE, TINY, again=True)


def test_measuring_needs_neither_torch_nor_onnx():
    """What `profile`, `evaluate` and `infer` import on a device: no torch, no onnx."""
    code = (
        "import sys, splitplace.export.measure.profiler, splitplace.export.measure.profile_worker, "
        "splitplace.export.measure.evaluation, splitplace.export.catalog_writer, "
        "splitplace.catalog.demand, splitplace.inference.probe\n"
        "print(sorted({'torch', 'onnx', 'onnxscript', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_an_evaluation_counts_right_answers_with_every_k_of_four_leaves_missing(stored):
    """`top1` and the 4 + 6 + 4 of `top1_missing` equal what the executor answers, run anew without those leaves."""
    images, labels = held_out()
    evaluation, predictions = evaluated(stored, images, labels, micro_batch=16)
    split = stored.split(REFERENCE)
    whole = Executor(split, lambda name: stored.load(split, name)).run({"image": images})
    np.testing.assert_array_equal(predictions, whole.argmax(axis=1))
    assert evaluation.top1 == np.mean(whole.argmax(axis=1) == labels)
    leaves = ("leaf0", "leaf1", "leaf2", "leaf3")
    assert [row.missing for row in evaluation.top1_missing] == [
        absent for k in (1, 2, 3) for absent in combinations(leaves, k)
    ]
    for row in evaluation.top1_missing:
        without = Executor(split, lambda name: stored.load(split, name), missing=frozenset(row.missing))
        assert row.top1 == np.mean(without.run({"image": images}).argmax(axis=1) == labels)


def test_an_evaluation_knows_which_classes_a_split_confuses(stored):
    """Rows are right classes, columns answers, held against the answers one by one; a class without images has none."""
    images, labels = held_out()
    labels[labels == 3] = 4
    evaluation, predictions = evaluated(stored, images, labels.astype(np.uint8))
    expected = np.zeros((8, 8), int)
    for right, answer in zip(labels, predictions, strict=True):
        expected[right, answer] += 1
    assert np.array_equal(evaluation.confusion, expected)
    shares = [expected[c, c] / expected[c].sum() if c != 3 else None for c in range(8)]
    assert evaluation.accuracy_by_class == tuple(shares)


def test_of_many_classes_a_record_keeps_what_does_not_grow_without_bound():
    """Confusions to 200 classes, accuracies of single classes to 50,000; all of it fits into a catalog's document."""
    rng = np.random.default_rng(0)
    for classes, accuracies, confused in ((200, 200, 200), (201, 201, 0), (50_000, 50_000, 0), (50_001, 0, 0)):
        answers, labels = rng.integers(0, classes, (2, 1000))
        found = by_class(answers, labels, classes)
        assert (len(found.accuracy_by_class), len(found.confusion)) == (accuracies, confused)
        assert len(found.model_dump_json()) < MAX_JSON_BYTES / 2


def test_of_many_leaves_the_smaller_sets_are_counted_out():
    """Ten leaves: each alone and every pair, 55 rows; one leaf: nothing to miss."""
    assert [len(list(_absent(range(n)))) for n in (1, 2, 6, 10)] == [0, 2, 62, 55]


def test_the_last_evaluation_of_the_same_data_takes_the_earlier_ones_place(stored):
    """Another data set stands beside it."""
    images, labels = held_out()
    first, _ = evaluated(stored, images, labels)
    second, _ = evaluated(stored, images, labels, seed=1)
    other, _ = evaluated(stored, images, labels, sha256="1" * 64)
    for evaluation in (first, other, second):
        stored.attach(REFERENCE, evaluation)
    assert stored.evaluations(REFERENCE) == (second, other)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((0, 1, 12, 12), np.uint8), np.zeros(0, int), "0 images"),
        (np.zeros((2, 1, 12, 12), np.uint8), np.zeros(3, int), "2 images and 3 labels"),
        (np.zeros((1, 1, 12, 12), np.uint8), np.array([8]), "labels 8..8, expected 0..7"),
        (np.zeros((1, 1, 12, 12), np.float32), np.array([0]), "got float32"),
        (np.zeros((1, 3, 12, 12), np.uint8), np.array([0]), "expected uint8"),
    ],
)
def test_evaluating_refuses_what_is_not_the_splits_data(stored, images, labels, said):
    """No images, too few labels, foreign classes, another dtype or shape."""
    with pytest.raises(SplitPlaceError, match=said):
        evaluated(stored, images, labels)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("0", "1", "3"), [0, 3, 1]),
        (("3", "7", "26"), [3, 26, 7]),
        (("0", "1", "2"), [0, 2, 1]),
        (("ant", "bee", "cat"), [0, 2, 1]),
        (("1", "01", "2"), [0, 2, 1]),
        (("1", "2", "9" * 30), [0, 2, 1]),
    ],
)
def test_a_split_without_names_goes_by_the_numbers_that_classes_are_called_by(names, expected):
    """Not by which of them occur; names that tell no number apart are in their order."""
    assert as_numbered(np.array([0, 2, 1]), names, ()).tolist() == expected


def test_labels_that_leave_a_number_out_are_scored_as_they_are(tree_artifact, tmp_path):
    """The data set leaves one out, the split has no names: answers are held against the labels themselves."""
    x, y = held_out()
    y[y == 4] = 7
    np.savez(tmp_path / "mine.npz", x_train=x[:, 0], y_train=y, x_test=x[:, 0], y_test=y)
    catalog = CatalogWriter(tmp_path / "catalog")
    catalog.write(replace(tree_artifact, split=tree_artifact.split.model_copy(update={"application": "mine"})))
    where = str(catalog.path)
    by_path, by_labels = sp.evaluate(where, path=tmp_path / "mine.npz"), sp.evaluate(where, images=x, labels=y)
    assert by_path.confusion == by_labels.confusion


@pytest.mark.slow
def test_demand_is_profiles_and_evaluation_in_one_small_file(stored, tmp_path):
    """It round-trips through the file and costs as the profile says."""
    images, labels = held_out()
    evaluation, _ = evaluated(stored, images, labels)
    stored.attach(REFERENCE, evaluation)
    profiles = profile_split(stored, REFERENCE, TINY)
    value = demand(stored, micro_batch=4)
    assert value.splits[0].evaluation == evaluation.model_copy(update={"accuracy_by_class": (), "confusion": ()})
    assert value.splits[0].profiles == profiles
    assert write_demand(value, tmp_path / "demand.json") == (tmp_path / "demand.json").stat().st_size < 200_000
    assert Demand.parse((tmp_path / "demand.json").read_bytes(), "file") == value


def test_demand_says_which_fragment_has_no_profile(stored):
    """One line with the command to run."""
    with pytest.raises(SplitPlaceError, match=r"no profile of trunk, .*splitplace profile"):
        demand(stored)


@pytest.mark.slow
def test_a_profile_under_a_share_says_so_and_stands_beside_the_whole_core_s(full_artifact, tmp_path):
    """The worker runs in a cgroup of its own; how much slower it is, `tests/kernel/test_cpu_share.py` bounds."""
    catalog = CatalogWriter(tmp_path / "catalog")
    reference = full_artifact.split.reference
    catalog.write(full_artifact)
    (whole,) = profile_split(catalog, reference, TINY, fingerprint())
    (fifth,) = profile_split(catalog, reference, TINY, fingerprint(cpu_share=0.2))
    assert (whole.device.cpu_share, whole.device.cpu_share_method) == (1.0, "none")
    assert (fifth.device.cpu_share, fifth.device.cpu_share_method) == (0.2, "cgroup")
    assert fifth.device.kind == f"{whole.device.kind}-0.2cpu"
    assert catalog.profiles(reference) == (fifth, whole)


def test_a_device_of_no_cores_is_refused():
    """Threads and share have bounds."""
    for bad in ({"threads": 0}, {"cpu_share": 0.0}, {"cpu_share": 1.5}):
        with pytest.raises(UsageError, match="expected at least 1"):
            fingerprint(**bad)


@pytest.mark.slow
def test_a_spare_answers_for_what_is_missing_and_for_nothing_else(spared, tree_artifact, tmp_path):
    """The whole answers as the tree without; with leaves missing, their columns are the spare's, by hand."""
    catalog = CatalogWriter(tmp_path / "catalog")
    catalog.write(to_onnx(spared))
    reference, (images, labels) = f"{REFERENCE}-spare50", held_out()
    split = catalog.split(reference)

    def answer(missing):
        return Executor(split, lambda name: catalog.load(split, name), missing=frozenset(missing)).run(
            {"image": images}
        )

    whole = Executor(tree_artifact.split, tree_artifact.models.__getitem__).run({"image": images})
    np.testing.assert_array_equal(answer({"spare"}), whole)
    np.testing.assert_array_equal(answer(()), whole)
    alone = answer(split.branches)
    facts = {"dataset": "fashionmnist", "sha256": "0" * 64, "seed": 0, "source": "random numbers"}
    evaluation, _ = evaluate(split, lambda name: catalog.load(split, name), images, labels, **facts)
    assert evaluation.top1 == np.mean(whole.argmax(1) == labels)
    assert len(evaluation.top1_missing) == 14
    for row in evaluation.top1_missing:
        columns = [c for name in row.missing for c in split.by_name[name].classes]
        expected = whole.copy()
        expected[:, columns] = alone[:, columns]
        np.testing.assert_array_equal(answer(row.missing), expected)
        assert row.top1 == np.mean(expected.argmax(1) == labels)
