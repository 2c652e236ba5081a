"""DASO with the literal layout of its input: slots of a decision and a row of P, instead of sums a device."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from splitplace.placement.placers.daso import Daso


@dataclass(frozen=True)
class DasoSlots(Daso):
    """DASO with the literal layout of container slots."""

    layout: Literal["pooled", "slots"] = "slots"
    name: ClassVar[str] = "daso-slots"
