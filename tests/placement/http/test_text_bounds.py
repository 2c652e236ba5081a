"""JSON is larger in memory than on the wire: what is held of it, when, and by how many at once."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest

from splitplace.errors import OverloadedError
from splitplace.placement.http import codec, tensors
from splitplace.placement.http.access import Visited
from splitplace.placement.http.desk import TaskOrder
from splitplace.placement.http.requests import Wish
from splitplace.placement.http.service import Ongoing


@pytest.mark.parametrize("item", [b"[0]", b"[]", b"{}"])
def test_json_of_many_lists(front, broker, item):
    """Each takes many times its letters in memory: refused before any is made, whatever is in them."""
    door = front(json_lists=1000)
    text = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 2], "data": [%b]}]}'
    refused = door.infer(text % b",".join([item] * 1000))
    assert refused.status == 413 and "1005 lists and objects, expected at most 1000" in refused.error
    assert door.infer(text % b",".join([item] * 900)).status == 400 and not broker.tasks


@pytest.mark.parametrize("data", [[[[[1, 2], [3, 4]]]], [[1], [2], [3], [4]], [[1, 2, 3, 4]]])
def test_lists_within_the_bound_are_numbers(door, image, broker, data):
    """Nested as the shape has it, or otherwise: the numbers in their order count."""
    assert door.infer({"inputs": [image | {"data": data}]}).status == 200
    assert broker.images[0].tolist() == [[[[1, 2], [3, 4]]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"shape": [1, 1, 2, 3]}, "expected UINT8[batch, 1, 2, 2]"), ({"datatype": "FP32"}, "FP32[1, 1, 2, 2]"),
     ({"shape": [2, 1, 2, 2]}, "4 elements, expected 8"), ({"shape": [2**60, 1, 2, 2]}, "4 elements, expected")],
)  # fmt: skip
def test_no_array_is_made_of_what_does_not_fit(door, image, change, message, monkeypatch):
    """What is stated is held against the model, and the elements against what is stated, before numpy sees them."""
    monkeypatch.setattr(tensors.np, "asarray", None)
    refused = door.infer({"inputs": [image | change]})
    assert refused.status == 400 and message in refused.error


def test_much_text_is_parsed_one_request_after_another(front, image, broker, monkeypatch):
    """In one thread, however many send it: while one is parsed, the event loop waits for that one alone."""
    decode, threads = codec.decode, []

    def noted(*arguments):
        threads.append(threading.current_thread().name)
        return decode(*arguments)

    monkeypatch.setattr(codec, "decode", noted)
    door, broker.at_once = front(), True
    large = {"inputs": [image | {"shape": [2**15, 1, 2, 2], "data": [1] * 2**17}]}
    with ThreadPoolExecutor(4) as pool:
        assert {answer.status for answer in pool.map(door.infer, [large] * 4)} == {200}
    assert set(threads) == {"http-parse_0"} and len(threads) == 4
    assert door.infer({"inputs": [image]}).status == 200 and threads[-1] == "http"


@pytest.mark.parametrize("path", ["index", "models/pixels/load", "models/pixels/unload"])
def test_a_document_that_has_little_to_say_is_small(door, path):
    """The repository's: 64 KiB, which the event loop reads in a moment."""
    refused = door.ask("POST", f"/v2/repository/{path}", b'{"parameters": {"a": [' + b"1," * 2**16 + b"1]}}")
    assert refused.status == 413 and "expected at most 65536" in refused.error


def test_images_count_at_their_size_until_the_fleet_has_them(front, broker):
    """Small files may be large images, and short numbers long ones: what came in is not all that is held."""
    service, broker.at_once = front(coming_bytes=3000).service, True
    for n, taken in ((700, True), (800, False)):
        order = TaskOrder("pixels", np.zeros((n, 1, 2, 2), np.uint8), None, Wish(), 9.0, None)
        with service.coming.hold() as hold, nullcontext() if taken else pytest.raises(OverloadedError, match="hold 10"):
            hold.add(10)
            asyncio.run(service.hand_over(Ongoing(received_s=0.0, visited=Visited("", "", ""), hold=hold), order))
    assert len(broker.tasks) == 1
