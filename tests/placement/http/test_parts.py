"""The parts that know no server, each alone: paces, codings, statistics, tensors, held against other ways to say it."""

import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitplace.errors import CAUSES, ConflictError, ContractError, OverloadedError
from splitplace.placement.http import codec, compression, models
from splitplace.placement.http.body import Coming
from splitplace.placement.http.departures import Departures
from splitplace.placement.http.ids import KnownIds, NamedRequest, said_by
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.refusals import refusal
from splitplace.placement.http.requests import Wish
from splitplace.placement.http.statistics import ModelStatistics
from splitplace.placement.http.tensors import DATATYPES, NAMES, classified, to_bytes, to_json


def test_when_to_come_again():
    """The queue over the rate of the last half minute, within 1 and 60 s; without a rate as late as may be."""
    now = [0.0]
    departures = Departures(lambda: now[0])
    assert (departures.retry_after_s(0), departures.retry_after_s(1)) == (1, 60)
    for second in range(11):
        now[0] = float(second)
        departures.left()
    assert departures.retry_after_s(22) == 20  # 11 in 10 s
    assert departures.retry_after_s(10_000) == 60 and departures.retry_after_s(1) == 1
    now[0] = 100.0
    assert departures.retry_after_s(5) == 60


def test_a_queue_of_all_goes_as_fast_as_all_leave():
    """Where others hand in tasks as well: by what the fleet says has left it, of the last half minute."""
    now = [0.0]
    departures = Departures(lambda: now[0])
    departures.left()
    departures.saw(1_000)
    now[0] = 10.0
    departures.left()
    assert departures.retry_after_s(20) == 60  # 2 of our own in 10 s, and nothing is known of others
    departures.saw(1_100)
    assert departures.retry_after_s(20) == 2  # 100 in 10 s
    departures.saw(50)  # the fleet was started anew
    assert departures.retry_after_s(20) == 60
    now[0] = 20.0
    departures.saw(70)
    assert departures.retry_after_s(20) == 10
    now[0] = 60.0
    assert departures.retry_after_s(20) == 60


@pytest.mark.parametrize(
    ("accept", "coding"),
    [("gzip", "gzip"), ("deflate", "deflate"), ("deflate;q=0.5, gzip;q=0.4", "deflate"), ("gzip;q=0", ""), ("", ""),
     ("br, zstd", ""), ("GZIP", "gzip"), ("gzip;q=x", ""), ("identity, gzip; q=0.3", "gzip"), (",;,=", "")],
)  # fmt: skip
def test_which_coding_an_answer_has(accept, coding):
    """What the client likes best of what we have; none where it says so, or is not understood."""
    assert compression.wanted(accept) == coding


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=5000), st.integers(0, 5000))
def test_codings_agree_with_the_standard_library(data, most):
    """Both ways; what is larger than it may be is refused, whatever its size."""
    assert gzip.decompress(compression.compress(data, "gzip")) == data
    assert zlib.decompress(compression.compress(data, "deflate")) == data
    held = []
    if len(data) <= most:
        assert compression.decompress(gzip.compress(data), "gzip", most, held.append) == data
        assert sum(held) == len(data)
    else:
        with pytest.raises(ValueError, match="when it is decompressed"):
            compression.decompress(zlib.compress(data), "deflate", most, held.append)
        assert sum(held) <= most + 1


def named(caller="ann", application="m", id="a", said=b"x"):
    """A request with an id."""
    return NamedRequest(caller, application, id, said_by([said]))


def test_a_task_s_key_is_of_all_that_its_request_says():
    """The same request has the same key whenever it comes; another caller's, model's, id's or body another."""
    others = {"caller": "bob", "application": "n", "id": "b", "said": b"y"}
    keys = [named().key, *(named(**{part: other}).key for part, other in others.items())]
    assert named().key == keys[0] and len(set(keys)) == 5 and all(len(key) == 64 for key in keys)


def test_parts_are_told_apart():
    """The same bytes, divided elsewhere, say something else."""
    assert len({said_by(parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""])}) == 4


def test_the_newest_ids_are_remembered():
    """So many; those that were asked with lately."""
    ids = KnownIds(2)
    for name in ("a", "b", "a", "c"):
        request = named(id=name)
        ids.settle(request, ids.take(request), 7)
    with pytest.raises(ConflictError, match="id 'a' stands for another"):
        ids.take(named(id="a", said=b"y"))
    assert ids.take(named(id="b", said=b"y")).task is None and len(ids._known) == 2


def test_an_id_stands_for_a_request_until_none_of_it_comes_to_a_task():
    """Also while others of it are on their way; the fleet may take it later, and an older word does not free it."""
    ids, one, other = KnownIds(9), named(), named(said=b"y")
    first, second = ids.take(one), ids.take(one)
    ids.settle(one, first, None)
    with pytest.raises(ConflictError):
        ids.take(other)
    assert ids.other(other) is None  # it is on its way
    ids.settle(one, second, 3)
    assert ids.other(other) == 3 and ids.other(one) is None
    ids.free(other, 2)
    assert ids.other(other) == 3
    ids.free(other, 3)
    ids.settle(other, ids.take(other), None)
    assert not ids._known


