"""The catalog's folder moved away, removed, or a blob of it flipped, while a fleet runs: the fleet goes on.

What must then be loaded fails its tasks with the reason; what is loaded is answered; when the folder is back, all is.
"""

import hashlib
import shutil

import numpy as np
import pytest

from splitplace.inference.executor import Executor
from splitplace.placement import history as book
from splitplace.placement.placers.best_fit import BestFit
from splitplace.placement.policy import Composed
from splitplace.records.action import Decide
from tests.placement.fleet.conftest import ScriptedDecider, chain, tree

pytestmark = pytest.mark.slow
WAIT_S = 240
LOADED, OTHER = chain("loaded"), tree("other")


class OfItsOwn(ScriptedDecider):
    """Every task gets the one split of its application."""

    def decide(self, state, view, rng):
        """By the application's row, which is the split's."""
        tasks = view.tasks
        return [Decide(int(tasks.id_T[row]), int(tasks.application_T[row])) for row in tasks.undecided]


def flip(blobs):
    """One bit of the last leaf's file; what puts it right."""
    path = blobs / hashlib.sha256(OTHER.models["leaf3"]).hexdigest()
    right = path.read_bytes()
    path.write_bytes(right[:-40] + bytes([right[-40] ^ 1]) + right[-39:])
    return lambda: path.write_bytes(right)


def move(blobs):
    """The whole folder; back again."""
    catalog = blobs.parent.parent
    away = catalog.rename(catalog.with_name("away"))
    return lambda: away.rename(catalog)


def remove(blobs):
    """The whole folder; it is copied anew."""
    catalog = blobs.parent.parent
    copy = shutil.copytree(catalog, catalog.with_name("copy"))
    shutil.rmtree(catalog)
    return lambda: shutil.copytree(copy, catalog)


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize(("breaks", "said"), [(move, "is missing"), (remove, "is missing"), (flip, "is damaged")])
def test_a_catalog_that_is_gone_fails_who_needs_it_and_nobody_else(
    toy, start, catalog, images, undisturbed, names, breaks, said
):
    """A dozen tasks at once whose fragments cannot be opened: no device is blamed, none rests, none is restarted."""
    x = images(9)
    expected = {
        graph.split.application: Executor(graph.split, graph.models.__getitem__).run({"x": x}, toy.micro_batch)
        for graph in (LOADED, OTHER)
    }

    def right(future):
        result = future.result(WAIT_S)
        assert result.outcome.error is None
        logits = expected[result.outcome.application]
        np.testing.assert_allclose(result.logits, logits, rtol=1e-5, atol=1e-6)

    with start(
        LOADED, OTHER, devices=[toy.make_device(name, 20) for name in names], policy=Composed(OfItsOwn(), BestFit())
    ) as broker:
        right(broker.submit("loaded", x, 1000.0))
        pids = [broker.engine.pid(name) for name in names]
        mend = breaks(catalog() / "blobs" / "sha256")
        for _ in range(2):
            in_vain = [broker.submit("other", x, 1000.0) for _ in range(12)]
            for future in [broker.submit("loaded", x, 1000.0) for _ in range(6)]:
                right(future)
            for future in in_vain:
                error = future.result(WAIT_S).outcome.error
                assert "cannot load sha256:" in error and said in error
        right(broker.submit("loaded", x, 1000.0))
        mend()
        for future in [broker.submit(application, x, 1000.0) for application in ("other", "loaded") * 3]:
            right(future)
        assert [broker.engine.pid(name) for name in names] == pids
        assert not any(isinstance(event, book.DeviceDown) for event in broker.events)
