"""The benchmark of semantic splits: what is missing is not run, a difference needs seeds, a run goes on."""

import json

import pytest
import torch

from splitplace import provenance
from splitplace.benchmarks import semantic
from splitplace.benchmarks.critical_path import PathCell
from splitplace.benchmarks.paired import Ratio
from splitplace.benchmarks.results_file import save
from splitplace.benchmarks.semantic_runs import SemanticSettings, methods
from splitplace.cli import main
from splitplace.report.splits import draw_splits
from splitplace.splitting.semantic.branches import Batch, grow_fragments
from splitplace.splitting.semantic.critical_path import share_of_whole
from splitplace.splitting.semantic.tree import consecutive_tree
from splitplace.training.data import applications
from splitplace.training.families.build import build
from splitplace.training.preset import load_preset


def trained(method, seed, accuracy, energy=None, missing=(), flops=10):
    """One recipe's cell."""
    return semantic.RecipeCell(
        method=method,
        seed=seed,
        accuracy=accuracy,
        accuracy_missing=missing,
        params=10,
        flops_per_sample=flops,
        branch_params=1,
        branch_flops_per_sample=1,
        groups=((0,), (1,)),
        passes=3,
        samples=16,
        train_s=1.0,
        cost=1.0,
        off_group_energy=energy,
        sliced_accuracy=None if energy is None else 0.5,
    )


def results(cells=(), paths=()):
    """A results file."""
    return semantic.SemanticResults(
        application="fashionmnist",
        model="mobilenetv2",
        branches=4,
        quick=True,
        trained=tuple(cells),
        paths=tuple(paths),
        provenance=provenance.collect(0),
    )


def test_nothing_measured_is_no_verdict():
    """Every claim says so."""
    assert set(semantic.verdict(results()).values()) == {"not run"}


@pytest.mark.parametrize(("accuracy", "holds"), [(0.8951, True), (0.894, False), (0.95, True)])
def test_distil_may_lose_half_a_point(accuracy, holds):
    """Of the mean over seeds."""
    found = results([trained("full", 0, 0.9), trained("distil", 0, accuracy)])
    assert semantic.verdict(found)["distil at most 0.5 points under full"] is holds


def test_a_difference_needs_three_seeds():
    """One seed says nothing; three alike say which is better; three apart say that nothing can be told."""
    one = results([trained("distil", 0, 0.9), trained("consecutive", 0, 0.8)])
    claim = "grouping by meaning against consecutive classes"
    assert semantic.verdict(one)[claim] == "+10.00 points on 1 seed(s): one cannot tell"
    better = [trained("distil", s, 0.90 + s / 1000) for s in range(3)]
    alike = results([*better, *(trained("consecutive", s, 0.89) for s in range(3))])
    # Differences 1.0, 1.1, 1.2 points: mean 1.1, half-width 4.303 x 0.1 / sqrt 3 = 0.248.
    assert semantic.verdict(alike)[claim] == "+1.10 points [+0.85, +1.35] over 3 seeds: better"
    apart = results([*better, *(trained("consecutive", s, a) for s, a in enumerate((0.95, 0.85, 0.9)))])
    assert semantic.verdict(apart)[claim].endswith("no difference can be told")


def test_groupings_are_compared_with_branches_absent_too():
    """Each number of them on its own; a recipe that differs in more than its groups is not asked."""
    left = {"distil": (0.69, 0.46, 0.25), "consecutive": (0.69, 0.47, 0.24), "scratch": (0.6, 0.4, 0.2)}
    found = results([trained(m, seed, 0.9, missing=kept) for m, kept in left.items() for seed in range(3)])
    said = {claim: words for claim, words in semantic.verdict(found).items() if "absent" in claim}
    claim = "grouping by meaning against consecutive classes, {} of 4 branches absent"
    assert said == {
        claim.format(1): "+0.00 points [+0.00, +0.00] over 3 seeds: no difference can be told",
        claim.format(2): "-1.00 points [-1.00, -1.00] over 3 seeds: worse",
        claim.format(3): "+1.00 points [+1.00, +1.00] over 3 seeds: better",
    }


def test_a_spare_is_held_to_what_it_wins_back_and_costs():
    """Means over seeds; FLOPs against the same seed's tree without."""
    plain = [trained("distil", seed, 0.9, missing=(0.7, 0.5, 0.2)) for seed in (0, 1)]
    spared = [trained("spare", 0, 0.9, missing=(0.885, 0.79, 0.5), flops=12)]
    spared.append(trained("spare", 1, 0.9, missing=(0.865, 0.8, 0.5), flops=14))
    said = {claim: word for claim, word in semantic.verdict(results([*plain, *spared])).items() if "spare" in claim}
    assert list(said.values()) == [True, True, False, False]
    assert list(semantic.verdict(results([*plain, spared[0]])).values()).count(True) == 3


