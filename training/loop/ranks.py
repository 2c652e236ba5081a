"""Of several processes that train together (torchrun's or Lightning's), the first evaluates and writes the run.

The others wait for it and read what it wrote: whatever the command does next, all of them do.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from splitplace.errors import NotReadyError, SplitPlaceError
from splitplace.training.run import Run

_PATIENCE = timedelta(days=1)
"""The longest evaluation that is waited for; the group that trains may give up after ten minutes."""
_SEEN_S, _LOOK_S = 120.0, 0.5


def written_once(path: Path, write: Callable[[], Run]) -> Run:
    """The run that `write` leaves at `path`, called by the first process alone; every process must come here.

    Raises:
        SplitPlaceError: To the others, where the first failed; it raises what happened.
    """
    if not dist.is_initialized():
        return write()
    # A group of its own, because the training's may know GPUs only, and has less patience.
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(group, dist.ProcessGroup)
    written = torch.zeros(1)
    try:
        if dist.get_rank() == 0:
            write()
            written += 1
    finally:
        dist.broadcast(written, src=0, group=group)  # of a failure too, or the others would wait for ever
    dist.destroy_process_group(group)
    if not written:
        raise SplitPlaceError(f"{path}: the first process could not finish the run; its own message says why")
    return _seen(path)


def _seen(path: Path) -> Run:
    """The run, when this machine sees it: a network's file system remembers for a minute what was not there."""
    end_s = time.monotonic() + _SEEN_S
    while True:
        try:
            return Run.open(path)
        except NotReadyError:
            if time.monotonic() > end_s:
                raise
            time.sleep(_LOOK_S)
