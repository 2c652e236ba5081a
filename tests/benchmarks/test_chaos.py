"""The chaos bench: its checker finds each fault in histories made by hand, and a fleet under forty faults has none."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest

from splitplace.benchmarks import chaos, chaos_check, chaos_faults, chaos_splits
from splitplace.benchmarks.chaos_history import KeptHistory
from splitplace.errors import UsageError
from splitplace.inference.executor import Executor

KEYS = ("0-0", "0-1", "1-0")
CREATED, ORIGIN_S = "1970-01-01T00:16:40.000+00:00", 1000.0


@cache
def as_it_should_be(application, number):
    """A whole model, and what the split of it answers to a task."""
    artifact, whole = chaos_splits.build(application, seed=3)
    x = chaos_splits.images([3, number], 70)
    return whole, Executor(artifact.split, artifact.models.__getitem__).run({"x": x}, 64)


class Run:
    """Three tasks as they should be, in the files that the checker reads; each test spoils one thing."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "clients").mkdir()
        (folder / "data").mkdir()
        (folder / "wholes").mkdir()
        self.clients = {key: [] for key in KEYS}
        self.faults = []
        self.history = [{"event": "start", "created": CREATED}]
        for number, (key, application) in enumerate(zip(KEYS, ("chain", "tree", "tree"), strict=True)):
            whole, logits = as_it_should_be(application, number)
            (folder / "wholes" / f"{application}.onnx").write_bytes(whole)
            sent = {
                "what": "sent",
                "key": key,
                "application": application,
                "n": 70,
                "seed": [3, number],
                "short": False,
            }
            self.clients[key] += [sent, {"what": "acknowledged", "key": key, "task": number}]
            self.end(key, number, logits)
            self.history.append({"event": "finish", "at_s": 5.0 + number, "outcome": {"id": number}})

    def end(self, key, number, logits=None, error=None, what="ended"):
        """A line of a client, and the output's file."""
        name = digest = None
        if logits is not None:
            name = f"{key}-{len(self.clients[key])}.npy"
            np.save(self.folder / "clients" / name, logits)
            digest = hashlib.sha256((self.folder / "clients" / name).read_bytes()).hexdigest()
        line = {"what": what, "key": key, "task": number, "output": name, "digest": digest, "error": error}
        self.clients[key].append(line)

    def logits(self, key):
        """The output that a client got."""
        return np.load(self.folder / "clients" / self.clients[key][2]["output"])

    def spoil(self, key, logits):
        """The client got this instead."""
        del self.clients[key][2]
        self.end(key, KEYS.index(key), logits)

    def check(self):
        """What the checker finds."""

        def write(path, lines):
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

        for key, lines in self.clients.items():
            write(self.folder / "clients" / f"{key}.jsonl", lines)
        write(self.folder / "faults.jsonl", self.faults)
        write(self.folder / "data" / "history.jsonl", self.history)
        return chaos_check.check(self.folder)


@pytest.fixture
def made(tmp_path):
    """Three tasks as they should be."""
    return Run(tmp_path)


def spoilt(found):
    """The keys that something is wrong with, by what."""
    named = {name: getattr(found, name) for name in ("lost", "twice", "wrong", "hung")}
    return {name: keys for name, keys in named.items() if keys}


def test_a_run_as_it_should_be_has_no_fault(made):
    """Every output is compared; a split is its whole, run another way."""
    found = made.check()
    assert spoilt(found) == {}
    assert (found.sent, found.acknowledged, found.answered, found.compared, found.images) == (3, 3, 3, 3, 210)
    assert found.largest_error < chaos_check.TOLERANCE / 10


def test_a_task_that_the_fleet_does_not_know_any_more_is_lost(made):
    """Without an end, and also after one."""
    made.clients["0-1"][2] = {"what": "denied", "key": "0-1", "task": 1, "error": "no task 1"}
    made.clients["1-0"].append({"what": "denied", "key": "1-0", "task": 2, "error": "no task 2"})
    assert spoilt(made.check()) == {"lost": ["0-1", "1-0"]}


def test_a_task_without_an_end_hangs(made):
    """It was acknowledged, and nothing followed; one that was not acknowledged is nobody's."""
    del made.clients["0-1"][2]
    del made.clients["1-0"][1:]
    found = made.check()
    assert spoilt(found) == {"hung": ["0-1"]}
    assert (found.sent, found.acknowledged) == (3, 2)


