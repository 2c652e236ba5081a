"""`splitplace advise`: what to ship to a fleet, what to expect of it, and whether to split at all."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitplace.cli.verb import Shown, verb
from splitplace.tables.advice import advice_shown

if TYPE_CHECKING:
    from splitplace import Advice


@verb("advise", plot=Path)
def advise(advice: "Advice", *, plot: Path | None) -> Shown:
    """What is advised."""
    document: dict[str, Any] = advice.model_dump(mode="json")
    if plot is not None:
        document["plot"] = str(plot.absolute())
    return document, advice_shown(advice)
