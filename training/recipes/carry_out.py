"""What every recipe begins and ends with: the finished run of a request, or one that is trained and measured now."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytorch_lightning

from splitplace.seeds import derive
from splitplace.splitting.modules import ModuleSplit
from splitplace.training import run as runs
from splitplace.training.config import TrainingRequest
from splitplace.training.data.dataset import Dataset
from splitplace.training.loop.fit import Fitted
from splitplace.training.loop.measured import finish
from splitplace.training.recipes.claim import claimed
from splitplace.training.run import Run


@dataclass(frozen=True)
class Made:
    """What a recipe trained, how that went, and what was seen on the way, as `RunMetrics` calls it."""

    split: ModuleSplit
    fitted: Fitted
    seen: Mapping[str, float] = field(default_factory=dict)


def carry_out(
    request: TrainingRequest, data: Dataset, out: Path | None, make: Callable[[Path], Made], full: Run | None = None
) -> Run:
    """The run of a request: reused if this very request is complete at `out`, else made and measured.

    Args:
        request: All that determines the run.
        data: Images.
        out: The RUN folder; runs/REFERENCE by default.
        make: Trains, with its checkpoints in the folder it is given; whatever it draws is by the request's seed.
        full: The full model that it is cut out of.

    Raises:
        SplitPlaceError: Another run stands at `out` or is being trained there, or what `make` raises.
    """
    started_s = time.perf_counter()
    folder = runs.place(request, out)
    finished = runs.find(folder, request, data.class_names)
    if finished is not None:
        return finished
    with claimed(folder, request):
        finished = runs.find(folder, request, data.class_names)
        if finished is not None:  # by who had the folder until now
            return finished
        pytorch_lightning.seed_everything(derive(request.seed, "weights") % 2**32, verbose=False)
        made = make(folder)
        return finish(folder, request, made.split, data, made.fitted, started_s, full, made.seen)
