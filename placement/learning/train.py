"""`policy train`: every learner of the registry on the training workload, each by its own `train`.

Everything that is chosen here is chosen on runs that neither the training nor any evaluation meets.
"""

from pathlib import Path
from typing import Any

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.extras import needs
from splitplace.placement import registry
from splitplace.placement.learner import Learner
from splitplace.placement.learning.show import saved_states
from splitplace.placement.learning.traces import LearningSettings, SimulatedTraces, own
from splitplace.placement.state_files import SUFFIX, learned_by
from splitplace.progress import Progress, silent


def train(settings: LearningSettings, out: Path, say: Progress = silent) -> dict[str, Any]:
    """Everything that learns, for one scenario; states, traces and curves are in `out` afterwards.

    Returns:
        `learned`: what each learner was taught, as `SavedState.plain` has it; `left_out`: why others were not.

    Raises:
        MissingExtraError: A library is not installed; nothing was done then.
        UsageError: A name among `settings.parts` that is no learner's.
        SplitPlaceError: The runs are too short, or a learner that was asked for cannot run here.
    """
    needs("training a policy", "train", packages=("torch", "tensorboard", "pyarrow", "safetensors", "scipy"))
    traces, left_out = SimulatedTraces(settings, out, say), dict[str, str]()
    for learner in _learners(settings):
        try:
            with own(learner):
                learner.init(traces.view)
        except SplitPlaceError as error:
            if settings.parts:
                raise
            left_out[learner.name] = str(error)
            continue
        if traces.learn(learner) is None:
            left_out[learner.name] = "there is nothing to choose between here"
    if not traces.learned:
        whys = [f"{name}: {why}" for name, why in left_out.items()]
        raise SplitPlaceError(
            f"nothing learns on scenario {settings.scenario.name} with this demand: {'; '.join(whys)}"
        )
    learned = {stem: saved_states(out / f"{stem}{SUFFIX}")[0].plain() for stem in traces.learned}
    return {"learned": learned, "left_out": left_out}


def _learners(settings: LearningSettings) -> list[Learner]:
    """Those that are named, or all; not those that use another's state as it is."""
    if names := settings.parts:
        parts = [settings.part(name) for name in names]
        for name, part in zip(names, parts, strict=True):
            if not isinstance(part, Learner):
                raise UsageError(f"{name} is no learner: expected a part with train, describe, pack and unpack")
            if (other := learned_by(part)) != part.name:
                raise UsageError(f"{name} uses what {other} learns: train {other}")
        return parts
    parts = [settings.part(name) for name in registry.names()]
    return [part for part in parts if isinstance(part, Learner) and learned_by(part) == part.name]
