"""The journal: what was written is read, and nothing else."""

import resource
import threading
from pathlib import Path

import pytest

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement.broker.history import History, read_history
from splitplace.placement.history import Arrive, Start

START = Start(
    created="2026-01-01T00:00:00+00:00",
    policy="a+b",
    engine="local",
    precedence="strict",
    inputs="ring",
    devices=("a",),
)
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


def test_a_second_run_goes_on_in_the_file(path):
    """With a start of its own, after whatever line the first one was killed in."""
    path.write_bytes(path.read_bytes()[:-9])
    later = History(path)
    for event in (START, ARRIVE):
        later.append(event)
    later.close()
    assert read_history(path) == (START, START, ARRIVE)


def test_a_full_file_is_put_aside(path):
    """Under one other name; what goes on says of which run it is."""
    size = len(ARRIVE.model_dump_json())
    small = History(path, limit_bytes=path.stat().st_size + 2 * size)
    for event in (START, *[ARRIVE] * 5):
        small.append(event)
    small.close()
    aside = path.with_name(f"{path.name}.1")
    assert {read_history(file)[0] for file in (path, aside)} == {START}
    kept = [*read_history(aside), *read_history(path)]
    assert len(kept) <= 2 * 7
    assert max(file.stat().st_size for file in (path, aside)) <= path.stat().st_size + 3 * size


@pytest.mark.parametrize("retry_s", [0.0, 1000.0])
def test_a_file_that_cannot_be_written_leaves_a_gap(caplog, retry_s):
    """A full disk: a remark, once, however often it is tried; the events in memory go on."""
    full = History(Path("/dev/full"), retry_s=retry_s)
    for event in (START, ARRIVE):
        full.append(event)
    full.close()
    assert tuple(full.events) == (START, ARRIVE)
    assert caplog.text.count("cannot be written") == 1


def test_where_there_is_room_again_the_file_goes_on(tmp_path):
    """After what was cut off, with the start again: what is read back has a gap, and no half a line."""
    path = tmp_path / "history.jsonl"
    history = History(path, retry_s=0.0)
    history.append(START)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        history.append(ARRIVE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    history.append(ARRIVE)
    history.close()
    assert read_history(path) == (START, START, ARRIVE)
    assert tuple(history.events) == (START, ARRIVE, ARRIVE)


def events(count):
    """So many, told apart by their tasks."""
    return [ARRIVE.model_copy(update={"task": task}) for task in range(count)]


def test_pages_are_all_of_it_in_order():
    """Whatever their size: each begins where the one before ended; at the end they are empty."""
    history = History()
    for event in events(10):
        history.append(event)
    for most in (1, 3, 10, 100):
        found, after = [], 0
        while (page := history.page(after, most)).events:
            assert len(page.events) <= most and page.run == history.run and page.missed == 0
            found += page.events
            after = page.next
        assert found == events(10) and after == 10 == page.next
    assert history.page(99).events == () and history.page(99).next == 99
    assert history.page(10**30).next == 10**30 and history.page(0, 10**30).events == history.events
    assert history.page(-1, -1).events == () and history.page(-1, -1).missed == 0


def test_a_page_says_how_many_events_are_gone():
    """Those that were forgotten before they were asked for."""
    history = History(keep=4)
    for event in events(10):
        history.append(event)
    page = history.page(2)
    assert (page.missed, page.next) == (4, 10) and list(page.events) == events(10)[6:]
    assert history.page(8).missed == 0


def test_pages_are_read_while_the_loop_goes_on():
    """From another thread: no event twice, none out of order, and what is missing is counted."""
    history, count = History(keep=64), 20_000
    writer = threading.Thread(target=lambda: [history.append(event) for event in made])
    made = events(count)
    writer.start()
    after, seen, missed = 0, [], 0
    while after < count:
        page = history.page(after, 16)
        assert page.next == after + page.missed + len(page.events)
        seen += [event.task for event in page.events]
        after, missed = page.next, missed + page.missed
    writer.join()
    assert seen == sorted(set(seen)) and len(seen) + missed == count


def test_no_two_runs_are_called_the_same():
    """By which who reads on notices that the numbers began anew."""
    assert History().run != History().run
