"""Flipped bits: every one is noticed and named, or changes nothing that anybody reads, then or later."""

import shutil
from collections import Counter

import numpy as np
import pytest

from splitplace.errors import IntegrityError, SplitPlaceError
from splitplace.placement.broker.journal import Journal
from splitplace.placement.broker.journal_reader import events
from splitplace.placement.broker.spool import Spool

OPTIONS = {"keep_events": 20, "ballast_bytes": 0}
FLIPS = {
    ("closed", "journal.db"): 700,
    ("closed", "journal.mark"): 100,
    ("closed", "spool"): 200,
    ("killed", "journal.db"): 250,
    ("killed", "journal.db-wal"): 700,
    ("killed", "journal.mark"): 50,
}


def write(folder, killed):
    """A journal with a snapshot and events before and after it, a spool with payloads of all sizes.

    Returns:
        The payloads by digest.
    """
    rng = np.random.default_rng(2)
    journal = Journal(folder / "open" / "journal.db", **OPTIONS)
    spool = Spool(folder / "open" / "spool", 2**24, journal, small_bytes=5000)
    payloads = {}
    for number in range(60):
        data = rng.bytes(int(rng.choice([30, 784, 784, 4500, 9000])))
        payloads[spool.put(data)] = data
        journal.append(b"event %d " % number + rng.bytes(int(rng.integers(200))))
        if number % 3 == 2:
            journal.commit()
        if number == 45:
            journal.snapshot(b"state " + rng.bytes(3000))
    if killed:  # all that it had written so far
        shutil.copytree(folder / "open", folder / "there", ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        journal.close()
    else:
        journal.close()
        (folder / "open").rename(folder / "there")
    return payloads


def read(folder, keys):
    """All that a broker and a reader of the history learn from a folder."""
    history = list(events(folder / "journal.db"))
    journal = Journal(folder / "journal.db", **OPTIONS)
    try:
        body, later = journal.replay()
        spool = Spool(folder / "spool", 2**24, journal, small_bytes=5000)
        spool.keep(keys)
        return history, body, list(later), {key: _get(spool, key) for key in keys}
    finally:
        journal.close()


def go_on(folder, keys):
    """As a broker does that noticed nothing: an event, a payload, a snapshot, over the pages that are free."""
    journal = Journal(folder / "journal.db", **OPTIONS)
    try:
        spool = Spool(folder / "spool", 2**24, journal, small_bytes=5000)
        spool.keep(keys)
        for number in range(30):
            journal.append(b"later %d" % number)
        key = spool.put(bytes(4000))
        journal.commit()
        journal.snapshot(b"later state")
        return key
    finally:
        journal.close()


def _get(spool, key):
    try:
        return spool.get(key)
    except IntegrityError as error:
        assert f"payload {key} is " in str(error)
        return None


@pytest.mark.slow
def test_no_flipped_bit_is_served(memory_path):
    """2,000 of them, one at a time, in what a broker left that was closed, and in what one left that was killed."""
    rng = np.random.default_rng(3)
    found = Counter()
    for (state, name), count in FLIPS.items():
        base = memory_path / state
        if not base.exists():
            payloads = write(base, state == "killed")
            trial = memory_path / "trial"
            shutil.copytree(base / "there", trial)
            expected = read(trial, payloads)
            assert expected[3] == payloads
            key = go_on(trial, payloads)
            after = read(trial, [*payloads, key])
            shutil.rmtree(trial)
        places = sorted(path for path in (base / "there").rglob("*") if name in (path.name, path.parent.name))
        sizes = [path.stat().st_size for path in places]
        for bit in rng.choice(8 * sum(sizes), count, replace=8 * sum(sizes) < count):
            trial = memory_path / "trial"
            shutil.copytree(base / "there", trial)
            place, within = 0, int(bit) // 8
            while within >= sizes[place]:
                within -= sizes[place]
                place += 1
            path = trial / places[place].relative_to(base / "there")
            data = bytearray(path.read_bytes())
            data[within] ^= 1 << int(bit) % 8
            path.write_bytes(data)
            try:
                got = read(trial, payloads)
                lost = [one for one in payloads if got[3][one] is None]
                assert [*got[:3], got[3] | {one: payloads[one] for one in lost}] == list(expected), f"{path} {bit}"
                if not lost:
                    assert go_on(trial, payloads) == key
                    assert read(trial, [*payloads, key]) == after, f"{path} {bit}"
                outcome = "payload named" if lost else "harmless"
            except SplitPlaceError as error:
                assert "journal.db" in str(error), error
                outcome = type(error).__name__
            found[state, name, outcome] += 1
            shutil.rmtree(trial)
    assert sum(found.values()) == 2000
    assert all(found["closed", name, "payload named"] > 100 for name in ("journal.db", "spool"))
    assert all(found["killed", name, "IntegrityError"] for name in ("journal.db", "journal.db-wal"))
