"""Between the protocol's messages and what the front door works with: the same questions and answers as over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from splitplace.errors import ContractError, TooLargeError
from splitplace.placement.grpc.protocol import Message, message
from splitplace.placement.http import codec, models
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.requests import InferRequest, Parameter, RequestedOutput, RequestInput
from splitplace.placement.http.tensors import DATATYPES, Array, to_bytes
from splitplace.records.split import Split

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""Where a tensor of a datatype lies that is not raw bytes; FP16 always is."""
DATA_TYPES = {name: number for number, name in enumerate(DATATYPES, 1)}
"""The numbers of the protocol's enumeration `DataType`, which has them in this order."""
BINARY = {"binary_data_output": True}
MOST_INPUTS = 64

_Response, _Parameter, _Output = map(message, ("ModelInferResponse", "InferParameter", "InferOutputTensor"))


def question(asked: Message, raw: Sequence[memoryview], size: int, split: Split, limits: Limits) -> codec.Question:
    """What a `ModelInferRequest` comes to.

    Args:
        asked: It.
        raw: Its `raw_input_contents`, wherever they lie.
        size: Of all of it, in bytes.
        split: Of the model that it names.
        limits: In force.

    Raises:
        ContractError: Its tensors are not what they state, or not the model's.
    """
    for count, most, what in (
        (len(asked.inputs), MOST_INPUTS, "inputs"),
        (len(asked.outputs), limits.outputs, "outputs"),
    ):
        if count > most:
            raise ContractError(f"{count} {what}, expected at most {most}")
    if (beside := size - sum(map(len, raw))) > limits.json_bytes:
        raise TooLargeError(
            f"{beside} bytes beside raw_input_contents, expected at most {limits.json_bytes}: send tensors as those"
        )
    if raw and len(raw) != len(asked.inputs):
        raise ContractError(f"{len(raw)} raw_input_contents, expected one for each of the {len(asked.inputs)} inputs")
    inputs = []
    for row, given in enumerate(asked.inputs):
        if raw and given.HasField("contents"):
            raise ContractError(f"input {given.name[:100]!r}: contents beside raw_input_contents, expected one of them")
        stated = _values(given.parameters) | ({"binary_data_size": len(raw[row])} if raw else {})
        data = None if raw else _contents(given)
        inputs.append(
            codec.checked(
                RequestInput,
                {
                    "name": given.name,
                    "datatype": given.datatype,
                    "shape": tuple(given.shape),
                    "parameters": stated,
                    "data": data,
                },
            )
        )
    outputs = [
        codec.checked(RequestedOutput, {"name": wanted.name, "parameters": _values(wanted.parameters)})
        for wanted in asked.outputs
    ]
    request = codec.checked(
        InferRequest,
        {
            "id": asked.id,
            "parameters": _values(asked.parameters) | BINARY,
            "inputs": tuple(inputs),
            "outputs": tuple(outputs) or None,
        },
    )
    tail = raw[0] if len(raw) == 1 else memoryview(b"".join(raw))
    return codec.question_of(request, tail, models.served(split), limits)


def all_of(asked: Message, raw: Sequence[memoryview]) -> Iterator[bytes | memoryview]:
    """What a request says, the same however its maps are ordered."""
    yield asked.SerializeToString(deterministic=True)
    yield from raw


def _contents(given: Message) -> list[Any]:
    place = CONTENTS.get(given.datatype)
    if place is None:
        raise ContractError(
            f"input {given.name[:100]!r}: datatype {given.datatype[:40]!r} in contents, expected one of "
            f"{', '.join(CONTENTS)}, or raw_input_contents"
        )
    return list(getattr(given.contents, place))


def _values(parameters: Mapping[str, Message]) -> dict[str, Parameter]:
    found = {}
    for name, given in parameters.items():
        kind = given.WhichOneof("parameter_choice")
        if kind is None:
            raise ContractError(f"parameter {name[:100]!r} has no value")
        found[name] = getattr(given, kind)
    return found


def parameter(value: Parameter) -> Message:
    """A parameter as the protocol carries it."""
    if isinstance(value, bool):
        return _Parameter(bool_param=value)
    if isinstance(value, int):
        return _Parameter(int64_param=value)
    return _Parameter(double_param=value) if isinstance(value, float) else _Parameter(string_param=value)


def answer(
    request_id: str,
    told: Mapping[str, Parameter],
    logits: Array | None,
    outputs: tuple[codec.WantedOutput, ...],
    split: Split,
) -> Message:
    """A `ModelInferResponse`, its tensors as raw bytes.

    Args:
        request_id: Of the request.
        told: Parameters that say how it was answered.
        logits: (n, classes); none: there are no outputs.
        outputs: How they are told.
        split: That was asked.
    """
    response = _Response(model_name=split.application, model_version=models.VERSION, id=request_id)
    for name, value in told.items():
        response.parameters[name].CopyFrom(parameter(value))
    answers = {} if logits is None else {models.LOGITS: logits}
    for output, shape, datatype, tensor in codec.told_outputs(answers, outputs, models.served(split)):
        response.outputs.append(_Output(name=output.name, datatype=datatype, shape=shape))
        response.raw_output_contents.append(to_bytes(tensor))
    return response


def configuration(split: Split) -> Message:
    """A `ModelConfig`: what is told over HTTP, with the enumerations' numbers."""
    told = models.configuration(models.served(split))
    tensors = {
        kind: [
            {name: value for name, value in one.items() if name != "format"}
            | {"data_type": DATA_TYPES[one["data_type"].removeprefix("TYPE_")]}
            for one in told[kind]
        ]
        for kind in ("input", "output")
    }
    made: Message = message("ModelConfig")(**told | tensors)
    return made