def test_a_path_holds_by_the_lower_end_of_its_interval():
    """And parameters by what they are."""
    cell = PathCell(
        model="mobilenetv2",
        cuts=("blocks3",),
        batch=64,
        whole_s=1.0,
        path=Ratio(median=0.46, low=0.44, high=0.48, pairs=30),
        layer=Ratio(median=1.0, low=1.0, high=1.0, pairs=30),
        same=Ratio(median=1.0, low=1.0, high=1.0, pairs=30),
        analytic=0.4,
        params=0.51,
        params_overlap=0.9,
    )
    verdict = semantic.verdict(results(paths=[cell]))
    assert verdict["mobilenetv2: critical path at most 0.45 of the whole"] is True
    assert verdict["mobilenetv2: parameters at most 0.5 of the whole's, 1.05 with overlap"] is False


def test_the_command_prints_every_verdict(capsys, tmp_path, monkeypatch):
    """One document; a claim without cells says "not run"."""
    found = results([trained("full", 0, 0.9), trained("splitnet", 0, 0.85, energy=0.05)])
    monkeypatch.setattr(semantic, "run", lambda *args: found)
    monkeypatch.setattr(applications, "fetch", lambda name, root, **options: None)
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "semantic", "--results", str(tmp_path / "x.json"), "--json"])
    document = json.loads(capsys.readouterr().out)
    verdict = document["verdict"]
    assert set(document["cells"].values()) == {"not run"}
    assert verdict["splitnet leaves under 0.1 of the weight energy between groups"] is True
    assert verdict["distil at most 0.5 points under full"] == "not run"
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "semantic", "--results", str(tmp_path / "x.json")])
    assert "energy between groups: holds" in " ".join(capsys.readouterr().out.split())


def test_a_hundred_classes_are_asked_whether_meaning_helps(capsys, tmp_path, monkeypatch):
    """The default recipe against both controls, 2 points under the full model, and no paths: they are no different."""
    accuracies = {"full": 0.30, "distil": 0.285, "consecutive": 0.27, "random": 0.30}
    cells = [trained(method, seed, a + seed / 1000) for method, a in accuracies.items() for seed in range(3)]
    asked = {}

    def run(results, runs, data, settings, say, jobs):
        asked.update(results=results, runs=runs, samples=settings.samples, paths=settings.paths, jobs=jobs)
        return semantic.SemanticResults(
            application=data,
            model="mobilenetv2",
            branches=4,
            quick=False,
            trained=tuple(cells),
            provenance=provenance.collect(0),
        )

    monkeypatch.setattr(semantic, "run", run)
    monkeypatch.setattr(applications, "fetch", lambda name, root, **options: name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "semantic", "tiny100", "--samples", "30000", "--jobs", "3", "--json"])
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert {claim: said for claim, said in verdict.items() if "absent" not in claim and "spare" not in claim} == {
        "distil at most 2 points under full": True,
        "grouping by meaning against consecutive classes": "+1.50 points [+1.50, +1.50] over 3 seeds: better",
        "grouping by meaning against random groups": "-1.50 points [-1.50, -1.50] over 3 seeds: worse",
    }
    assert str(asked["results"]) == "benchmarks/results/semantic-tiny100.json"
    assert (str(asked["runs"]), asked["samples"], asked["paths"]) == ("runs/semantic-tiny100", 30_000, False)
    assert asked["jobs"] == 3


def test_a_cell_without_results_says_so(tmp_path):
    """Every network that there is to train is named, with its seeds or "not run"."""
    save(tmp_path / "semantic.json", results([trained("full", seed, 0.9) for seed in range(3)]))
    assert semantic.cells(tmp_path) == {
        "mobilenetv2 on fashionmnist": "3 seed(s)",
        "mobilenetv2 on tiny100": "not run",
        "resnet50v2 on tiny100": "not run",
        "inceptionv3 on tiny100": "not run",
    }


@pytest.mark.parametrize("option", ["--pairs", "--seeds", "--samples", "--jobs"])
def test_counts_below_one_are_refused(option, capsys):
    """By name, before anything is fetched."""
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "semantic", option, "0"])
    assert f"{option} 0: expected at least 1" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_recipe_is_trained_once_and_drawn(tmp_path, monkeypatch, noise):
    """On noise, a few steps: every recipe, one path; a second run trains nothing and finds the same."""
    monkeypatch.setattr(semantic, "PATH_GOALS", {"mobilenetv2": 0.45})
    settings = SemanticSettings(seeds=1, samples=64, passes=3, pairs=1)
    found = semantic.run(tmp_path / "results.json", tmp_path / "runs", noise, settings, lambda _: None)
    assert tuple(cell.method for cell in found.trained) == methods("noise")
    assert all(cell.passes == 3 + 2 * (cell.method == "spare") for cell in found.trained)
    plain, spared = found.trained[1], found.trained[-1]
    assert (spared.accuracy, spared.groups) == (plain.accuracy, plain.groups)
    assert spared.flops_per_sample > plain.flops_per_sample
    assert sorted(c for group in found.trained[1].groups for c in group) == [0, 1, 2, 3]
    stamp = tmp_path / "runs" / "seed0" / "full" / "provenance.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"commit": "an older one"}))
    again = semantic.run(tmp_path / "results.json", tmp_path / "runs", noise, settings, lambda _: None)
    assert again.trained[0].commit == "an older one"  # of the code that trained it, not of what collects it
    assert again.trained[0] == found.trained[0].model_copy(update={"commit": "an older one"})
    assert (again.trained[1:], again.paths) == (found.trained[1:], found.paths)
    draw_splits(tmp_path / "splits.svg", semantic.bars(again), "noise", 64)
    assert (tmp_path / "splits.svg").read_text().startswith("<?xml")


