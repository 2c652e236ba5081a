"""Raw tensors are found where they lie, and what is asked is what protobuf reads, whatever the bytes are."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from splitplace.placement.grpc import wire

REQUEST = wire.REQUEST
TENSORS = st.lists(st.binary(max_size=300), max_size=5)


def request_of(tensors, **fields):
    """As Triton's client writes it."""
    made = service_pb2.ModelInferRequest(model_name="pixels", raw_input_contents=tensors, **fields)
    made.inputs.add(name="image", datatype="UINT8", shape=[1, 1, 2, 2])
    made.parameters["deadline_s"].double_param = 1.5
    return made


def read(data):
    """What `wire` makes of bytes, as protobuf would hand it over: the message, or none where they are no message."""
    try:
        asked, raw = wire.infer_request(data)
    except DecodeError:
        return None
    del asked.raw_input_contents[:]
    asked.raw_input_contents.extend(bytes(tensor) for tensor in raw)
    return asked


def by_protobuf(data):
    """The same by protobuf alone."""
    try:
        return REQUEST.FromString(data)
    except DecodeError:
        return None


@settings(max_examples=100, deadline=None)
@given(TENSORS, st.text(max_size=20))
def test_a_request_is_what_protobuf_reads(tensors, request_id):
    """And none of its tensors is a copy, nor in the message."""
    data = request_of(tensors, id=request_id).SerializeToString()
    asked, raw = wire.infer_request(data)
    assert not asked.raw_input_contents and [bytes(tensor) for tensor in raw] == tensors
    assert all(tensor.obj is data for tensor in raw)
    assert read(data) == by_protobuf(data)


TAG = bytes([wire._RAW])


@settings(max_examples=300, deadline=None)
@given(TENSORS, st.data())
def test_bytes_that_no_client_writes_are_what_protobuf_reads(tensors, data):
    """Cut off, changed, repeated, with fields of all kinds and numbers in between: the same, or refused by both."""
    parts = [request_of(tensors).SerializeToString()]
    beside = st.one_of(st.binary(max_size=8), st.just(TAG + b"\x02ab"), st.sampled_from(ODD))
    parts += data.draw(st.lists(beside, max_size=4))
    body = bytearray(b"".join(data.draw(st.permutations(parts))))
    for _ in range(data.draw(st.integers(0, 2))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    given_ = bytes(body[: data.draw(st.integers(0, len(body)))])
    assert read(given_) == by_protobuf(given_)


ODD = (
    b"\x08\x05",  # the model's name as a number
    b"\x0d\x00\x00\x00\x00",  # as four bytes
    b"\x80\x01\x07",  # a field of number 16
    b"\xba\x80\x00\x02ab",  # the raw tensors' tag, longer than it need be
    TAG + b"\x82\x80\x00ab",  # their length so
    TAG + b"\xff\xff\xff\xff\x0f",  # longer than all that is there
    TAG + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x43\x44",  # a group
    TAG,
)


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_looked_at_is_protobuf_s(odd):
    """Before, between and behind raw tensors."""
    whole = request_of([b"abcd", b"efgh"]).SerializeToString()
    for data in (odd + whole, whole + odd, whole + odd + whole):
        assert read(data) == by_protobuf(data)


@pytest.mark.slow
def test_no_more_fields_are_looked_at_than_so_many():
    """A million empty ones are protobuf's to read, in its own time."""
    data = TAG + b"\x00"
    asked, raw = wire.infer_request(data * 10**6)
    assert len(raw) == 10**6 and len(asked.raw_input_contents) == 10**6 - wire.MOST_FIELDS


def test_a_tensor_of_many_bytes_reaches_the_fleet_as_it_came(front, broker, connect, tensor, images):
    """Beside another one, which is wanted as well; under an id, whose every byte counts."""
    broker.at_once = True
    client, x = connect(front()), images(100_000)
    labels = np.arange(100_000, dtype=np.int64) % 4
    for _ in range(2):
        told = client.infer("pixels", [tensor(x), tensor(labels, "labels", "INT64")], request_id="once")
        np.testing.assert_array_equal(told.as_numpy("logits"), x.reshape(-1, 4).astype(np.float32))
    np.testing.assert_array_equal(broker.images[0], x)
    np.testing.assert_array_equal(broker.labels[0], labels)
    assert len(broker.tasks) == 1
    x = x.copy()
    x[-1, -1, -1, -1] ^= 1
    with pytest.raises(Exception, match="stands for another request"):
        client.infer("pixels", [tensor(x), tensor(labels, "labels", "INT64")], request_id="once")


def test_a_tensor_is_not_copied_on_its_way_to_the_fleet(door, broker, client, tensor, images):
    """What the fleet is given lies in the bytes that came in, which nobody can change."""
    client.infer("pixels", [tensor(images(30_000))])
    base = broker.images[0]
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj, bytes) and len(base.obj) > broker.images[0].nbytes
