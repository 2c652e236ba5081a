"""The parts that the rooms' pages show run as documented: a file in the current folder, called module:Class."""

import re
from pathlib import Path

import pytest

from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario

ROOM = Path(__file__).resolve().parents[2] / "placement"


@pytest.mark.parametrize(
    ("page", "command"), [("deciders", "my_decider:Largest+least-loaded"), ("placers", "layer+my_placer:FirstFit")]
)
def test_the_part_of_a_page_runs(page, command, tmp_path, monkeypatch):
    """By the command that stands under it; every plan of it holds, and tasks finish."""
    text = (ROOM / page / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert f"splitplace simulate --policy {command} --demand upstream" in text
    (module,) = re.findall(r"(\w+):", command)
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = simulate(
        load_scenario("paper-50"), load_fleet("azure50"), load_demand("upstream"), parse_policy(command), 5, strict=True
    )
    assert set(run.metrics.decisions) <= {"layer", "semantic"}
    assert run.metrics.tasks.finished > 0


@pytest.mark.parametrize("page", ["deciders", "placers", "joint", "surrogates", "learning"])
def test_a_page_names_every_file_of_its_room(page):
    """And no other."""
    text = (ROOM / page / "README.md").read_text(encoding="utf-8")
    rows = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`(\w+\.py)`", rows))
    assert named == {path.name for path in (ROOM / page).glob("*.py")} - {"__init__.py"}