class Trainer:
    """Trains nothing: of each recipe a row, by the seed's full model; notes what was asked for."""

    def __init__(self, monkeypatch, accuracy=0.9):
        self.asked = []
        monkeypatch.setattr(semantic, "train", self.train)
        monkeypatch.setattr(semantic, "is_trained", lambda runs, task: False)
        monkeypatch.setattr(semantic, "_cell", lambda method, done, full, seed: trained(method, seed, accuracy))

    def train(self, runs, data, settings, seed, method):
        """The name of its RUN."""
        self.asked += [(seed, method)] * ((seed, method) not in self.asked)


@pytest.mark.parametrize(
    ("accuracy", "anew"), [(0.9, ["full", "spare"]), (0.8, list(methods("noise")))], ids=["the same", "another"]
)
def test_rows_outlive_their_runs(tmp_path, monkeypatch, noise, accuracy, anew):
    """What lacks is trained, and the full model that teaches it; if that is another one, all of that seed is."""
    settings, file = SemanticSettings(seeds=2, samples=16, quick=True, paths=False), tmp_path / "results.json"
    rows = [trained(method, seed, 0.9) for seed in (0, 1) for method in methods("noise")]
    before = [row for row in rows if (row.seed, row.method) != (1, "spare")]
    save(file, results(before).model_copy(update={"application": "noise"}))
    trainer = Trainer(monkeypatch, accuracy)
    found = semantic.run(file, tmp_path / "runs", noise, settings, lambda _: None)
    assert trainer.asked == [(1, method) for method in anew]
    assert [(row.seed, row.method) for row in found.trained] == [(row.seed, row.method) for row in rows]
    assert {row.accuracy for row in found.trained} == {0.9, accuracy}
    assert semantic.SemanticResults.parse(file.read_bytes(), "results") == found


def test_rows_of_other_images_are_not_kept(tmp_path, monkeypatch, noise):
    """Of a part of them, say."""
    file = tmp_path / "results.json"
    save(file, results([trained("full", 0, 0.9)]).model_copy(update={"application": "noise"}))
    trainer = Trainer(monkeypatch, 0.8)
    settings = SemanticSettings(seeds=1, samples=16_000, quick=True, paths=False)
    found = semantic.run(file, tmp_path / "runs", noise, settings, lambda _: None)
    assert [method for _, method in trainer.asked] == list(methods("noise"))
    assert {row.accuracy for row in found.trained} == {0.8}


def test_rows_of_more_seeds_than_are_asked_for_stay(tmp_path, monkeypatch, noise):
    """One is added to what two others have."""
    settings, file = SemanticSettings(seeds=1, samples=16, quick=True, paths=False), tmp_path / "results.json"
    before = [trained(method, seed, 0.9) for seed in (1, 2) for method in methods("noise")]
    save(file, results(before).model_copy(update={"application": "noise"}))
    Trainer(monkeypatch)
    found = semantic.run(file, tmp_path / "runs", noise, settings, lambda _: None)
    assert [row.seed for row in found.trained] == [seed for seed in (0, 1, 2) for _ in methods("noise")]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_trained_side_by_side_is_the_same(tmp_path, noise):
    """Two processes of one thread each, or everything here in one thread: the same cells but for their seconds."""
    settings, threads = SemanticSettings(seeds=1, samples=64, passes=3, paths=False), torch.get_num_threads()

    def cells(jobs):
        torch.set_num_threads(jobs)
        results = tmp_path / f"results-{jobs}.json"
        found = semantic.run(results, tmp_path / str(jobs), noise, settings, lambda _: None, jobs)
        return [cell.model_copy(update={"train_s": 1.0, "cost": 1.0}) for cell in found.trained]

    try:
        together, alone = cells(2), cells(1)
    finally:
        torch.set_num_threads(threads)
    assert len(together) == 6
    assert together == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "model"), [("standard", "mobilenetv2"), *(("quick", model) for model in semantic.PATH_GOALS)]
)
def test_four_branches_cut_where_the_preset_says_keep_within_the_goal(preset, model):
    """By the roofline that `--cuts auto` goes by: who asks for no cut gets a quick tree too."""
    settings = load_preset(preset).settle(model, "fashionmnist")
    network = build(model, 10, (1, 28, 28), ((0.3,), (0.3,)), settings.strides).eval()
    images = torch.randint(0, 256, (10, 1, 28, 28), dtype=torch.uint8)
    batches, tree = [Batch(images, torch.arange(10))], consecutive_tree(10, (semantic.BRANCHES,))
    fragments = grow_fragments(network, settings.cuts[:1], tree, batches, "image")
    assert share_of_whole(fragments, network, images[:2]) <= semantic.PATH_GOALS[model]