@pytest.mark.parametrize("how", ["in the run's history", "another failure", "another output", "another number"])
def test_a_task_that_ends_twice_is_found(made, how):
    """By the run's history, whatever the client saw; and by what the client saw, whatever the history says."""
    if how == "in the run's history":
        made.history.append({"event": "finish", "at_s": 9.0, "outcome": {"id": 1}})
    elif how == "another failure":
        made.end("0-1", 1, error="it was cancelled", what="again")
    elif how == "another output":
        made.end("0-1", 1, made.logits("0-1") + np.float32(1e-6), what="again")
    else:
        made.clients["0-1"].insert(2, {"what": "acknowledged", "key": "0-1", "task": 7})
    assert spoilt(made.check()) == {"twice": ["0-1"]}


@pytest.mark.parametrize(
    "how", ["one number", "rows in another order", "a row less", "nan", "another file", "no output"]
)
def test_a_wrong_output_is_found(made, how):
    """Among 70 right ones, one number will do."""
    logits = made.logits("0-1")
    if how == "one number":
        logits[69, 2] += 2 * chaos_check.TOLERANCE
    elif how == "rows in another order":
        logits = logits[::-1]
    elif how == "a row less":
        logits = logits[:-1]
    elif how == "nan":
        logits[3, 1] = np.nan
    elif how == "no output":
        logits = None
    made.spoil("0-1", logits)
    if how == "another file":
        name = made.clients["0-1"][2]["output"]
        np.save(made.folder / "clients" / name, logits + 1)
    assert spoilt(made.check()) == {"wrong": ["0-1"]}


def test_a_later_output_that_is_wrong_is_found(made):
    """What is asked for again is held against the whole, too."""
    made.end("0-1", 1, made.logits("0-1") + 1, what="again")
    assert spoilt(made.check()) == {"twice": ["0-1"], "wrong": ["0-1"]}


def test_a_reason_says_no_file_of_this_machine():
    """Its name, and not where it lies."""
    said = "it was refused: /home/me/7/data/journal.sqlite: cannot be written"
    assert chaos_check.reason(said) == "it was refused: journal.sqlite: cannot be written"


def test_failures_are_counted_by_reason(made):
    """Names and numbers do not tell one reason from another; a deadline that has passed has a word of its own."""
    errors = ("its deadline of 1.5 s has passed: x", "device d-1 is lost: 9", "device d-2 is lost: 7")
    for key, error in zip(KEYS, errors, strict=True):
        made.spoil(key, None)
        made.clients[key][2]["error"] = error
    found = made.check()
    assert found.failed == Counter({"device N is lost: N": 2, chaos_check.EXPIRED: 1})
    assert found.answered == 0 and spoilt(found) == {}


def test_recovery_is_from_the_kill_to_the_first_run_elsewhere(made):
    """Of a fragment that lay on the killed device, of a task that had not ended; detection apart, other runs none."""
    made.faults = [{"kind": "device_killed", "at": ORIGIN_S + 10.0, "until": ORIGIN_S + 10.0, "device": "a"}]
    place = {"event": "place", "at_s": 8.0, "attempt": 0}
    ran = {"event": "run", "split": "s", "micro_batch": 0}
    made.history += [
        {"event": "load", "device": "b", "split": "s", "fragment": "f", "start_s": 1.0, "end_s": 2.0},
        place | {"task": 0, "fragment": "f", "device": "a"},  # it has ended
        place | {"task": 8, "fragment": "f", "device": "a"},
        place | {"task": 8, "fragment": "g", "device": "b"},
        ran | {"task": 8, "fragment": "g", "device": "b", "start_s": 10.01, "end_s": 10.02},  # was there before
        {"event": "device_down", "at_s": 10.1, "device": "a"},
        ran | {"task": 0, "fragment": "f", "device": "b", "start_s": 10.11, "end_s": 10.12},
        ran | {"task": 8, "fragment": "f", "device": "b", "start_s": 10.3, "end_s": 10.4},
        ran | {"task": 8, "fragment": "f", "device": "c", "start_s": 10.5, "end_s": 10.6},
    ]
    (found,) = made.check().recoveries
    assert (found.detection_s, found.rerun_s, found.seconds) == pytest.approx((0.1, 0.2, 0.3))
    assert found.loaded and found.alone


def test_the_whole_history_is_read_in_the_order_in_which_it_was_put_aside(made):
    """Twelve files, of which the first and the last have each an end of one task."""
    for number in range(1, 12):
        ends = [{"event": "finish", "at_s": 1.0, "outcome": {"id": 2}}] if number == 1 else []
        lines = [{"event": "start", "created": CREATED}, {"event": "place", "at_s": 1.0 + number, "task": number,
                 "fragment": "f", "device": "a"}, *ends]  # fmt: skip
        path = made.folder / "data" / f"history-{number:04}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert spoilt(made.check()) == {"twice": ["1-0"]}
    (life,) = chaos_check._run(made.folder / "data")
    assert [line["task"] for line in life.events if line["event"] == "place"] == list(range(1, 12))


