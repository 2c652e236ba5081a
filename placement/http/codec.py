"""A request's body to arrays, and an answer to a body: a JSON document, and behind it the tensors that are binary."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from splitplace.errors import ContractError, TooLargeError, first_problem
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.models import LABELS, ServedModel, sides
from splitplace.placement.http.requests import OURS, InferRequest, Parameters, RequestInput, Wish
from splitplace.placement.http.tensors import (
    NAMES,
    Array,
    check_finite,
    classified,
    dtype_of,
    from_bytes,
    from_json,
    to_bytes,
    to_json,
)
from splitplace.records.base import Record

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class WantedOutput:
    """How an output is to be told."""

    name: str
    binary: bool
    classes: int = 0
    """So many of the highest as text, in place of the logits; 0: the tensor."""


@dataclass(frozen=True, eq=False)
class Question:
    """What an infer request comes to."""

    id: str
    inputs: Mapping[str, Array]
    labels: Array | None
    wish: Wish
    outputs: tuple[WantedOutput, ...]

    def without_tensors(self) -> "Question":
        """What is still wanted of it when the fleet has its tensors."""
        return replace(self, inputs={}, labels=None)


def decode(body: bytes | bytearray, header_length: str | None, model: ServedModel, limits: Limits) -> Question:
    """The body of an infer request.

    Args:
        body: Decompressed.
        header_length: Of the JSON at its start, as the header `Inference-Header-Content-Length` has it; none: all of it
            is JSON; 0: it is the one input's raw bytes.
        model: What is asked.
        limits: In force.

    Raises:
        ContractError: It is no such request, or its tensors are not what they state.
        TooLargeError: Its JSON is.
    """
    size = json_size(header_length, len(body))
    if size == 0 and header_length is not None:
        request, tail = _raw_request(model, len(body)), memoryview(body)
    else:
        if size > limits.json_bytes:
            raise TooLargeError(
                f"a JSON part of {size} bytes, expected at most {limits.json_bytes}: send tensors as binary data"
            )
        text, tail = bytes(memoryview(body)[:size]), memoryview(body)[size:]
        if (lists := text.count(b"[") + text.count(b"{")) > limits.json_lists:
            raise TooLargeError(
                f"a JSON part of {lists} lists and objects, expected at most {limits.json_lists}: send data as one "
                "flat list, or as binary data"
            )
        request = parse(InferRequest, text)
    return question_of(request, tail, model, limits)


def question_of(request: InferRequest, tail: memoryview, model: ServedModel, limits: Limits) -> Question:
    """What a request comes to, whatever it came by.

    Args:
        request: It.
        tail: The binary tensors, one behind the other.
        model: What is asked.
        limits: In force.

    Raises:
        ContractError: Its tensors are not what they state, or not the model's.
    """
    _check_stated(request, model)
    arrays = _arrays(request, tail)
    labels = arrays.pop(LABELS, None) if model.labelled else None
    for spec in model.inputs:
        check_finite(spec.name, arrays[spec.name])
    if len({len(value) for value in arrays.values()}) > 1:
        sizes = ", ".join(f"{len(value)} of {name}" for name, value in arrays.items())
        raise ContractError(f"inputs of {sizes}, expected as many of each")
    return Question(request.id, arrays, labels, wish(request.parameters), _wanted(request, model, limits))


def parse(kind: type[R], text: bytes) -> R:
    """A JSON document that a client sent.

    Raises:
        ContractError: It is no such document.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise ContractError(f"not a {kind.noun} of the protocol: {first_problem(error)}") from error