def test_room_is_given_back():
    """However a request ends."""
    coming = Coming(10)
    with coming.hold() as first:
        first.add(7)
        with pytest.raises(OverloadedError), coming.hold() as second:
            second.add(4)
        first.let_go()
        first.add(10)
    with coming.hold() as hold:
        hold.add(10)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_tensors_there_and_back(data):
    """Every datatype that a split takes, in JSON and in binary: decoded is what was encoded, bit by bit."""
    dtype = data.draw(st.sampled_from(sorted(set(DATATYPES.values()) - {"uint16", "uint32", "uint64"})))
    n = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = (
        (rng.standard_normal((n, 3)) * 50).astype(dtype)
        if dtype.startswith("float")
        else rng.integers(0, 2, (n, 3)).astype(dtype)
    )
    model = models.served(split_of(dtype))
    stated = {"name": "x", "datatype": NAMES[dtype], "shape": [n, 3]}
    text = json.dumps({"inputs": [stated | {"data": to_json(x)}]}).encode()
    np.testing.assert_array_equal(codec.decode(text, None, model, Limits()).inputs["x"], x)
    text = json.dumps({"inputs": [stated | {"parameters": {"binary_data_size": x.nbytes}}]}).encode()
    found = codec.decode(text + to_bytes(x), str(len(text)), model, Limits()).inputs["x"]
    np.testing.assert_array_equal(found, x)
    assert found.dtype == x.dtype


def split_of(dtype):
    """Three numbers in, two classes out."""
    from splitplace.catalog.oci import digest
    from splitplace.records.fragment import ITEM_BYTES, Fragment, TensorSpec
    from splitplace.records.split import INPUT, Edge, Merge, Split

    fragment = Fragment(
        name="full", inputs=(TensorSpec(name="x", dtype=dtype, shape=("batch", 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 2)),), classes=(0, 1), params=0,
        flops_per_sample=0, weight_bytes=0, digest=digest(b""),
    )  # fmt: skip
    edge = Edge(src=INPUT, dst="full", tensor="x", bytes_per_sample=3 * ITEM_BYTES[dtype])
    merge = Merge(kind="identity", class_order=(0, 1))
    return Split(application="a", model="m", strategy="full", fragments=(fragment,), edges=(edge,), merge=merge)


@pytest.mark.parametrize("dtype", sorted(set(DATATYPES.values()) - {"uint16", "uint32", "uint64"}))
def test_every_datatype_has_its_names(dtype):
    """Metadata and configuration by Triton's own table of them."""
    from tritonclient.utils import np_to_triton_dtype

    model = models.served(split_of(dtype))
    told = models.metadata(model)["inputs"][0]["datatype"]
    assert told == np_to_triton_dtype(np.dtype(dtype)) or (dtype == "bool" and told == "BOOL")
    assert models.configuration(model)["input"][0]["data_type"] == f"TYPE_{told}"


def test_the_missing_class_in_json():
    """JSON has no infinity: the lowest number stands for it, and no other class is lower; binary has it as it is."""
    logits = np.array([[1.5, -np.inf]], np.float32)
    told = to_json(logits)
    assert told[0] == 1.5 and np.float32(told[1]) == np.finfo(np.float32).min
    json.dumps(told, allow_nan=False)
    assert to_bytes(logits) == logits.tobytes()
    assert classified(logits, 2, ()) == [["1.500000:0", "-inf:1"]]


def test_of_equal_logits_the_first_is_the_higher():
    """As argmax has it, so that `classification` and `infer` agree."""
    assert classified(np.array([[1, 3, 3, 0]], np.float32), 3, "wxyz") == [
        ["3.000000:1:x", "3.000000:2:y", "1.000000:0:w"]
    ]


def test_wishes_are_strict():
    """A deadline is a number, a flag is true or false, and what is nobody's business is passed over."""
    assert codec.wish({"deadline_s": 3, "late": True, "other": object()}) == Wish(deadline_s=3.0, late=True)
    for wrong in ({"late": 1}, {"deadline_s": "3"}, {"deadline_s": float("inf")}, {"detach": "true"}):
        with pytest.raises(ContractError, match="parameter"):
            codec.wish(wrong)


def test_statistics_take_the_time_apart():
    """Queue, way and work are the outcome's; what is left of the request is the front door's."""
    from splitplace.placement.outcome import TaskOutcome

    outcome = TaskOutcome(
        id=0, application="a", n=3, deadline_s=1.0, arrival_s=0.0, split="a.m.full", strategy="full", wait_s=0.1,
        execute_s=0.2, transfer_s=0.3, response_s=0.6, p=1.0, p_source="prior",
    )  # fmt: skip
    found = ModelStatistics("a")
    found.note(1.0, outcome, 5.0)
    found.note(0.5, None, 6.0)
    told = found.document()
    seconds = {name: part["ns"] / 1e9 for name, part in told["inference_stats"].items()}
    assert seconds["queue"] == 0.1 and seconds["compute_infer"] == 0.2 and seconds["compute_input"] == 0.3
    assert seconds["compute_output"] == pytest.approx(0.4) and seconds["success"] == 1.0 and seconds["fail"] == 0.5
    assert told["last_inference"] == 6000 and told["inference_count"] == 3


@pytest.mark.parametrize("cause", CAUSES)
def test_an_error_has_its_causes_status(cause):
    """From the one table: what a shell gets stands there as well; one line, whatever the error says."""
    from splitplace import errors

    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SplitPlaceError)
    ]
    kind = next(kind for kind in kinds if kind.cause == cause)
    answer = refusal(kind("a\nb " + "x" * 5000), 3)
    assert answer.status_code == CAUSES[cause].http_status and answer.headers["retry-after"] == "3"
    said = json.loads(answer.body)["error"]
    assert said.startswith("a b x") and len(said) == 2000
