"""One seed, many named streams."""

import pytest

from splitplace.seeds import derive, generator

pytestmark = pytest.mark.base


def test_names_give_streams_that_differ_and_repeat():
    """The same name gives the same numbers, another name others."""
    assert generator(0, "arrivals").random() == generator(0, "arrivals").random()
    assert generator(0, "arrivals").random() != generator(0, "sizes").random()
    assert generator(0, "arrivals").random() != generator(1, "arrivals").random()


def test_a_stream_is_the_same_on_every_machine():
    """Pinned: a changed derivation would change every published figure."""
    assert derive(0, "arrivals") == 4188809091030555565
