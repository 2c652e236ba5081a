"""The bench of a fleet beside its simulation: its errors, verdicts and table by hand.

That it runs a fleet and a simulation of the same tasks is held in tests/placement/fleet/test_as_simulated.py.
"""

import pytest

from splitplace import provenance
from splitplace.benchmarks import fleets_tables, testbed


def cell(simulated_s=1.0, measured_s=(1.0,), same=True):
    """One cell."""
    return testbed.TestbedCell(
        policy="p", precedence="strict", images=1, simulated_s=simulated_s, drift=1.1, measured_s=measured_s,
        same_actions=same,
    )  # fmt: skip


def results(*cells):
    """A whole file."""
    return testbed.TestbedResults(
        shares=(1.0,), hop_s=0.001, handover_s=0.0004, broker_s=0.002, load=0.0, cells=cells,
        provenance=provenance.collect(seed=0),
    )  # fmt: skip


def test_an_error_is_measured_over_simulated():
    """Of 2 s simulated, 1 s is -50 % and 2.5 s +25 %; the worst is the one further off, whatever its sign."""
    found = cell(2.0, (1.0, 2.5))
    assert found.errors == [-0.5, 0.25]
    assert found.worst == -0.5


@pytest.mark.parametrize(
    ("cells", "holds"),
    [
        ([cell(1.0, (1.25, 0.75))], (True, True)),
        ([cell(), cell(1.0, (1.0, 1.26))], (True, False)),
        ([cell(1.0, (0.74,))], (True, False)),
        ([cell(), cell(same=False)], (False, True)),
    ],
)
def test_every_task_counts(cells, holds):
    """The bound itself is within; one task beyond it, or one plan of its own, is told."""
    assert tuple(testbed.verdict(results(*cells)).values()) == holds


def test_the_table_has_every_cell_and_all_tasks_together(tmp_path):
    """Milliseconds and percent, from the file as written."""
    text = results(cell(0.1, (0.1, 0.11)), cell(0.2, (0.25,))).model_dump_json().encode()
    section = fleets_tables.testbed(text, tmp_path / "testbed.json")
    ((first, second),) = section.tables
    assert (first["simulated ms"], first["measured ms"], first["worst"]) == ("100.0", "105.0", "+10.0%")
    assert (second["median error"], second["drift"]) == ("+25.0%", "+10.0%")
    assert section.remarks[0].startswith("3 tasks: error 10.0% in the median, 25.0% at worst.")
