"""How a task's input comes to the fragments that take it (paper §3.1): from the broker to each, or in a ring.

In a ring the broker sends it once, to the first device that needs it, and each passes it on as it comes in. A device
that is lost ends the attempt, as ever: in the next, the input comes from the broker again, to whoever is there then.
"""

from collections.abc import Mapping
from typing import Literal

from splitplace.placement.protocol.fields import Precedence
from splitplace.records.split import Split

Inputs = Literal["broadcast", "ring"]


def handed_on(
    split: Split, devices: Mapping[str, int], inputs: Inputs, precedence: Precedence, degrade: bool
) -> dict[str, str]:
    """From which fragment before it each one has the task's input; those left out have it from the broker.

    In fragment order, but those on one device one after another: it comes to no device twice. With strict precedence
    who waits for other fragments, too, is no part of it: it begins when they are done with the whole task, until then
    it holds no more than a window of the input, and whoever is before it in the ring would get no further. For the same
    reason there is no ring where an answer of some branches will do: each has the input from the broker then, or a slow
    first one would hold all others to a window beyond what it has done, and none would be whole at the deadline.

    Args:
        split: Of the task.
        devices: Of each fragment, by row.
        inputs: Which way.
        precedence: Whether fragments overlap.
        degrade: Whether the task takes an answer of the branches that can be had in time.
    """
    if inputs == "broadcast" or degrade:
        return {}
    taking = [name for name in split.by_name if name in split.roots]
    if precedence == "strict":
        taking = [name for name in taking if not split.parents(name)]
    order = list(dict.fromkeys(devices[name] for name in taking))
    taking.sort(key=lambda name: order.index(devices[name]))
    return dict(zip(taking[1:], taking, strict=False))
