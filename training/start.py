"""What a training starts from: a network by name or a full model that is there, and the numbers it goes by."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from splitplace.errors import UsageError
from splitplace.splitting.networks import plain_name
from splitplace.training import options
from splitplace.training.data.applications import check_names
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import check_network
from splitplace.training.families.own import own_name
from splitplace.training.preset import Preset, Settings, load_preset
from splitplace.training.run import Run


@dataclass(frozen=True)
class StartingPoint:
    """As far as it can be told before the images are read.

    Args:
        application: The images' name.
        model: The network's.
        preset: Every number, for all models and data sets.
        numbers: Those for this one.
        full: The full model that is given.
        validation: Share of the images that a full model is to keep for validation; None for the preset's.
        kept: The share that the full model keeps, trained or not.
    """

    application: str
    model: str
    preset: Preset
    numbers: Settings
    full: Run | None
    validation: float | None
    kept: float


def start_of(
    application: str | Dataset,
    model: str | type[nn.Module] | None,
    full: str | Path | Run | None,
    preset: str | Path | Preset,
    validation: float | None,
    own: bool,
) -> StartingPoint:
    """The network, the full model and the numbers, held against each other.

    Args:
        application: The images, or their name.
        model: The network, by name or class; what `full` is, or mobilenetv2, by default.
        full: A full model's run, or its folder.
        preset: By name, a file, or as it is.
        validation: As `StartingPoint` has it.
        own: Whether images that are named are the user's own.

    Raises:
        UsageError: An unknown name, or a full model of another network.
        SplitPlaceError: No run at `full`, or a file that is no preset.
    """
    settings = preset if isinstance(preset, Preset) else load_preset(str(preset))
    if not isinstance(application, str | Dataset):
        raise UsageError(f"application of {type(application).__name__}: expected a name, or what `fetch` gives")
    if not isinstance(full, str | Path | Run | None):
        raise UsageError(f"--full of {type(full).__name__}: expected a run, or its folder")
    name = application if isinstance(application, str) else application.application
    if isinstance(application, str):
        check_names([application], own=own)
    run = full if isinstance(full, Run) or full is None else Run.open(Path(full))
    if model is not None:
        model = plain_name(model) if isinstance(model, str) else own_name(model)
    if run is not None:
        options.check_full(run, model, validation)
        model = run.config.request.model
    model = "mobilenetv2" if model is None else model
    check_network(model)
    numbers = settings.settle(model, name)
    kept = run.config.request.recipe.validation_share if run else numbers.full.validation_share
    return StartingPoint(name, model, settings, numbers, run, validation, kept if validation is None else validation)
