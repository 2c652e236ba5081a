"""What holds of every room: one name means one thing."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("splitplace", "splitting", "training", "export", "placement", "benchmarks")


def test_a_class_name_stands_once():
    """Two classes of one name are two things that a reader takes for one; tests' own helpers are not held to it."""
    places = defaultdict(list)
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path.relative_to(ROOT).as_posix())
    assert places["DeviceRuntime"] == ["placement/device/host.py"]
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
