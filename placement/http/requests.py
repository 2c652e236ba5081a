"""The JSON of a request, as the Open Inference Protocol v2 and Triton's extensions of it have it."""

from typing import Annotated, Any

from pydantic import Field

from splitplace.records.base import Record

Parameter = bool | int | float | str
Parameters = dict[Annotated[str, Field(max_length=256)], Parameter]
Size = Annotated[int, Field(ge=0, lt=2**63)]
LONGEST_S = 10**7
"""Of a deadline."""
ELAPSED = "splitplace-elapsed-s"
"""A header of ours: so many seconds of the request's deadline had passed when it was sent. It is no part of the body: a
request that is sent again says the same under its id."""
TensorName = Annotated[str, Field(min_length=1, max_length=512)]


class RequestInput(Record):
    """One tensor that the request brings: `data` in JSON, or `binary_data_size` bytes behind the JSON."""

    noun = "request"

    name: TensorName
    datatype: Annotated[str, Field(max_length=16)]
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=16)]
    parameters: Parameters = Field(default_factory=dict)
    data: list[Any] | None = None


class RequestedOutput(Record):
    """One tensor that the request asks for."""

    name: TensorName
    parameters: Parameters = Field(default_factory=dict)


class InferRequest(Record):
    """`POST v2/models/NAME/infer`. What other servers' clients put beside it in `parameters` is passed over."""

    noun = "request"

    id: Annotated[str, Field(max_length=256)] = ""
    model_name: str | None = None
    model_version: str | None = None
    parameters: Parameters = Field(default_factory=dict)
    inputs: Annotated[tuple[RequestInput, ...], Field(max_length=64)]
    outputs: Annotated[tuple[RequestedOutput, ...], Field(max_length=4096)] | None = None


class RepositoryIndexRequest(Record):
    """`POST v2/repository/index`."""

    noun = "request"

    ready: bool = False


class RepositoryRequest(Record):
    """`POST v2/repository/models/NAME/load` and `unload`."""

    noun = "request"

    parameters: dict[str, Any] = Field(default_factory=dict)


class Wish(Record):
    """What a request states in parameters that are ours."""

    noun = "request's parameters"

    deadline_s: Annotated[float, Field(gt=0, le=LONGEST_S)] | None = None
    """From the receipt of the request."""
    late: bool = False
    """Whether an answer after the deadline is wanted."""
    degrade: bool = False
    """Whether an answer of the branches that can be had in time will do."""
    detach: bool = False
    """Answer at once with the task's number, and keep its result."""


OURS = tuple(Wish.model_fields)
"""Every other parameter is somebody else's, and not looked at."""
