"""The page and the picture a person looks at."""

from xml.etree import ElementTree

from splitplace.report.page import Section, Table, render
from splitplace.report.timeline import Span, TaskSpan, timeline_svg


def test_a_page_escapes_what_it_is_given():
    """A device name is text, never markup."""
    page = render("run", [Section("devices", table=Table(("name",), [["<script>"]]))], {"commit": "a&b"})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a&amp;b" in page


def test_the_timeline_is_one_drawing_with_a_lane_per_device():
    """Well-formed SVG that names every device, the same bytes for the same run."""
    spans = [Span("pi-0", "layer", 0.0, 0.5), Span("pi-1", "semantic", 0.2, 0.4)]
    tasks = [TaskSpan("layer", 0.0, 0.6, 0.5), TaskSpan("semantic", 0.1, 0.3, 1.0)]
    drawing = timeline_svg(["pi-0", "pi-1"], spans, tasks)
    root = ElementTree.fromstring(drawing)  # noqa: S314 - our own drawing
    text = "".join(root.itertext())
    assert "pi-0" in text
    assert "pi-1" in text
    assert drawing == timeline_svg(["pi-0", "pi-1"], spans, tasks)


def test_a_run_without_tasks_can_be_drawn():
    """Nothing happened is a picture too."""
    assert timeline_svg(["pi-0"], [], []).startswith("<svg")
