"""The order of tests by `--shuffle`."""

from types import SimpleNamespace

from tests.conftest import pytest_collection_modifyitems

COLLECTED = [f"tests/test_{file:02}.py::test_{number}" for file in range(20) for number in range(20)]


def ordered(seed):
    """What is collected, in the order of this seed; and whether xdist may change the order of files."""
    config = SimpleNamespace(getoption=lambda name: seed, option=SimpleNamespace(loadscopereorder=True))
    items = [SimpleNamespace(nodeid=name) for name in COLLECTED]
    pytest_collection_modifyitems(config, items)
    return [item.nodeid for item in items], config.option.loadscopereorder


def test_unless_it_is_asked_for_the_order_stays():
    """And xdist has the files with the most tests first, as it does."""
    assert ordered(None) == (COLLECTED, True)


def test_a_seed_is_an_order_of_files_and_of_the_tests_in_each():
    """The same each time, in every process, as xdist needs it; of all tests, those of a file one after another."""
    (found, reordered), (other, _) = ordered(0), ordered(1)
    assert not reordered and ordered(0)[0] == found != other
    assert sorted(found) == sorted(other) == sorted(COLLECTED)
    files = [name.partition("::")[0] for name in found]
    runs = [file for file, before in zip(files, [None, *files], strict=False) if file != before]
    assert len(runs) == 20 and runs != sorted(runs)
    for file in runs:
        tests = [name for name in found if name.startswith(f"{file}::")]
        assert tests != [name for name in COLLECTED if name.startswith(f"{file}::")]
