"""What holds of every room: one name means one thing, and a page says what is inside."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import LONG, TOGETHER

pytestmark = pytest.mark.base

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("splitplace", "splitting", "training", "export", "placement", "benchmarks")
PACKAGES = sorted(path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("__init__.py"))


def test_a_class_name_stands_once():
    """Two classes of one name are two things that a reader takes for one; tests' own helpers are not held to it."""
    places = defaultdict(list)
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path.relative_to(ROOT).as_posix())
    assert places["DeviceRuntime"] == ["placement/device/host.py"]
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("package", [*PACKAGES, Path("tests")], ids=str)
def test_a_room_says_in_a_glance_what_is_in_it(package):
    """A README whose names of files are right, of at most a page; placement's own is the manual of its policies."""
    text = (ROOT / package / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 60 or package == Path("placement")
    named = set(re.findall(r"`([a-z0-9_/]+\.py)`", text))
    assert [name for name in named if not (ROOT / package / name).exists() and not (ROOT / name).exists()] == []


def test_files_that_the_suite_orders_are_there():
    """A file that was renamed would lose its place, in silence."""
    named = [*TOGETHER, *(name for name in LONG if name not in TOGETHER.values())]
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []
