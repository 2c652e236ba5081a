"""How many files a process may have open."""

import resource
import sys

import pytest

from splitplace.open_files import allow_open_files

UNBOUNDED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("allowed", "most", "asked", "had"),
    [
        (64, 64, None, 64),
        (256, 524_288, 4000, 4000),
        (1024, 2048, 2048, 2048),
        (8192, 8192, None, 8192),
        (1024, UNBOUNDED, 4000, 4000),
        (UNBOUNDED, UNBOUNDED, None, sys.maxsize),
    ],
)
def test_as_many_are_asked_for_as_may_be_had(monkeypatch, allowed, most, asked, had):
    """4,000 are wanted: who may have fewer is told how many, and who has more keeps them."""
    told = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (allowed, most))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: told.append(limits))
    assert allow_open_files(4000) == had
    assert told == ([] if asked is None else [(asked, most)])


def test_a_system_that_does_not_allow_it_is_no_error(monkeypatch):
    """A sandbox's own rule: what there was stays."""

    def refuse(which, limits):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert allow_open_files(1024) == 256
