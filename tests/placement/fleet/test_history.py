"""The journal: what was written is read, and nothing else."""

import pytest

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement.broker.history import Arrive, History, Start, read_history

START = Start(created="2026-01-01T00:00:00+00:00", policy="a+b", engine="local", precedence="strict", devices=("a",))
ARRIVE = Arrive(at_s=0.5, task=1, application="toy", n=3, deadline_s=1.0)


@pytest.fixture
def path(tmp_path):
    """A journal of two events."""
    journal = History(tmp_path / "run.jsonl")
    journal.append(START)
    journal.append(ARRIVE)
    journal.close()
    return tmp_path / "run.jsonl"


def test_events_are_read_as_written(path):
    """Same records, same order."""
    assert read_history(path) == (START, ARRIVE)


def test_a_line_cut_off_by_a_kill_is_left_out(path):
    """A run that was interrupted can still be looked at."""
    path.write_bytes(path.read_bytes()[:-9])
    assert read_history(path) == (START,)


@pytest.mark.parametrize("line", ['{"event":"arrive"}', '{"event":"other"}', "noise", '{"event":"arrive","x":1}', ""])
def test_a_foreign_line_is_refused_by_number(path, line):
    """Missing fields, unknown events and fields, no JSON."""
    path.write_text(START.model_dump_json() + f"\n{line}\n" + ARRIVE.model_dump_json() + "\n")
    with pytest.raises(SplitPlaceError, match=r"run\.jsonl:2: not an event"):
        read_history(path)


def test_a_file_without_a_start_is_no_journal(path):
    """Nor is an empty one, nor one that is not there."""
    path.write_text(ARRIVE.model_dump_json() + "\n")
    with pytest.raises(SplitPlaceError, match="no start event"):
        read_history(path)
    path.write_text("")
    with pytest.raises(SplitPlaceError, match="no start event"):
        read_history(path)
    with pytest.raises(UsageError, match="no journal"):
        read_history(path.with_name("other"))
