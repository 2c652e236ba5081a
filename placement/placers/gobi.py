"""GOBI as the paper uses it: the same gradient-based optimisation of a surrogate, which does not see the decisions."""

from dataclasses import dataclass
from typing import ClassVar

from splitplace.placement.placers.daso import Daso


@dataclass(frozen=True)
class Gobi(Daso):
    """DASO without D_t in the input: containers of both decisions are pooled together."""

    decisions: bool = False

    name: ClassVar[str] = "gobi"
