"""What a paper says came out, in a form that figures can be held against; stands in an experiment's file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from splitplace.records.base import Positive, Record


class PaperColumn(Record):
    """A column of an experiment's table."""

    figure: str
    """As `GridCell.figure` takes it."""
    title: str
    digits: Annotated[int, Field(ge=0, le=6)] = 3
    factor: Positive = 1.0
    """From the figure's unit to the column's."""
    panel: bool = False
    """Whether it is drawn as well."""
    by_application: bool = False
    """Whether a second table has it for each application."""


class PaperClaim(Record):
    """One row's figure is above or below others', moves along a series, or is near a number.

    Held against each case, or where `since` is stated, against each series: what is compared is then the figure at
    one place of the series less that at another.
    """

    said: str
    printed: str = ""
    """The figures that the paper gives for it."""
    row: str
    over: tuple[str, ...] = ()
    """Rows that it is held against, each of them; none: against no change at all."""
    figure: str = "reward"
    """As `GridCell.figure` takes it."""
    direction: Literal["above", "below"] = "above"
    since: float | None = None
    """Place in the series that the figure moves from."""
    to: float | None = None
    """And to."""
    near: Positive | None = None
    """Of a claim about a figure by itself: what it is said to be."""
    within: Positive = 0.2
    """And how far off it may be, relative."""
    where: tuple[str, ...] = ()
    """Scenarios in which it is held, of a move those where it ends; all if none is named."""
    relative: bool = False
    """Whether it moves by a share of what it was, in place of a difference."""
    beside: str = ""
    """Figure of the same row: what is held is how much further than this one the claimed one moves."""
    row_since: str = ""
    """Whose figure at `since` it is held against; the row's own if not stated."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.since is None) != (self.to is None):
            raise ValueError(f"claim {self.said!r}: state both since and to, or neither")
        if self.row_since and (self.over or self.since is None):
            raise ValueError(f"claim {self.said!r}: row_since goes with since, and without over")
        if (self.relative or self.beside) and self.since is None:
            raise ValueError(f"claim {self.said!r}: relative and beside are of a move: state since and to")
        if self.beside and (self.over or self.relative or self.row_since):
            raise ValueError(f"claim {self.said!r}: beside is of its own move: leave out over, relative and row_since")
        if self.near is not None and (self.over or self.since is not None):
            raise ValueError(f"claim {self.said!r}: near is of the row's own figure: leave out over, since and to")
        if self.since is None and self.near is None and not self.over:
            raise ValueError(f"claim {self.said!r}: say over which rows, near what, or since and to where it moves")
        return self
