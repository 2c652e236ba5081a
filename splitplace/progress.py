"""How long work says how far it is: by a function that whoever asked for it may give."""

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Told what is being done, and which share of it is done, 0 to 1."""


def silent(what: str, share: float) -> None:
    """Tells nobody."""
