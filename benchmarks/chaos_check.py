"""The chaos bench's checker: what became of every task, from files alone, after everything has ended.

It imports nothing of the broker and asks no process. It reads what the clients saw (`clients/*.jsonl`, and the outputs
they got), what was done to the fleet (`faults.jsonl`), the run's own history (what was put aside, if that was kept, as
`data/history-*.jsonl`, else the last of it, `history.jsonl.1`; then `history.jsonl`), and the whole models
(`wholes/*.onnx`), which it runs on every input again.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from splitplace.benchmarks.chaos_splits import images

Line = dict[str, Any]
TOLERANCE = 1e-4
"""Between logits, which lie within -1 and 1: floating point sums in another order differ by a hundredth of this."""
EXPIRED = "expired"
"""What a task that was not wanted after its deadline comes to."""
BATCH = 1000
TOLD = {"start", "place", "finish", "load", "evict", "device_down", "device_up", "run"}
"""The events that are read."""
SETTLED_S = 5.0
"""After a fault, until which another one is not alone: a device that ended is being started."""


@dataclass
class TaskHistory:
    """One key, as its client saw it, in the order it did."""

    sent: Line = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    ends: list[Line] = field(default_factory=list)
    denied: str = ""


@dataclass(frozen=True)
class Recovery:
    """From the kill of a device to an affected task's first micro-batch elsewhere."""

    detection_s: float
    rerun_s: float
    loaded: bool
    """Whether the fragment was loaded where it ran."""
    alone: bool = False
    """Whether no other fault was under way, or just over."""

    @property
    def seconds(self) -> float:
        """Both."""
        return self.detection_s + self.rerun_s


@dataclass
class Counts:
    """What was found."""

    sent: int = 0
    acknowledged: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By reason."""
    lost: list[str] = field(default_factory=list)
    """Keys of tasks that the fleet acknowledged, and then did not know."""
    twice: list[str] = field(default_factory=list)
    """Of those that ended more than once, or under two numbers."""
    wrong: list[str] = field(default_factory=list)
    """Of those whose output is not the whole model's, or of another shape, or none."""
    hung: list[str] = field(default_factory=list)
    """Of those that had not ended when everything was over."""
    compared: int = 0
    """Outputs held against the whole's."""
    largest_error: float = 0.0
    images: int = 0
    refused: int = 0
    """Times that a task was not taken; its client tried again."""
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: list[Recovery] = field(default_factory=list)


def check(folder: Path) -> Counts:
    """Count, from the files of a run.

    Args:
        folder: With `clients`, `faults.jsonl`, `data` and `wholes`.
    """
    found = Counts()
    tasks, found.refused = _tasks(folder / "clients")
    faults = list(_lines(folder / "faults.jsonl"))
    found.faults = Counter(line["kind"] for line in faults)
    run = list(_run(folder / "data"))
    ends = Counter(line["outcome"]["id"] for life in run for line in life.events if line["event"] == "finish")
    wholes = {path.stem: path for path in (folder / "wholes").glob("*.onnx")}
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    for key, task in sorted(tasks.items()):
        found.sent += 1
        if not task.numbers:
            continue
        found.acknowledged += 1
        if not task.ends:
            (found.lost if task.denied else found.hung).append(key)
            continue
        if task.denied:
            found.lost.append(key)
        numbers, results = set(task.numbers), {(end["digest"], end["error"]) for end in task.ends}
        if len(numbers) > 1 or len(results) > 1 or any(ends[number] > 1 for number in numbers):
            found.twice.append(key)
        if task.ends[0]["error"] is not None:
            found.failed[reason(task.ends[0]["error"])] += 1
            continue
        found.answered += 1
        application = task.sent["application"]
        if application not in sessions:
            sessions[application] = onnxruntime.InferenceSession(
                str(wholes[application]), providers=["CPUExecutionProvider"]
            )
        for end in _different(task.ends):
            found.compared += 1
            error = _error(folder / "clients", task.sent, end, sessions[application])
            found.largest_error = max(found.largest_error, error if np.isfinite(error) else 0.0)
            if not error <= TOLERANCE:
                found.wrong.append(key)
                break
        found.images += task.sent["n"]
    found.recoveries = list(recoveries(faults, run))
    return found


def reason(error: str) -> str:
    """Why a task failed, without what differs from task to task."""
    if error.startswith("its deadline of"):
        return EXPIRED
    named = re.sub(r"/\S*/", "", error)  # files, wherever they lie
    return re.sub(r"[\w.-]*\d[\w.:-]*", "N", named)[:120]


def _lines(path: Path) -> Iterator[Line]:
    """The lines of a file; a last one that a kill cut off is left out, and none is what the file did not begin with."""
    data = path.read_bytes() if path.is_file() else b""
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        yield json.loads(line)


def _tasks(folder: Path) -> tuple[dict[str, TaskHistory], int]:
    tasks: dict[str, TaskHistory] = defaultdict(TaskHistory)
    refused = 0
    for path in sorted(folder.glob("*.jsonl")):
        for line in _lines(path):
            task = tasks[line["key"]]
            match line["what"]:
                case "sent":
                    task.sent = line
                case "acknowledged":
                    task.numbers.append(line["task"])
                case "ended" | "again":
                    task.ends.append(line)
                    task.numbers.append(line["task"])
                case "denied":
                    task.denied = line["error"]
                case "refused":
                    refused += 1
    return tasks, refused


