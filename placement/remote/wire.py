"""What is said to a front door and what it answers, as it goes over the wire: the bodies of three requests."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from splitplace.errors import IntegrityError
from splitplace.placement.http.models import LABELS
from splitplace.placement.http.requests import RequestInput
from splitplace.placement.http.tensors import NAMES, from_bytes
from splitplace.placement.outcome import TaskOutcome, TaskResult
from splitplace.placement.remote.exchange import RemoteAnswer
from splitplace.placement.serve.frames import Array, tensor
from splitplace.records.base import Record
from splitplace.records.split import Split

Body = list[bytes | memoryview]


class RemoteApps(Record):
    """What a front door serves."""

    noun = "list of applications"

    apps: tuple[Split, ...]


class RemoteTask(Record):
    """What became of a task so far."""

    noun = "task of the front door"

    task: str
    state: Literal["under way", "answered", "failed"]
    outcome: TaskOutcome | None = None
    error: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    outputs: tuple[RequestInput, ...] = ()


def submission(split: Split, images: Array, labels: Array | None, task_id: str, wish: Mapping[str, Any]) -> Body:
    """The body of a request that leaves a task behind.

    Args:
        split: One of the application's, which names its input.
        images: (n, ...).
        labels: (n,), if they are known.
        task_id: Under which it is one task, however often it is sent.
        wish: Parameters of ours.

    Raises:
        ContractError: A dtype that no split takes.
    """
    given = [(split.inputs[0].name, "images", images)] + ([(LABELS, "labels", labels)] if labels is not None else [])
    inputs, tail = list[dict[str, Any]](), Body()
    for name, what, value in given:
        line, value = tensor(what, value)
        size = {"binary_data_size": line.size_bytes}
        inputs.append({"name": name, "datatype": NAMES[line.dtype], "shape": line.shape, "parameters": size})
        if line.size_bytes:
            tail.append(value.data.cast("B"))
    head = {"id": task_id, "parameters": {**wish, "detach": True}, "inputs": inputs}
    return [json.dumps(head, separators=(",", ":")).encode(), *tail]


def ticket(answer: RemoteAnswer) -> str:
    """What a task that was left behind is asked for by.

    Raises:
        IntegrityError: Nothing that could be that is in the answer.
    """
    try:
        found = answer.json["parameters"]["task"]
    except (KeyError, TypeError):
        found = None
    if not isinstance(found, str) or number_of(found) < 0:
        raise IntegrityError("an answer without a task's number: is this a front door of ours?")
    return found


def number_of(ticket: str) -> int:
    """The number of a task by its ticket; -1 if it is none."""
    found = re.fullmatch(r"(\d{1,18})(-[0-9a-f]{1,64})?", ticket, re.ASCII)
    return int(found[1]) if found else -1


def result(answer: RemoteAnswer) -> TaskResult | None:
    """What became of a task; None while it is under way.

    Raises:
        IntegrityError: It is told otherwise than it should be.
    """
    stated = answer.headers.get("inference-header-content-length") or str(len(answer.body))
    if not (stated.isascii() and stated.isdigit()) or len(stated) > 18 or int(stated) > len(answer.body):
        raise IntegrityError(f"an answer of {len(answer.body)} bytes whose JSON would be {stated[:40]}")
    body, size = memoryview(answer.body), int(stated)
    task = RemoteTask.parse(bytes(body[:size]), "the front door's answer")
    if task.state == "under way":
        return None
    if task.outcome is None:
        raise IntegrityError(f"task {task.task} is {task.state} without an outcome")
    if task.state == "failed":
        return TaskResult(task.outcome)
    if len(task.outputs) != 1:
        raise IntegrityError(f"task {task.task} is answered with {len(task.outputs)} outputs, expected one")
    return TaskResult(task.outcome, from_bytes(task.outputs[0], body[size:]).copy())


def apps(answer: RemoteAnswer) -> dict[str, Split]:
    """One split of each application.

    Raises:
        IntegrityError: It is no such list.
    """
    return {split.application: split for split in RemoteApps.parse(answer.body, "the front door's answer").apps}
