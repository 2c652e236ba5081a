"""`infer`, `classify` and the tasks that were left behind: from a request to the fleet, and from its answer back."""

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from splitplace.errors import ContractError
from splitplace.placement.http import codec, models, uploads
from splitplace.placement.http.body import unless_gone
from splitplace.placement.http.desk import TaskOrder, key_of, patience_s
from splitplace.placement.http.guard import Caller
from splitplace.placement.http.ids import NamedRequest
from splitplace.placement.http.requests import ELAPSED, LONGEST_S, Wish
from splitplace.placement.http.service import HttpService
from splitplace.placement.http.tensors import Array
from splitplace.placement.outcome import TaskFuture, TaskOutcome, TaskResult
from splitplace.records.split import Split

Head = dict[str, Any]
"""What stands in an answer's JSON beside its outputs."""


async def infer(front: HttpService, request: Request, split: Split) -> Response:
    """Tensors in, logits out."""
    with front.noting(front.ongoing(request), split.application) as note:
        future, question = await _ask(front, request, split)
        head = _head(split, question.id)
        if question.wish.detach:
            note.detached = True
            return await front.told(request, *_detached(front, request, head, future, split))
        wait_s = patience_s(question.wish, _left_s(front, request, question.wish))
        result = await front.wait(request, future, future.key is not None, wait_s)
        note.outcome = result.outcome
    return await _told(front, request, head, result, question.outputs, split)


async def _ask(front: HttpService, request: Request, split: Split) -> tuple[TaskFuture, codec.Question]:
    """Hand the task over; what came in is let go when the fleet has it."""
    body = await front.body(request)
    stated = request.headers.get("inference-header-content-length")
    work = partial(codec.decode, body, stated, models.served(split), front.limits)
    question: codec.Question = await front.decoding(codec.json_size(stated, len(body)), len(body), work)
    del work
    caller = front.caller(request)
    named = await front.named(caller, split.application, question.id, len(body), lambda: (body,))
    (images,) = question.inputs.values()
    future = await _submit(front, request, split, images, question.labels, question.wish, named)
    return future, question.without_tensors()


async def classify(front: HttpService, request: Request, split: Split) -> Response:
    """Image files in, the names of their classes out."""
    with front.noting(front.ongoing(request), split.application) as note:
        kind = request.headers.get("content-type", "")
        upload = await front.desk.reading(partial(uploads.read, kind, await front.body(request), front.limits))
        images = await front.desk.reading(partial(uploads.images, upload, split))
        names = [name for name, _ in upload.files]
        future = await _submit(front, request, split, images, None, upload.wish)
        wish = upload.wish
        del upload, images
        head = _head(split, "")
        if wish.detach:
            note.detached = True
            return await front.told(request, *_detached(front, request, head, future, split))
        result = await front.wait(request, future, False, patience_s(wish, _left_s(front, request, wish)))
        note.outcome = result.outcome
    assert result.logits is not None
    found = []
    for name, row in zip(names, result.logits, strict=True):
        best = int(row.argmax())
        known = {"class": split.class_names[best]} if split.class_names else {}
        found.append({"file": name, "index": best, **known, "logit": float(row[best])})
    head |= {"parameters": parameters(front.caller(request), result.outcome, split), "images": found}
    return await front.told(request, codec.document(head), None)


async def task(front: HttpService, request: Request) -> Response:
    """A task by what the answer to its request called it."""
    ticket, query = request.path_params["task"], request.query_params
    number = front.caller(request).task(ticket)
    wait_s = _seconds("wait_s", query.get("wait_s", "0"), front.limits.wait_s)
    classes = _count("classification", query.get("classification", "0"))
    look = front.desk.look(number, max(wait_s, 0.05))
    result = await unless_gone(look, front.ongoing(request).gone())
    head: Head = {"task": ticket, "state": "under way"}
    if result is None:
        return await front.told(request, codec.document(head), None)
    head["outcome"] = result.outcome.model_dump(mode="json", exclude_none=True)
    if result.logits is None:
        return await front.told(
            request, codec.document(head | {"state": "failed", "error": result.outcome.error}), None
        )
    split = models.pick(await front.splits(), result.outcome.application)
    head |= {"state": "answered"} | _head(split, "")
    if classes and not split.n_classes:
        raise ContractError(f"classification {classes}: what {split.application} answers are no classes")
    wanted = codec.WantedOutput(models.LOGITS, query.get("binary", "false") == "true", min(classes, split.n_classes))
    return await _told(front, request, head, result, (wanted,), split)


def _seconds(what: str, stated: str, most: float) -> float:
    try:
        found = float(stated)
    except ValueError:
        found = -1.0
    if not 0 <= found <= most:
        raise ContractError(f"{what} {stated[:40]!r}, expected seconds, 0 to {most:g}")
    return found


def _count(what: str, stated: str) -> int:
    if not (stated.isascii() and stated.isdigit()) or len(stated) > 9:
        raise ContractError(f"{what} {stated[:40]!r}, expected how many")
    return int(stated)


async def _submit(
    front: HttpService,
    request: Request,
    split: Split,
    images: Array,
    labels: Array | None,
    wish: Wish,
    named: NamedRequest | None = None,
) -> TaskFuture:
    left_s = _left_s(front, request, wish)
    order = TaskOrder(split.application, images, labels, wish, left_s, key_of(named, wish), named)
    future = await front.hand_over(front.ongoing(request), order)
    future.key = order.key
    return future


def _left_s(front: HttpService, request: Request, wish: Wish) -> float:
    """What is left of a request's deadline by now."""
    elapsed_s = _seconds(ELAPSED, request.headers.get(ELAPSED, "0"), LONGEST_S)
    return front.left_s(front.ongoing(request), wish.deadline_s) - elapsed_s


async def _told(
    front: HttpService,
    request: Request,
    head: Head,
    result: TaskResult,
    wanted: tuple[codec.WantedOutput, ...],
    split: Split,
) -> Response:
    assert result.logits is not None
    head = head | {"parameters": parameters(front.caller(request), result.outcome, split)}
    body, header_length = await front.computing(
        result.logits.nbytes, partial(codec.encode, head, {models.LOGITS: result.logits}, wanted, models.served(split))
    )
    return await front.told(request, body, header_length)


def _head(split: Split, request_id: str) -> Head:
    known = {"id": request_id} if request_id else {}
    return {"model_name": split.application, "model_version": models.VERSION, **known}


def _detached(
    front: HttpService, request: Request, head: Head, future: TaskFuture, split: Split
) -> tuple[bytes, int | None]:
    front.desk.leave(future)
    ticket = front.caller(request).ticket(future.task_id)
    told = head | {"parameters": {"task": ticket, "url": f"/v2/splitplace/tasks/{ticket}"}}
    return codec.encode(told, {}, (), models.served(split))


def parameters(caller: Caller, outcome: TaskOutcome, split: Split) -> dict[str, Any]:
    """What is told of a task: the protocol's parameters are texts and numbers, so that several classes are one text."""
    missing = [split.class_names[c] if split.class_names else str(c) for c in outcome.missing_classes]
    told = {
        "task": caller.ticket(outcome.id),
        "split": outcome.split,
        "strategy": outcome.strategy,
        "deadline_s": outcome.deadline_s,
        "devices": ",".join(outcome.devices),
        "response_s": outcome.response_s,
        "wait_s": outcome.wait_s,
        "execute_s": outcome.execute_s,
        "transfer_s": outcome.transfer_s,
        "p": outcome.p,
        "p_source": outcome.p_source,
        "missing_classes": ",".join(missing),
    }
    return {name: value for name, value in told.items() if value not in (None, "")}
