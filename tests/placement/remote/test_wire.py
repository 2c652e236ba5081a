"""What a front door could say by mistake: an answer, or one of our errors, and nothing else."""

import json
from email.message import Message

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splitplace.errors import SplitPlaceError
from splitplace.placement.outcome import TaskOutcome
from splitplace.placement.remote import wire
from splitplace.placement.remote.exchange import RemoteAnswer

OUTCOME = TaskOutcome(
    id=3, application="pixels", n=2, deadline_s=1.0, arrival_s=0.0, split="pixels.m.full", strategy="full", wait_s=0.0,
    execute_s=0.5, transfer_s=0.0, response_s=0.5, p=1.0, p_source="prior", missing_classes=(1,), devices=("a", "b"),
)  # fmt: skip
LOGITS = np.array([[1, -np.inf, 2.5], [np.float32(1e-40), -np.inf, 3]], np.float32)
ODD = (None, True, -1, 0, 2**63, 2**70, "", "x", [], {}, [[]], "FP64", 0.5, [2, 4], [2**62, 2**62])


def told(**changes):
    """An answer as it is told."""
    output = {"name": "logits", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}
    document = {"task": "3", "state": "answered", "outcome": OUTCOME.model_dump(mode="json", exclude_none=True)}
    return document | {"model_name": "pixels", "parameters": {"p": 1.0}, "outputs": [output]} | changes


def answer(document, tail=b"", stated=None):
    """What came in."""
    text, headers = json.dumps(document).encode(), Message()
    headers["inference-header-content-length"] = str(len(text)) if stated is None else stated
    return RemoteAnswer(200, headers, text + tail)


def test_an_answer_comes_back_bit_by_bit():
    """Outcome and logits, infinite ones and tiny ones among them."""
    found = wire.result(answer(told(), LOGITS.tobytes()))
    assert found.outcome == OUTCOME and found.logits.tobytes() == LOGITS.tobytes()


def test_a_task_under_way_has_no_answer():
    """And one that failed has an outcome alone."""
    assert wire.result(answer({"task": "3", "state": "under way"})) is None
    failed = {"id": 3, "application": "pixels", "n": 2, "deadline_s": 1.0, "arrival_s": 0.0, "error": "lost"}
    found = wire.result(answer({"task": "3", "state": "failed", "error": "lost", "outcome": failed}))
    assert found.outcome.error == "lost" and found.logits is None


@pytest.mark.parametrize("stated", ["-1", "x", "9" * 30, "\u0663", "100000", ""])
def test_a_length_that_is_none(stated):
    """Of the JSON at the start of an answer."""
    with pytest.raises(SplitPlaceError):
        wire.result(answer(told(), LOGITS.tobytes(), stated))


def places(value, here=()):
    """Every path into a document."""
    yield here
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield from places(below, (*here, key))


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(places(told()))[1:]), st.sampled_from(ODD), st.integers(0, 30))
def test_an_answer_with_one_value_replaced(place, odd, size):
    """It is still an answer, or one line says why it is none."""
    document = told()
    *above, last = place
    parent = document
    for step in above:
        parent = parent[step]
    parent[last] = odd
    try:
        found = wire.result(answer(document, bytes(size)))
    except SplitPlaceError as error:
        assert "\n" not in str(error)
    else:
        assert found is None or found.logits is None or found.logits.nbytes == size


@pytest.mark.parametrize(
    "document",
    [{}, [], {"parameters": None}, {"parameters": {}}, *({"parameters": {"task": odd}} for odd in ("x", 3, "3/../x"))],
)
def test_a_task_without_a_number(document):
    """Of a server that is no front door of ours."""
    with pytest.raises(SplitPlaceError):
        wire.ticket(answer(document))
