"""What is installed: every room under splitplace/, and nothing else at top level."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("splitting", "training", "export", "placement", "benchmarks")


def _installed_name(path: Path) -> str:
    """Where a file of the checkout stands in the wheel."""
    relative = path.relative_to(ROOT).as_posix()
    return relative if relative.startswith("splitplace/") else f"splitplace/{relative}"


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_nothing_generic(tmp_path):
    """Built from a copy, so that no build folder is left behind; every .py of every room is in it, once."""
    copy = tmp_path / "checkout"
    for name in ("splitplace", *ROOMS):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"splitplace"}
    expected = {
        _installed_name(path)
        for room in ("splitplace", *ROOMS)
        for path in (ROOT / room).rglob("*.py")
        if "results" not in path.parts
    }
    expected |= {_installed_name(path) for path in (ROOT / "placement" / "page").iterdir()}
    assert expected <= set(names)
    assert "splitplace/py.typed" in names
