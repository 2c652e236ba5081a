"""The picture of the frontier."""

import re

import pytest

from splitplace.report.frontier import FrontierPoint, _frontier, draw_frontier

pytestmark = pytest.mark.sim

POINTS = [
    FrontierPoint("quick", 0.1, 0.8, whole=True, keeps_up=True, chosen=False),
    FrontierPoint("worse", 0.5, 0.7, whole=False, keeps_up=True, chosen=False),
    FrontierPoint("good", 1.0, 0.9, whole=False, keeps_up=True, chosen=True),
    FrontierPoint("late", 5.0, 0.9, whole=True, keeps_up=False, chosen=False),
]


def test_every_point_is_drawn_numbered_and_listed(tmp_path):
    """By shape and fill, so that it is read without colour: nothing but greys in the file."""
    path = tmp_path / "frontier.svg"
    draw_frontier(path, POINTS, 2.0, "title")
    text = path.read_text()
    lines = re.findall(r">([^<>]+)</text>", text)
    assert {"1  quick", "2  worse", "3  good  (advised)", "4  late", "title", "deadline", "1", "2", "3", "4"} <= set(
        lines
    )
    colours = set(re.findall(r"#[0-9a-f]{6}", text))
    assert all(colour[1:3] == colour[3:5] == colour[5:7] for colour in colours)


def test_the_same_points_are_the_same_file(tmp_path):
    """To the byte."""
    for name in "ab":
        draw_frontier(tmp_path / f"{name}.svg", POINTS, 2.0, "title")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_frontier_leaves_out_what_another_beats_in_both():
    """From the quickest to the most accurate."""
    assert _frontier(POINTS) == ([0.1, 1.0], [0.8, 0.9])


def test_points_in_one_place_share_a_label(tmp_path):
    """Their numbers would lie over one another."""
    path = tmp_path / "frontier.svg"
    twins = [FrontierPoint(name, 1.0, 0.9, whole=True, keeps_up=True, chosen=False) for name in ("one", "two")]
    draw_frontier(path, [*twins, POINTS[0]], 2.0, "title")
    assert {"1, 2", "3"} <= set(re.findall(r">([^<>]+)</text>", path.read_text()))
