"""The bench of fleets under load beside their simulation: its errors, orders, verdicts and table by hand."""

import pytest

from splitplace import provenance
from splitplace.benchmarks import loaded_testbed as bench


def cell(strategy="full", measured_s=(1.0, 2.0, 3.0), simulated_s=(1.0, 2.0, 3.0), **changes):
    """Three tasks a second apart, which only compute."""
    zeros = (0.0,) * 3

    def parts(times):
        return {"response_s": times, "wait_s": zeros, "execute_s": times, "transfer_s": zeros}

    fields = {"cores": 2, "precedence": "strict", "load": 0.5, "rate": 1.0, "images": (32,) * 3, "drift": 1.02}
    return bench.LoadedCell(
        strategy=strategy, arrival_s=(10.0, 11.0, 12.0), measured=parts(measured_s), simulated=parts(simulated_s),
        **(fields | changes),
    )  # fmt: skip


def results(*cells):
    """A whole file."""
    return bench.LoadedResults(
        handover_s=0.0004, broker_s=0.002, load=0.0, cells=cells, provenance=provenance.collect(seed=0)
    )


def four(**times):
    """A run of each split, whose tasks all take so long measured and simulated."""
    return [cell(name, (live,) * 3, (told,) * 3) for name, (live, told) in times.items()]


def test_errors_of_tasks_of_the_median_and_of_throughput():
    """Twice the first, half the second; the last answer 5 s after the first arrival, simulated, and 6 s measured."""
    found = cell(measured_s=(2.0, 1.0, 4.0))
    assert found.errors == pytest.approx([1.0, -0.5, 1 / 3])
    assert found.run_error == pytest.approx(0.0)
    assert found.throughput_error == pytest.approx(5 / 6 - 1)


def test_the_order_of_the_splits_is_kendalls():
    """Of six pairs one is the other way round: tau 2/3; a stream that one split has not met says nothing."""
    cells = four(full=(1.0, 1.0), layer=(2.0, 2.0), semantic=(3.0, 4.0), compressed=(4.0, 3.0))
    assert bench.orders(results(*cells)) == [pytest.approx(2 / 3)]
    assert bench.orders(results(*cells[:3])) == []


GOOD = {"full": (1.0, 1.0), "layer": (2.0, 2.0), "semantic": (3.0, 3.0), "compressed": (4.0, 4.0)}


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, (True, True, True, True)),
        ({"layer": (2.19, 2.0)}, (True, True, True, True)),
        ({"layer": (2.3, 2.0)}, (False, False, True, True)),
        ({"full": (1.3, 1.0), "layer": (2.6, 2.0), "semantic": (3.7, 3.0)}, (False, False, False, True)),
        ({"semantic": (4.1, 3.9)}, (True, True, True, False)),
    ],
)
def test_each_claim_is_about_what_it_says(changed, holds):
    """Every run's throughput and median response, all tasks' median, and the order."""
    assert tuple(bench.verdict(results(*four(**(GOOD | changed)))).values()) == holds


def test_the_table_has_a_row_a_run(tmp_path):
    """Means of each part, simulated and measured, from the file as written; a picture lies beside it."""
    found = results(cell(measured_s=(1.0, 2.0, 4.5)), *four(**GOOD)[1:])
    text = found.model_dump_json().encode()
    section = bench.section(text, tmp_path / "testbed-loaded.json")
    row = section.tables[0][0]
    assert (row["split"], row["response ms"], row["transfer ms"], row["drift"]) == (
        "full", "2000.0 / 2500.0", "0.0 / 0.0", "+2.0%",
    )  # fmt: skip
    assert section.remarks[1] == "Kendall's tau over 1 streams: 0.91 at least, 0.91 in the mean."
    assert "<svg" in bench.draw(tmp_path / "testbed-loaded.json", found).read_text()
