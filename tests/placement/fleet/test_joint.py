"""`joint` on a live fleet, where waits are taken up again."""

import numpy as np
import pytest

from splitplace.placement import history as book
from splitplace.placement.registry import parse_policy

pytestmark = pytest.mark.slow
PATIENCE_S = 240.0


def test_more_than_fits_at_once_is_answered(start, toy, images):
    """Forty tasks at one moment on two devices, with room for two fragments each: who waits is placed in its turn."""
    graphs = toy.chain(), toy.tree()
    with start(*graphs, devices=[toy.make_device(name, 4) for name in "ab"], policy=parse_policy("joint")) as broker:
        futures = [broker.submit("toy", images(9 + n % 5), 1000.0 + n) for n in range(40)]
        outcomes = [future.result(PATIENCE_S).outcome for future in futures]
        assert [outcome.error for outcome in outcomes] == [None] * 40
        assert not [event for event in broker.events if isinstance(event, book.PlanFailed)]
        assert all(np.isfinite(outcome.response_s) for outcome in outcomes)
