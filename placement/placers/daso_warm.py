"""DASO from a good start: containers without a P_{t-1} start where the least-loaded placer would put them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from splitplace.placement.placers.daso import Daso


@dataclass(frozen=True)
class DasoWarm(Daso):
    """DASO from the least-loaded placement instead of a random one."""

    start: Literal["random", "least-loaded"] = "least-loaded"
    name: ClassVar[str] = "daso-warm"
    stored_as: ClassVar[str] = "daso"
    """The surrogate is the same."""
