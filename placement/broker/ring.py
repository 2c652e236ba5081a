"""How a task's input comes to the fragments that take it (paper §3.1): from the broker to each, or in a ring.

In a ring the broker sends it once, to the first device that needs it, and each passes it on as it comes in. A device
that is lost ends the attempt, as ever: in the next, the input comes from the broker again, to whoever is there then.
"""

from collections.abc import Mapping
from typing import Literal

from splitplace.placement.protocol.messages import Precedence
from splitplace.records.split import Split

Inputs = Literal["broadcast", "ring"]


def handed_on(split: Split, devices: Mapping[str, int], inputs: Inputs, precedence: Precedence) -> dict[str, str]:
    """From which fragment before it each one has the task's input; those left out have it from the broker.

    In fragment order, but those on one device one after another: it comes to no device twice. With strict precedence
    who waits for other fragments, too, is no part of it: it begins when they are done with the whole task, until then
    it holds no more than a window of the input, and whoever is before it in the ring would get no further.

    Args:
        split: Of the task.
        devices: Of each fragment, by row.
        inputs: Which way.
        precedence: Whether fragments overlap.
    """
    if inputs == "broadcast":
        return {}
    taking = [name for name in split.by_name if name in split.roots]
    if precedence == "strict":
        taking = [name for name in taking if not split.parents(name)]
    order = list(dict.fromkeys(devices[name] for name in taking))
    taking.sort(key=lambda name: order.index(devices[name]))
    return dict(zip(taking[1:], taking, strict=False))
