"""A RUN folder: config.json, metrics.json, provenance.json and model.safetensors, complete or not there at all.

A run is rebuilt from its config (the network's name, strides, tree) and its tensors; nothing in it is executed. A
network of the user's own is rebuilt from the class that the config names, which must be there (`families/own.py`).
"""

import copy
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from splitplace import provenance
from splitplace.errors import ContractError, IntegrityError, NotReadyError, SplitPlaceError
from splitplace.files import check_folder, is_scratch, replace_file, replace_folder
from splitplace.records.fragment import TensorSpec
from splitplace.records.provenance import Provenance
from splitplace.report.picture import check_picture
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.networks import Front
from splitplace.splitting.semantic.rebuild import adopt_shapes
from splitplace.training.config import Config, Part, TrainingRequest
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import build
from splitplace.training.families.family import FRONT, HEAD
from splitplace.training.families.own import alike, is_own
from splitplace.training.loop.checkpoint import CHECKPOINT, checkpointed
from splitplace.training.metrics import RunMetrics
from splitplace.training.network import as_network
from splitplace.training.preset import FullRecipe

CONFIG, METRICS, PROVENANCE, WEIGHTS = "config.json", "metrics.json", "provenance.json", "model.safetensors"
STAGES = "stages"
"""Of an unfinished training: what its finished stages left."""
ANSWER = "answer"
"""Beside the weights, the tensor that says what they answer."""
ROUNDED = 0.01
"""Of the largest logit: so far may the answers of two machines be apart."""


_LAST = ("recipe", "data_sha256", "train_sha256", "teacher_sha256", "weights_sha256")
"""What says least to people about how two requests differ: many numbers, or what other fields have said already."""


class OtherRunError(SplitPlaceError):
    """Where a run should go, one of another request stands, finished or not."""

    def __init__(self, path: Path, difference: str):
        self.difference = f"{path} holds another run ({difference})"
        super().__init__(f"{self.difference}: choose another --out")


