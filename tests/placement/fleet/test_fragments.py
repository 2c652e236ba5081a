"""The fragments that a device holds: loaded by digest, counted, bounded."""

import numpy as np
import pytest

from splitplace.catalog.blobs import BlobStore
from splitplace.errors import NotReadyError, OverloadedError, SplitPlaceError
from splitplace.inference.cpu_share import Whole
from splitplace.inference.encoded_images import EncodedImages, encode_images
from splitplace.inference.images import UnreadableError
from splitplace.placement.device.fragments import LoadedFragments
from splitplace.placement.protocol import fields


@pytest.fixture
def chain(toy):
    """Three fragments, one after another."""
    return toy.chain()


@pytest.fixture
def held(catalog, chain):
    """What a device holds that has the chain's catalog."""
    return LoadedFragments(BlobStore(catalog(chain)), 1, Whole())


def test_what_runs_is_counted_for_its_fragment_alone(held, chain):
    """Two runs of one, none of the other; each has the time and CPU of its own runs."""
    f0, f1 = chain.split.fragments[:2]
    for fragment in (f0, f1):
        held.expect(fragment)
        held.opened(fragment, held.open(fragment).result)
    x = np.ones((4, 16), np.float32)
    took = [held.work(f0.digest, {"x": x})() for _ in range(2)]
    for run in took:
        held.ran(f0.digest, run)
    first, second = held.usage()
    assert (first.digest, second.digest) == (f0.digest, f1.digest)
    assert (first.micro_batches, second.micro_batches, second.busy_s, second.cpu_s) == (2, 0, 0.0, 0.0)
    assert first.busy_s == pytest.approx(sum(run.end_s - run.start_s for run in took))
    assert first.cpu_s == pytest.approx(sum(run.cpu_s for run in took))


def test_a_fragment_that_was_forgotten_while_it_loaded_is_not_kept(held, chain):
    """Its session is dropped, and nothing of it is reported."""
    fragment = chain.split.fragments[0]
    held.expect(fragment)
    took = held.open(fragment)
    held.forget(fragment.digest)
    held.opened(fragment, took.result)
    assert held.usage() == ()
    with pytest.raises(NotReadyError, match="is not loaded"):
        held.contract(fragment.digest)


def test_what_is_not_loaded_is_not_run(held, chain):
    """Expected, so it may be assigned; but no session yet."""
    fragment = chain.split.fragments[0]
    held.expect(fragment)
    assert held.contract(fragment.digest) == fragment
    with pytest.raises(NotReadyError, match="is not loaded"):
        held.work(fragment.digest, {})


def test_more_fragments_than_a_device_may_hold_are_refused_by_name(held, chain, monkeypatch):
    """One that is there already is no more than there was."""
    monkeypatch.setattr(fields, "MAX_FRAGMENTS", 2)
    f0, f1, f2 = chain.split.fragments
    held.expect(f0)
    held.expect(f1)
    held.expect(f1)
    with pytest.raises(OverloadedError, match="2 fragments here, expected at most 2: unload some"):
        held.expect(f2)
    held.forget(f0.digest)
    held.expect(f2)


def test_bytes_that_are_not_there_are_no_fragment(held, chain):
    """A digest that the catalog does not have is refused by name."""
    fragment = chain.split.fragments[0].model_copy(update={"digest": "sha256:" + "0" * 64})
    with pytest.raises(SplitPlaceError, match=r"0{64}"):
        held.open(fragment)


@pytest.fixture
def pictured(toy, catalog):
    """A fragment that takes images of 28 x 28, loaded; and what holds it."""
    graph = toy.of_pictures(toy.chain(width=784), (1, 28, 28))
    held, fragment = LoadedFragments(BlobStore(catalog(graph)), 1, Whole()), graph.split.fragments[0]
    held.expect(fragment)
    held.opened(fragment, held.open(fragment).result)
    return held, fragment


def test_what_comes_as_png_is_decoded_as_part_of_the_run(pictured, toy):
    """The same result to the bit; the time it takes is the fragment's, and counted apart as well."""
    held, fragment = pictured
    x = toy.digits(4)
    raw, encoded = (held.work(fragment.digest, {"x": value})() for value in (x, encode_images(x)))
    np.testing.assert_array_equal(raw.result["f0.out"], encoded.result["f0.out"])
    assert raw.decode_s == 0.0 < encoded.decode_s <= encoded.end_s - encoded.start_s
    held.ran(fragment.digest, raw)
    held.ran(fragment.digest, encoded)
    (usage,) = held.usage()
    assert usage.decode_s == encoded.decode_s < usage.busy_s


def test_what_is_no_png_fails_its_run_alone(pictured, toy):
    """By name; the next micro-batch is run."""
    held, fragment = pictured
    x, data = toy.digits(2), b"no picture at all, is it"
    with pytest.raises(UnreadableError, match="image 1: not a PNG"):
        held.work(
            fragment.digest,
            {"x": EncodedImages(x.shape, np.array([x[0].size, len(data)], np.uint32), x[0].tobytes() + data)},
        )()
    assert held.work(fragment.digest, {"x": encode_images(x)})().result["f0.out"].shape == (2, 784)
