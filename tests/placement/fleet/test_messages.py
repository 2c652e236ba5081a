"""Messages: what goes in comes out, and nothing else is a message."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitplace.errors import SplitPlaceError
from splitplace.inference.encoded_images import encode_images
from splitplace.placement.protocol import codec, fields, messages, pieces
from splitplace.placement.protocol.pieces import PIECE_BYTES


def message(**values):
    """A tensor message with these tensors, as frames."""
    arrays = {name: np.asarray(value) for name, value in values.items()}
    return codec.encode(codec.tensors(3, "f0", "f1", 2, 0.5, arrays), list(arrays.values()))


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    dtype=st.sampled_from(["float32", "float16", "uint8", "int64", "bool"]),
)
def test_tensors_arrive_as_they_left(shape, dtype):
    """Any shape and dtype of a contract, bit for bit, also from a view that is not contiguous."""
    value = np.arange(np.prod(shape)).reshape(shape).astype(dtype).T
    header, values = codec.decode(message(x=value))
    assert header.job == 3 and header.dst == "f1"
    assert values["x"].dtype == value.dtype
    np.testing.assert_array_equal(values["x"], value)


def test_a_frame_at_an_odd_address_becomes_an_aligned_array():
    """Sessions read floats: a frame may start at any byte of a received buffer."""
    header, data = message(x=np.ones((2, 3), np.float32))
    shifted = memoryview(b"!" + bytes(data))[1:]
    assert codec.decode([header, shifted])[1]["x"].flags.aligned


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda h, f: ([h.replace(b'"tensors"', b'"pickle"', 1), *f]), "type"),
        (lambda h, f: ([h.replace(b'"job":3', b'"job":-3'), *f]), "job"),
        (lambda h, f: ([h.replace(b'"job":3', b'"job":"3"'), *f]), "job"),
        (lambda h, f: ([h.replace(b'"job":3', b'"job":3,"more":1'), *f]), "more"),
        (lambda h, f: ([h.replace(b"float32", b"object"), *f]), "dtype"),
        (lambda h, f: ([h.replace(b"[2,3]", b"[2,1000000]"), *f]), "expected 8000000"),
        (lambda h, f: ([h.replace(b"[2,3]", b"[2,100000000]"), *f]), "800000000 bytes, expected at most 268435456"),
        (lambda h, f: ([h, bytes(f[0])[:-1]]), "23 bytes, expected 24"),
        (lambda h, f: ([h]), "0 tensor frames, expected 1"),
        (lambda h, f: ([h, *f, *f]), "2 tensor frames, expected 1"),
        (lambda h, f: ([b"\x80\x04]"]), "not a message"),
        (lambda h, f: ([b" " * (fields.MAX_HEADER_BYTES + 1)]), "header of"),
        (lambda h, f: ([]), "header of 0 bytes"),
    ],
)
def test_what_is_no_message_is_refused(change, complaint):
    """Wrong type, field, dtype, size, number of frames; a pickle; a huge header."""
    header, *frames = message(x=np.ones((2, 3), np.float32))
    with pytest.raises(SplitPlaceError, match=complaint):
        codec.decode(change(bytes(header), frames))


SIZES = [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 5]


@given(sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=4), whole=st.lists(st.booleans(), min_size=4))
@settings(deadline=None)
def test_tensors_in_pieces_arrive_as_they_left(sizes, whole):
    """Tensors of a message, each whole or in pieces of at most `PIECE_BYTES`, come out as they went in."""
    given_ = {f"t{at}": np.arange(size, dtype=np.uint32).astype(np.uint8)[None] for at, size in enumerate(sizes)}
    header, *frames = message(**given_)
    sent = [[frame] if whole[at] else pieces.cut([frame]) for at, frame in enumerate(frames)]
    for at, size in enumerate(sizes):
        assert whole[at] or (len(sent[at]) == pieces.pieces_of(size) and max(map(len, sent[at])) <= PIECE_BYTES)
    assert sum(map(len, sent)) <= pieces.most_frames(len(sizes), sum(sizes))
    _, values = codec.decode([header, *itertools.chain(*sent)])
    for name, value in given_.items():
        np.testing.assert_array_equal(values[name], value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p: p[:-1], "tensor 't': 524288 bytes, expected 524293"),
        (lambda p: [*p, p[-1]], "2 tensor frames, expected 1"),
        (lambda p: [p[0], p[1][:-1], p[2]], "tensor 't': 524292 bytes, expected 524293"),
        (lambda p: [p[0]], "tensor 't': 262144 bytes, expected 524293"),
    ],
)
def test_other_pieces_than_a_tensors_are_refused(change, complaint):
    """One that is missing, too many, or short: counted in bytes, or in tensors."""
    header, frame = message(t=np.zeros((1, 2 * PIECE_BYTES + 5), np.uint8))
    with pytest.raises(SplitPlaceError, match=complaint):
        codec.decode([header, *change(pieces.cut([frame]))])


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_noise_is_refused(frames):
    """Random bytes raise our error and nothing else."""
    with pytest.raises(SplitPlaceError):
        codec.decode(frames)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_foreign_json_is_refused(document):
    """So does JSON that is no header of ours."""
    with pytest.raises(SplitPlaceError):
        codec.decode([json.dumps(document).encode()])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples", 10**400),
        ("micro_batch", 2**31),
        ("job", 2**53),
        ("end_s", 1.7e308),
        ("end_s", float("inf")),
        ("start_s", -1.0),
    ],
)
def test_a_number_that_a_peer_states_is_bounded(field, value):
    """Too large for arithmetic, or no time at all: no message."""
    header = json.loads(
        codec.encode(
            messages.Ran(
                job=1, fragment="f0", micro_batch=0, samples=1, sent_s=0.0, ready_s=0.0, start_s=0.0, end_s=0.0
            )
        )[0]
    )
    with pytest.raises(SplitPlaceError, match=f"not a message: .*{field}"):
        codec.decode([json.dumps(header | {field: value}).encode()])


def test_a_large_task_with_gaps_is_a_small_order():
    """5,000 micro-batches of which every hundredth is left out: some hundred bytes for its spans."""
    spans = tuple((start + 1, start + 100) for start in range(0, 5000, 100))
    order = messages.Assign(
        job=1,
        fragment="f0",
        digest="sha256:" + "0" * 64,
        n=5000,
        micro_batch=1,
        precedence="pipelined",
        window=4,
        inlets=(fields.Inlet(src="input", tensors=("x",)),),
        senders={"input": fields.BROKER},
        outlets=(fields.Outlet(dst="f1", device="peer", tensors=("f0.out",)),),
        micro_batches=spans,
    )
    (header,) = codec.encode(order)
    assert codec.decode([header]) == (order, {})
    assert len(header) < 1200


def test_an_error_that_says_nothing_travels_by_its_name():
    """As what a machine without memory raises; any other as it says, on one line."""
    assert fields.text(MemoryError()) == "MemoryError"
    assert fields.text(ValueError("two\nlines")) == "two lines"
    assert fields.text(OSError("a file \udce9")) == "a file \\udce9"  # of a name that is no UTF-8


def pictures(n=3):
    """A message of images as PNG: their frames, and what they show."""
    x = np.zeros((n, 1, 28, 28), np.uint8)
    x[:, :, 4:9] = np.arange(n, dtype=np.uint8)[:, None, None, None]
    images = encode_images(x)
    return codec.encode(codec.tensors(3, "input", "f1", 2, 0.5, {"x": images}), [images]), x


@pytest.mark.parametrize("whole", [True, False])
def test_images_as_png_arrive_as_they_left(whole):
    """Undecoded, in one frame or in pieces; they are cut out and sent on as they came."""
    frames, x = pictures(4000)
    frames = frames if whole else [frames[0], *pieces.cut(frames[1:])]
    assert whole or len(frames) > 2
    header, values = codec.decode(frames)
    assert header.frames[0].size_bytes == values["x"].nbytes < x.nbytes
    np.testing.assert_array_equal(values["x"].decode(), x)
    part = values["x"][7:9]
    again = codec.decode(codec.encode(codec.tensors(3, "input", "f2", 2, 0.5, {"x": part}), [part]))[1]["x"]
    np.testing.assert_array_equal(again.decode(), x[7:9])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda h, f: ([h, bytes(f[0])[:-1]]), "bytes, expected"),
        (lambda h, f: ([h.replace(b"[3,1,28,28]", b"[4,1,28,28]"), *f]), "3 of .* bytes, expected 4 of"),
        (lambda h, f: ([h.replace(b"[3,1,28,28]", b"[3,2,28,28]"), *f]), "1 or 3"),
        (lambda h, f: ([h.replace(b"[3,1,28,28]", b"[3,784]"), *f]), "1 or 3"),
        (lambda h, f: ([h.replace(b"[3,1,28,28]", b"[3,1,2,2]"), *f]), "expected 1 to 4"),
        (lambda h, f: ([h.replace(b"uint8", b"int8"), *f]), "int8 as PNG, expected uint8"),
        (lambda h, f: ([h.replace(b'"png":[', b'"png":[0,'), *f]), "png"),
        (lambda h, f: ([h.replace(b'"png":[', b'"png":[1000000000,'), *f]), "expected at most 268435456"),
        (lambda h, f: ([h.replace(b'"png":[', b'"png":["x",'), *f]), "png"),
    ],
)
def test_images_that_are_not_what_the_header_says_are_refused(change, complaint):
    """Sizes that do not add up, other shapes, other numbers: before a picture is looked at."""
    (header, *frames), _ = pictures()
    with pytest.raises(SplitPlaceError, match=complaint):
        codec.decode(change(header, frames))