def _different(ends: Iterable[Line]) -> list[Line]:
    """Of those that are answers, one of those with the same bytes."""
    return list({end["digest"]: end for end in ends if end["error"] is None}.values())


def _error(folder: Path, sent: Line, end: Line, whole: onnxruntime.InferenceSession) -> float:
    """The largest difference between an output and the whole model's; infinite where they cannot be compared."""
    path = folder / str(end["output"])
    if end["output"] is None or not path.is_file():
        return float("inf")
    if hashlib.sha256(path.read_bytes()).hexdigest() != end["digest"]:
        return float("inf")
    logits = np.load(path, allow_pickle=False)
    x = images(sent["seed"], sent["n"])
    expected = np.concatenate([whole.run(None, {"x": x[i : i + BATCH]})[0] for i in range(0, len(x), BATCH)])
    if logits.shape != expected.shape:
        return float("inf")
    error = float(np.abs(logits - expected).max())
    return error if np.isfinite(error) else float("inf")


@dataclass
class BrokerLife:
    """What a broker process wrote; moments in wall-clock seconds, as the faults' are."""

    begun: float = np.inf
    events: list[Line] = field(default_factory=list)
    """In the order in which it learnt of them, but for the runs."""
    runs: dict[tuple[int, str], list[tuple[float, str, str]]] = field(default_factory=lambda: defaultdict(list))
    """By task and fragment: when a micro-batch began, on which device, of which split."""


def _run(data: Path) -> Iterator[BrokerLife]:
    """The run, broker by broker."""
    origin, created, life = 0.0, "", BrokerLife()
    for path in (*sorted(data.glob("history-*.jsonl")), data / "history.jsonl.1", data / "history.jsonl"):
        for line in _lines(path):
            event = line["event"]
            if event == "start" and line["created"] != created:
                created = line["created"]
                origin = datetime.fromisoformat(created).timestamp()
                if life.events:
                    yield life
                life = BrokerLife()
            if event not in TOLD:
                continue
            moved = {part: line[part] + origin for part in ("at_s", "start_s", "end_s") if part in line}
            life.begun = min(life.begun, _moment(line | moved))
            if event == "run":
                life.runs[line["task"], line["fragment"]].append((moved["start_s"], line["device"], line["split"]))
            else:
                life.events.append(line | moved)
    yield life


def recoveries(faults: list[Line], run: list[BrokerLife]) -> Iterator[Recovery]:
    """Of each killed device on which a fragment of an unfinished task lay, where the broker lived to see it.

    Detection ends when the run's history says that the device is down; the re-run when the first micro-batch of such a
    fragment starts elsewhere. A kill whose broker was killed before that has none.
    """
    for fault in faults:
        if fault["kind"] != "device_killed":
            continue
        life = next((life for life in reversed(run) if life.begun <= fault["at"]), BrokerLife())
        found = _recovery(fault["at"], fault["device"], life)
        if found is not None:
            others = [other for other in faults if other is not fault and other["at"] <= fault["at"] + found.seconds]
            alone = all(other["until"] + SETTLED_S <= fault["at"] for other in others)
            yield replace(found, alone=alone)


def _moment(line: Line) -> float:
    """When the broker learnt of it; never, for a line without a moment."""
    return float(line["at_s"] if "at_s" in line else line.get("end_s", np.inf))


def _recovery(at: float, device: str, life: BrokerLife) -> Recovery | None:
    lay, over, loaded = dict[tuple[int, str], str](), set[int](), set[tuple[str, str, str]]()
    down = None
    for line in life.events:
        event, before = line["event"], _moment(line) <= at
        if event == "place" and before:
            lay[line["task"], line["fragment"]] = line["device"]
        elif event == "finish" and before:
            over.add(line["outcome"]["id"])
        elif event == "load" and before:
            loaded.add((line["device"], line["split"], line["fragment"]))
        elif event == "evict" and before:
            loaded.discard((line["device"], line["split"], line["fragment"]))
        elif event == "device_down" and before:  # what was placed there, and with it elsewhere, is over
            gone = {task for (task, _), on in lay.items() if on == line["device"]}
            lay = {pair: on for pair, on in lay.items() if pair[0] not in gone}
            loaded = {row for row in loaded if row[0] != line["device"]}
        elif event == "device_down" and line["device"] == device and down is None:
            down = line["at_s"]
        elif event == "device_up" and line["device"] == device and not before and down is None:
            return None  # its end is not in the history: a full disk did not take it
    hit = [pair for pair, on in lay.items() if on == device and pair[0] not in over]
    again = [(*run, pair[1]) for pair in hit for run in life.runs.get(pair, ()) if run[0] > at and run[1] != device]
    if down is None or not again:
        return None
    start, elsewhere, split, fragment = min(again)
    return Recovery(
        detection_s=max(down - at, 0.0),
        rerun_s=max(start - down, 0.0),
        loaded=(elsewhere, split, fragment) in loaded,
    )