@dataclass(frozen=True)
class Run:
    """A complete run on disk."""

    path: Path
    config: Config
    metrics: RunMetrics

    @staticmethod
    def open(path: Path) -> "Run":
        """Read a RUN folder; weights are verified when they are loaded.

        Raises:
            SplitPlaceError: No complete run there, or one of another version.
        """
        folder = path.absolute()
        missing = [name for name in (CONFIG, METRICS, PROVENANCE, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise NotReadyError(f"{folder}: no complete run ({', '.join(missing)} missing): train it first")
        config = Config.parse((folder / CONFIG).read_bytes(), str(folder / CONFIG))
        return Run(folder, config, RunMetrics.parse((folder / METRICS).read_bytes(), str(folder / METRICS)))

    @property
    def provenance(self) -> Provenance:
        """Of the code and the machine that trained it."""
        path = self.path / PROVENANCE
        return Provenance.parse(path.read_bytes(), str(path))

    def plot_confusion(self, path: Path) -> None:
        """Draw which classes the held-out images were taken for.

        Args:
            path: A .png, .svg or .pdf.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UsageError: Another ending, or a run without a confusion matrix: of too many classes.
        """
        check_picture(path)
        from splitplace.report.confusion import draw_confusion

        draw_confusion(path, self.config.request.reference, self.metrics, self.config.class_names)

    def load(self) -> ModuleSplit:
        """The run's fragments as torch modules in eval mode, with exactly the outputs they had when saved.

        Torch's generators are as before, though a network is made first, with random weights that these replace.

        Raises:
            IntegrityError: The weights are not those of the config.
            ContractError: The network is made otherwise by now: a class of the user's was changed, or timm's.
        """
        tensors = self._tensors()
        config, request = self.config, self.config.request
        named = {name for part in config.parts for name in part.stages}
        with torch.random.fork_rng(devices=[]):
            whole = build(
                request.model,
                len(config.class_names),
                _chw(config.input_spec),
                (config.mean_C, config.std_C),
                request.strides,
                one_stage=named == {FRONT, HEAD},
            )
        stages = dict(whole.named_children())
        fragments = []
        for part in config.parts:
            unknown = [name for name in part.stages if name not in stages]
            if unknown:
                raise IntegrityError(f"{self.path / CONFIG}: {request.model} has no stage {unknown[0]}")
            module = nn.Sequential(OrderedDict((name, copy.deepcopy(stages[name])) for name in part.stages))
            state = {
                key.removeprefix(f"{part.name}."): value
                for key, value in tensors.items()
                if key.startswith(f"{part.name}.")
            }
            try:
                adopt_shapes(module, state)
                module.load_state_dict(state, strict=True)
            except (KeyError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise IntegrityError(f"{self.path / WEIGHTS}: does not fit fragment {part.name}: {reason}") from error
            module.eval().to(memory_format=torch.channels_last)  # as it was trained: other layouts round differently
            fragments.append(ModuleFragment(part.name, module, part.inputs, part.output, part.classes))
        split = ModuleSplit(
            request.application,
            request.label,
            request.strategy,
            request.variant,
            config.input_spec,
            tuple(fragments),
            config.merge,
            config.class_names,
            config.preprocessing,
        )
        if ANSWER in tensors and not alike(tensors[ANSWER], _answer(split), ROUNDED):
            raise ContractError(
                f"{self.path}: {request.model} answers otherwise than when it was trained: its code has changed since "
                "(of its class, or timm's); go back to that, or train it again, elsewhere or after removing the folder"
            )
        return split

    def _tensors(self) -> dict[str, Tensor]:
        data = (self.path / WEIGHTS).read_bytes()
        actual = hashlib.sha256(data).hexdigest()
        if actual != self.config.weights_sha256:
            raise IntegrityError(
                f"{self.path / WEIGHTS}: got sha256 {actual}, expected {self.config.weights_sha256}: train it again"
            )
        try:
            return safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise IntegrityError(f"{self.path / WEIGHTS}: not safetensors: {error}") from error


def place(request: TrainingRequest, out: Path | None) -> Path:
    """Where the run of a request goes: `out`, or runs/REFERENCE."""
    return (out or Path("runs") / request.reference).absolute()


def check_place(path: Path) -> None:
    """Refuse a place where no run can go, whatever its request.

    Raises:
        UsageError: A file stands there, or above it, or nothing can be written there.
        SplitPlaceError: A folder of something else than a run stands there.
    """
    check_folder(path, "--out")
    if not path.exists() or (path / CONFIG).exists():
        return
    own = ("logs", STAGES, CHECKPOINT)
    if any(entry.name not in own and not is_scratch(entry.name) for entry in path.iterdir()):
        raise SplitPlaceError(f"{path} is no RUN folder and not empty: choose another --out")


def find(path: Path, request: TrainingRequest, class_names: tuple[str, ...]) -> Run | None:
    """The complete run at `path`, if it is of this request; None if nothing is there.

    Where images and labels are the same and only the classes' names have changed, so do the run's.

    Raises:
        SplitPlaceError: A run of something else stands there (`OtherRunError`), or no run, or a file.
    """
    check_place(path)
    if not (path / CONFIG).exists():
        unfinished = checkpointed(path)
        if unfinished is not None:
            check_same(TrainingRequest.parse(unfinished, str(path / CHECKPOINT)), request, path)
        return None
    run = Run.open(path)
    check_same(run.config.request, request, path)
    run._tensors()  # a damaged run must not pass for a finished one
    if is_own(request.model):
        run.load()  # nor one of a class that was changed since
    return run if run.config.class_names == class_names else _renamed(run, class_names)


def _renamed(run: Run, class_names: tuple[str, ...]) -> Run:
    config = run.config.model_copy(update={"class_names": class_names})
    try:
        replace_file(run.path / CONFIG, config.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise SplitPlaceError(f"cannot write {run.path / CONFIG} ({error.strerror})") from error
    return Run.open(run.path)


def check_same(theirs: TrainingRequest, ours: TrainingRequest, path: Path) -> None:
    """Name one difference, the one that is said in fewest words."""
    for name in sorted(TrainingRequest.model_fields, key=lambda name: _LAST.index(name) if name in _LAST else -1):
        there, asked = getattr(theirs, name), getattr(ours, name)
        if there != asked and isinstance(there, FullRecipe) and type(there) is type(asked):
            name, there, asked = next(
                (key, getattr(there, key), getattr(asked, key))
                for key in type(there).model_fields
                if getattr(there, key) != getattr(asked, key)
            )
        if there != asked:
            raise OtherRunError(path, f"{name}: {there}, asked for {asked}")


def save(path: Path, request: TrainingRequest, split: ModuleSplit, data: Dataset, metrics: RunMetrics) -> Run:
    """Write a complete run to `path`, all at once."""
    tensors = {
        f"{fragment.name}.{key}": value.detach().clone(memory_format=torch.contiguous_format)  # some share memory
        for fragment in split.fragments
        for key, value in fragment.module.state_dict().items()
    }
    weights = safetensors.torch.save(tensors | {ANSWER: _answer(split)}, {"format": "pt"})
    mean_C, std_C = data.mean_std_C
    config = Config(
        request=request,
        input_spec=split.input_spec,
        class_names=data.class_names,
        image_rule=data.image_rule,
        mean_C=mean_C,
        std_C=std_C,
        resize_to=next((m.size for f in split.fragments for m in f.module.modules() if isinstance(m, Front)), None),
        parts=tuple(
            Part(
                name=fragment.name,
                stages=tuple(name for name, _ in fragment.module.named_children()),
                inputs=fragment.inputs,
                output=fragment.output,
                classes=fragment.classes,
            )
            for fragment in split.fragments
        ),
        merge=split.merge,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    stamp = provenance.collect(seed=request.seed)
    try:
        with replace_folder(path) as fresh:
            (fresh / WEIGHTS).write_bytes(weights)
            for name, record in ((METRICS, metrics), (PROVENANCE, stamp), (CONFIG, config)):
                (fresh / name).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
            if (path / "logs").is_dir():
                (path / "logs").replace(fresh / "logs")
            for of_stage in sorted((path / STAGES).glob("*/logs")):
                of_stage.replace(fresh / "logs" / of_stage.parent.name)
    except OSError as error:
        raise SplitPlaceError(f"cannot write {path} ({error.strerror}): make room and run the same command") from error
    return Run.open(path)


def _answer(split: ModuleSplit) -> Tensor:
    """What it answers to one image of noise, always the same [1,K]: by that, another network is told."""
    drawn = torch.Generator().manual_seed(0)
    image_BCHW = torch.randint(256, (1, *_chw(split.input_spec)), generator=drawn, dtype=torch.uint8)
    with torch.no_grad():
        logits_BK: Tensor = as_network(split)(image_BCHW)
    return logits_BK.contiguous()


def _chw(spec: TensorSpec) -> tuple[int, int, int]:
    c, h, w = (size for size in spec.shape[1:] if isinstance(size, int))
    return c, h, w
