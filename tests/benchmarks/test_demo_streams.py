"""What the bench of the demo's stream says of what it has."""

import pytest

from splitplace.benchmarks import demo, fleets_tables
from splitplace.benchmarks.demo import BANDIT, DEFAULT, DemoResults, DemoStream
from splitplace.provenance import collect

CLAIM = f"fewer tasks are late under {DEFAULT} than under {BANDIT} on the same streams"


def results(*late):
    """Of streams with these shares of late tasks: under the default policy, under the bandit."""
    cells = [
        DemoStream(
            seed=seed, policy=policy, first=policy == DEFAULT, tasks=50, layer_s=0.5, late=share, accuracy=0.875,
            reward=(1 - share + 0.875) / 2, response_s=0.25,
        )
        for seed, both in enumerate(late, start=1)
        for policy, share in zip((DEFAULT, BANDIT), both, strict=True)
    ]  # fmt: skip
    return DemoResults(load=0.0, cells=tuple(cells), provenance=collect())


@pytest.mark.parametrize(
    ("late", "told"),
    [
        ([(0.0, 0.25), (0.0, 0.3), (0.1, 0.4)], True),
        ([(0.25, 0.0), (0.3, 0.0), (0.4, 0.1)], False),
        ([(0.0, 0.25), (0.25, 0.0), (0.1, 0.1)], "cannot be told, the interval holds 0"),
        ([(0.0, 0.25)], "cannot be told, the interval holds 0"),
    ],
)
def test_what_is_said_of_late_tasks(late, told):
    """Only where the interval of the differences, stream by stream, lies on one side of 0; of one there is none."""
    assert demo.verdict(results(*late)) == {CLAIM: told}


def test_the_table_has_both_and_their_difference():
    """Means over streams."""
    section = fleets_tables.demo(results((0.0, 0.25), (0.5, 0.75)).model_dump_json().encode(), "demo.json")
    rows = {row["policy"]: row["late"].split()[0] for row in section.tables[0]}
    assert rows == {DEFAULT: "0.250", BANDIT: "0.500", "difference": "-0.250"}
    assert section.seeds == [1, 2]
