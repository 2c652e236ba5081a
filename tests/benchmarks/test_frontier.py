"""When to split and how: where a split stands, what beats what, and what is said of it."""

import pytest

from splitplace.api.demand import load_demand
from splitplace.benchmarks import frontier, frontier_page
from splitplace.benchmarks.paired import Interval
from splitplace.records.split import INPUT


def spot(variant, top1, path_s=1.0, largest=10, moved=1, strategy=None, model="net"):
    """A split by hand; its device needs a hundred bytes more than its largest fragment."""
    return frontier.SplitPoint(
        reference=f"app.{model}.{variant}", application="app", model=model, strategy=strategy or variant.split("-")[0],
        variant=variant, top1=top1, fragments=1, path_s=path_s, largest_bytes=largest, device_bytes=100 + largest,
        moved_bytes=moved,
    )  # fmt: skip


@pytest.fixture(scope="module")
def demand():
    """The one that ships."""
    return load_demand("measured")


def test_the_path_is_the_slowest_way_through_a_split(demand):
    """Of every split that ships: the largest sum over all ways from an input to an answer, tried one by one."""
    for entry in demand.splits:
        taken = {}
        for profile in reversed(entry.profiles):
            taken[profile.digest] = profile.latency_s(entry.micro_batch) * profile.core_speed / entry.micro_batch
        children = {fragment.name: [] for fragment in entry.split.fragments}
        for edge in entry.split.edges:
            if edge.src != INPUT:
                children[edge.src].append(edge.dst)

        def slowest(name, entry=entry, taken=taken, children=children):
            """From here on."""
            onwards = [slowest(child) for child in children[name]]
            return taken[entry.split.by_name[name].digest] + max(onwards, default=0.0)

        found = frontier.point(entry)
        assert found.path_s == pytest.approx(max(map(slowest, children)))
        assert found.moved_bytes == sum(edge.bytes_per_sample for edge in entry.split.edges)
        assert found.largest_bytes < found.device_bytes


def test_none_beats_what_is_on_the_frontier():
    """As costly and less accurate, and as accurate and more costly, are beaten."""
    points = [spot("full", 0.9, 4.0), spot("layer-2", 0.9, 5.0), spot("compressed-50", 0.8, 1.0)]
    points += [spot("compressed-75", 0.7, 1.0), spot("semantic-4", 0.85, 2.0)]
    assert [one.variant for one in frontier.best(points, "path_s")] == ["compressed-50", "semantic-4", "full"]


def test_a_rival_is_of_the_same_network_and_as_good():
    """A tenth more counts as as good; the most accurate of those is taken."""
    tree = spot("semantic-4", 0.8, path_s=1.0)
    points = [
        tree, spot("compressed-40", 0.9, 1.11), spot("compressed-50", 0.7, 1.09), spot("compressed-60", 0.75, 0.9),
        spot("compressed-50", 0.99, 0.5, model="other"),
    ]  # fmt: skip
    assert frontier.rival(tree, points, "path_s").variant == "compressed-60"
    assert frontier.rival(tree, points[:2], "path_s") is None


def cell(strategy, accuracy, response_s):
    """On ten hosts."""
    made = [Interval(mean, mean, mean) for mean in (accuracy, response_s)]
    return frontier.StrategyCell(application="app", strategy=strategy, accuracy=made[0], response_s=made[1])


def results(points, paper):
    """A results file by hand."""
    from splitplace import provenance

    stamp = provenance.collect(1)
    return frontier.FrontierResults(demand=stamp, micro_batch=64, points=points, paper=paper, provenance=stamp)


def test_each_claim_can_fail():
    """The paper's, and a tree's against compressed models as quick and as small."""
    tree = spot("semantic-4", 0.8, 1.0, 10)
    good = (tree, spot("compressed-50", 0.7, 1.0, 10))
    paper = (cell("layer", 0.9, 5.0), cell("semantic", 0.8, 1.0))
    assert set(frontier.verdict(results(good, paper)).values()) == {True}
    turned = (cell("layer", 0.8, 1.0), cell("semantic", 0.9, 5.0))
    worse = (tree, spot("compressed-50", 0.8, 1.0, 12), spot("compressed-60", 0.8, 9.0, 10))
    assert list(frontier.verdict(results(worse, turned)).values()) == [False] * 4
    alone = frontier.verdict(results((tree, spot("compressed-50", 0.9, 1.2, 12)), ()))
    assert list(alone.values()) == ["none is as quick", "none is as small"]


def test_what_is_said_names_the_memory_below_which_only_a_split_runs():
    """And of equals the whole model, the quickest and the one that moves least within a point of it."""
    points = [spot("full", 0.9, 4.0, 10**9, 5), spot("layer-2", 0.9, 4.4, 4 * 10**8, 9)]
    points += [spot("compressed-50", 0.895, 2.0, 6 * 10**8, 5), spot("semantic-4", 0.85, 1.0, 10**8, 20)]
    (said,) = frontier_page.words(points)
    assert "full is the most accurate (90.00 %)" in said
    assert "compressed-50 is the quickest" in said and "layer-2 needs the least memory of a device (400 MB" in said
    assert said.endswith("less than 600 MB a split is the only way, down to 100 MB (semantic-4, 85.00 %).")


@pytest.mark.slow
def test_the_papers_figure_of_the_demand_that_ships(demand, tmp_path, monkeypatch):
    """Both strategies serve the same tasks; the table and the picture have every split."""
    monkeypatch.setattr(frontier, "SEEDS", (1, 2))
    monkeypatch.setattr(frontier, "INTERVALS", 10)
    found = frontier.run(tmp_path / "fig2.json", demand, lambda said: None)
    assert {(one.application, one.strategy) for one in found.paper} == {
        (application, strategy) for application in ("mnist", "fashionmnist", "tiny100") for strategy in frontier.PAPERS
    }
    frontier_page.draw(found, tmp_path / "fig2.svg")
    drawn = (tmp_path / "fig2.svg").read_text()
    assert all(f"{name}: accuracy" in drawn for name in ("mnist", "fashionmnist", "tiny100"))
    section = frontier_page.section((tmp_path / "fig2.json").read_bytes(), tmp_path / "fig2.json")
    assert [row["split"] for row in section.tables[1]] == [entry.split.reference for entry in demand.splits]