def checked(kind: type[R], fields: Mapping[str, Any]) -> R:
    """The same of values that came otherwise.

    Raises:
        ContractError: They are no such document.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise ContractError(f"not a {kind.noun} of the protocol: {first_problem(error)}") from error


def wish(parameters: Mapping[str, Any]) -> Wish:
    """Of a request's parameters those that are ours.

    Raises:
        ContractError: One of them is of another kind or out of its range.
    """
    ours = {name: parameters[name] for name in OURS if name in parameters}
    if isinstance(ours.get("deadline_s"), int) and not isinstance(ours["deadline_s"], bool):
        ours["deadline_s"] = float(min(ours["deadline_s"], 10**9))
    try:
        return Wish(**ours)
    except ValidationError as error:
        raise ContractError(f"parameter {first_problem(error)}") from error


def json_size(stated: str | None, size: int) -> int:
    """How much of a body is its JSON, by the header that says so; without one all of it is.

    Raises:
        ContractError: The header says nothing that can be.
    """
    if stated is None:
        return size
    if not (stated.isascii() and stated.isdigit()) or len(stated) > 19 or int(stated) > size:
        raise ContractError(f"Inference-Header-Content-Length {stated[:40]!r}, expected 0 to {size}, the body's length")
    return int(stated)


def _raw_request(model: ServedModel, size: int) -> InferRequest:
    spec = model.inputs[0]
    if len(model.inputs) > 1:
        raise ContractError(f"raw bytes of one input, expected {len(model.inputs)} inputs, each by its name")
    if size % spec.bytes_per_sample:
        raise ContractError(f"input {spec.name!r}: {size} bytes, expected a multiple of {spec.bytes_per_sample}")
    shape = (size // spec.bytes_per_sample, *sides(spec))
    stated = RequestInput(
        name=spec.name, datatype=NAMES[spec.dtype], shape=shape, parameters={"binary_data_size": size}
    )
    return InferRequest(inputs=(stated,), parameters={"binary_data_output": True})


def _arrays(request: InferRequest, tail: memoryview) -> dict[str, Array]:
    found: dict[str, Array] = {}
    start = 0
    for stated in request.inputs:
        if stated.name in found:
            raise ContractError(f"input {stated.name!r} stands twice")
        size = stated.parameters.get("binary_data_size")
        if "shared_memory_region" in stated.parameters:
            raise ContractError(f"input {stated.name!r}: no shared memory is taken, expected binary data or JSON")
        if (size is None) == (stated.data is None):
            raise ContractError(f"input {stated.name!r}: expected either data or a binary_data_size")
        if stated.data is not None:
            found[stated.name] = from_json(stated, stated.data)
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tail) - start:
            raise ContractError(
                f"input {stated.name!r}: binary_data_size {str(size)[:40]}, expected 0 to {len(tail) - start}, what is "
                "left of the body"
            )
        found[stated.name] = from_bytes(stated, tail[start : start + size])
        start += size
    if start != len(tail):
        raise ContractError(f"{len(tail) - start} bytes behind the last tensor, expected none")
    return found


def _check_stated(request: InferRequest, model: ServedModel) -> None:
    """Hold what inputs are said to be against what the model takes, before anything is made of their data."""
    stated = {one.name: one for one in request.inputs}
    if (stated.keys() - {LABELS} if model.labelled else stated.keys()) != {spec.name for spec in model.inputs}:
        got = ", ".join(one.name for one in request.inputs) or "none"
        beside = f" (and {LABELS}, if the true classes are known)" if model.labelled else ""
        raise ContractError(f"inputs {got[:500]}, expected {', '.join(spec.name for spec in model.inputs)}{beside}")
    for spec in model.inputs:
        one = stated[spec.name]
        dtype_of(one)
        if one.datatype != NAMES[spec.dtype] or len(one.shape) != len(spec.shape) or [*one.shape[1:]] != sides(spec):
            raise ContractError(
                f"input {spec.name!r}: {one.datatype}{list(one.shape)}, expected "
                f"{NAMES[spec.dtype]}[{', '.join(map(str, spec.shape))}]"
            )
        if not one.shape[0]:
            raise ContractError(f"input {spec.name!r}: no image, expected at least one")


def _wanted(request: InferRequest, model: ServedModel, limits: Limits) -> tuple[WantedOutput, ...]:
    all_binary = _flag(request.parameters, "binary_data_output", False)
    if not request.outputs:
        return tuple(WantedOutput(spec.name, all_binary) for spec in model.outputs)
    if len(request.outputs) > limits.outputs:
        raise ContractError(f"{len(request.outputs)} outputs, expected at most {limits.outputs}")
    found: list[WantedOutput] = []
    for output in request.outputs:
        name = output.name
        if name not in {spec.name for spec in model.outputs}:
            names = ", ".join(spec.name for spec in model.outputs)
            raise ContractError(f"output {name[:100]!r}, expected {names}")
        if "shared_memory_region" in output.parameters:
            raise ContractError(f"output {name!r}: no shared memory is given, expected binary data or JSON")
        classes = output.parameters.get("classification", 0)
        if (
            isinstance(classes, bool)
            or not isinstance(classes, int)
            or classes < 0
            or (classes and not model.n_classes)
        ):
            raise ContractError(
                f"output {name!r}: classification {str(classes)[:40]!r}, expected how many of its "
                f"{model.n_classes} classes"
            )
        binary = _flag(output.parameters, "binary_data", all_binary)
        found.append(WantedOutput(name, binary, min(classes, model.n_classes)))
    for name in {output.name for output in found}:
        if (times := sum(output.name == name for output in found)) > 1:
            raise ContractError(f"output {name!r} stands {times} times, expected once")
    return tuple(found)


def _flag(parameters: Parameters, name: str, otherwise: bool) -> bool:
    value = parameters.get(name, otherwise)
    if not isinstance(value, bool):
        raise ContractError(f"parameter {name}: {str(value)[:40]!r}, expected true or false")
    return value


def document(told: Mapping[str, Any]) -> bytes:
    """A JSON document as it is sent."""
    return json.dumps(told, allow_nan=False, separators=(",", ":")).encode()


def encode(
    head: Mapping[str, Any], answers: Mapping[str, Array], wanted: Sequence[WantedOutput], model: ServedModel
) -> tuple[bytes, int | None]:
    """The body of an answer.

    Args:
        head: What stands in the JSON beside the outputs.
        answers: By output; empty: there are none.
        wanted: How they are told.
        model: That was asked.

    Returns:
        The body, and how much of it is the JSON; None where all of it is.
    """
    outputs, tail = [], []
    for output, shape, datatype, value in told_outputs(answers, wanted, model):
        told: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": shape}
        if output.binary:
            tail.append(to_bytes(value))
            told["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            told["data"] = to_json(value)
        outputs.append(told)
    text = document(dict(head) | {"outputs": outputs})
    return (b"".join((text, *tail)), len(text)) if tail else (text, None)


def told_outputs(
    answers: Mapping[str, Array], wanted: Sequence[WantedOutput], model: ServedModel
) -> Iterator[tuple[WantedOutput, list[int], str, Array | list[list[str]]]]:
    """Each output with its shape, its datatype and what is in it: the logits, or the names of the highest."""
    for output in wanted if answers else ():
        value = answers[output.name]
        if output.classes:
            yield output, [len(value), output.classes], "BYTES", classified(value, output.classes, model.class_names)
        else:
            yield output, list(value.shape), NAMES[value.dtype.name], value