def test_all_that_a_history_puts_aside_is_kept(tmp_path):
    """Also what took the place of another since the last look; nothing twice, and in the end what is there."""
    data = tmp_path / "data"
    data.mkdir()
    with KeptHistory(data, tmp_path / "kept") as kept:
        for text in ("first", "second"):
            (data / "history.jsonl").write_text(text)
            (data / "history.jsonl").replace(data / "history.jsonl.1")
            kept.look()
            kept.look()
        (data / "history.jsonl").write_text("third")
        (data / "history.jsonl").replace(data / "history.jsonl.1")
        (data / "history.jsonl").write_text("fourth")
    found = {path.name: path.read_text() for path in (tmp_path / "kept").iterdir()}
    names = [f"history-{number:04}.jsonl" for number in (1, 2, 3)]
    assert found == dict(zip([*names, "history.jsonl"], ["first", "second", "third", "fourth"], strict=True))


ONLY_KILLED: tuple[chaos_faults.Kind, ...] = ("device_killed",)
KILLED_AND_FULL: tuple[chaos_faults.Kind, ...] = ("device_killed", "disk_full")


def test_every_kind_of_fault_is_on_the_schedule():
    """Once at least, in an order and at times that the seed tells."""
    found = chaos_faults.schedule(40, 5, chaos_faults.KINDS)
    assert {fault.kind for fault in found} == set(chaos_faults.KINDS) and len(found) == 40
    assert found == chaos_faults.schedule(40, 5, chaos_faults.KINDS) != chaos_faults.schedule(40, 6, chaos_faults.KINDS)
    paused = [fault.lasts_s for fault in found if fault.kind == "device_paused"]
    assert all(2 <= lasts_s <= 20 for lasts_s in paused)


def test_faults_of_some_kinds_at_stated_gaps():
    """As named, and nothing else; a kind that there is not is refused by the names of those that there are."""
    assert chaos.kinds("") == chaos_faults.KINDS and chaos.kinds("disk_full, device_killed") == KILLED_AND_FULL
    found = chaos_faults.schedule(9, 5, ("device_killed",), (6.0, 6.0))
    assert {(fault.kind, fault.gap_s) for fault in found} == {("device_killed", 6.0)}
    with pytest.raises(UsageError, match=r"^--only device_dead: expected some of device_killed, device_paused,"):
        chaos.kinds("device_killed,device_dead")


@pytest.mark.slow
def test_devices_killed_one_at_a_time(tmp_path):
    """A device killed every eight seconds: nothing else is brought about, and no task is lost."""
    found = chaos.run(tmp_path / "chaos.json", tmp_path / "work", 3, 7, lambda _: None, kinds=ONLY_KILLED, every_s=8.0)
    assert found.faults == {"device_killed": 3} and not found.not_run and found.every_s == 8.0
    assert (found.lost, found.twice, found.wrong, found.hung) == (0, 0, 0, 0)


@pytest.mark.slow
def test_forty_faults_lose_no_task(tmp_path):
    """Of every kind that can be brought about here: nothing lost, ended twice, wrong or hanging; no time is judged.

    Inputs go in a ring; those of the chain and the tree, which one fragment takes, as by broadcast.
    """
    found = chaos.run(tmp_path / "chaos.json", tmp_path / "work", 40, 7, lambda _: None, "ring")
    assert sum(found.faults.values()) == 40
    assert set(found.faults) | set(found.not_run) >= set(chaos_faults.KINDS)
    assert found.answered > 0 and found.compared >= found.answered
    assert (found.lost, found.twice, found.wrong, found.hung) == (0, 0, 0, 0)
    assert chaos.ChaosResults.parse((tmp_path / "chaos.json").read_text(encoding="utf-8"), "results") == found


def test_a_disk_does_not_outlive_a_process_that_is_asked_to_end(tmp_path):
    """SIGTERM unmounts what was mounted, and the process says by what it ended."""
    script = (
        "import sys, time, pathlib\n"
        "from splitplace.benchmarks.chaos_faults import small_disk\n"
        "with small_disk(pathlib.Path(sys.argv[1]), 2**20) as mounted:\n"
        "    print(mounted, flush=True)\n"
        "    time.sleep(600)\n"
    )
    disk = tmp_path / "disk"
    with subprocess.Popen([sys.executable, "-c", script, str(disk)], stdout=subprocess.PIPE, text=True) as child:
        mounted = child.stdout.readline().strip() == "True"
        assert os.path.ismount(disk) == mounted
        child.send_signal(signal.SIGTERM)
        status = child.wait(300)
    assert not os.path.ismount(disk)
    assert status == (128 + signal.SIGTERM if mounted else -signal.SIGTERM)
