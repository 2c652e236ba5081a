"""Trains semantic tree splits: classes in groups, a trunk for all, branches with channels of their own.

`distil` cuts the branches out of a full model, channels by class-wise importance, and trains them under cross-entropy
on their concatenated logits + distillation, so that their logits compare: first alone on the frozen trunk, then all
together. `splitnet` learns the groups together with the weights (recipes/splitnet.py). `scratch`, the control, trains
the tree of `distil` from fresh weights, without the full model's answers. A spare, for when branches give no answer, is
trained on the finished tree of `distil` (recipes/spare.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from splitplace.seeds import derive, generator
from splitplace.splitting.modules import ModuleFragment
from splitplace.splitting.semantic.branches import Batch, assemble, grow_fragments, grow_spare, replicate_trunk
from splitplace.training.config import Method, TrainingRequest, Trunk
from splitplace.training.data.dataset import Dataset
from splitplace.training.families.build import build
from splitplace.training.loop.evaluate import accuracy
from splitplace.training.loop.fit import Fitted, fit, log_held_out
from splitplace.training.loop.losses import Loss, class_weights, cross_entropy
from splitplace.training.network import SplitNetwork
from splitplace.training.preset import FullRecipe, Preset, SemanticRecipe, Settings, SplitNetRecipe, settle
from splitplace.training.recipes.cached import fit_branches
from splitplace.training.recipes.carry_out import Made, carry_out
from splitplace.training.recipes.distil import (
    check_stages,
    check_teacher,
    distillation,
    load_teacher,
    student_request,
)
from splitplace.training.recipes.grouping import Grouping, class_tree
from splitplace.training.recipes.spare import check_spare, fit_spare
from splitplace.training.recipes.splitnet import GroupLearning, SplitNet
from splitplace.training.recipes.stages import stage, together
from splitplace.training.recipes.tree_plan import plan_tree
from splitplace.training.run import Run


def train_semantic(
    data: Dataset,
    full: Run,
    *,
    tree: Sequence[int] = (2,),
    cuts: Sequence[str] | None = None,
    groups: Grouping = "features",
    method: Method = "distil",
    overlap: float = 0.0,
    trunk: Trunk = "shared",
    spare: float | None = None,
    preset: str | Preset = "quick",
    epochs: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> Run:
    """Train a trunk and a tree of branches, most often cut out of a full model, or reuse the finished run.

    Args:
        data: The images the full model was trained on.
        full: A run of strategy `full`.
        tree: Children of every node, level by level: (2,), (4,) or (2, 2).
        cuts: The stages before which each level branches; the preset's for this model by default.
        groups: `features` or `confusions` (cluster what the teacher sees, or what it takes for another), `consecutive`
            or `random` (the controls), or the classes of each group of a one-level tree.
        method: `distil`, `splitnet` or `scratch`, as above.
        overlap: Share of the other branches' channels that a branch keeps as well.
        trunk: One for all, or a copy in every leaf, which then reads the image itself; both answer the same.
        spare: Add a fragment that knows every class, with this share of the channels behind the first cut removed: it
            stands in for branches that give no answer. Of `distil`.
        preset: The recipe, by name or as it is.
        epochs: Instead of the recipe's.
        samples: Training images a pass, instead of the recipe's.
        seed: Of the clustering, the images that weigh channels, order and augmentation.
        out: The RUN folder; runs/APP.MODEL.semantic-TREE by default.

    Raises:
        UsageError: A tree, cut or grouping that does not fit, or `full` is of other data or another strategy.
        SplitPlaceError: Another run stands at `out`, or the loss is no longer finite.
    """
    model = full.config.request.model
    settings = settle(preset, model, data)
    validation_share = full.config.request.recipe.validation_share
    check_teacher(full, data)
    wanted = tuple(cuts if cuts is not None else settings.cuts)
    shape, chosen = plan_tree(data, model, full.config.request.strides, tree, wanted, groups, method, overlap)
    check_spare(spare, method)
    recipe = tree_recipe(settings, method).beside(validation_share, epochs, samples)
    cut_out = recipe.start == "full" if isinstance(recipe, SplitNetRecipe) else method == "distil"
    if cut_out:
        check_stages(full, chosen)
    request = student_request(
        full,
        data,
        strategy="semantic",
        preset=settings.name,
        seed=seed,
        recipe=recipe,
        tree=shape,
        cuts=chosen,
        groups="learned" if method == "splitnet" else _named(groups),
        method=method,
        overlap=overlap,
        trunk=trunk,
        spare=spare,
    )

    def make(folder: Path) -> Made:
        teacher = load_teacher(full)
        sample = _sample(data, settings.semantic.importance_images, validation_share, seed)
        work = _Work(data, folder, seed, request.model_dump_json())
        if isinstance(recipe, SplitNetRecipe):
            origin = teacher if cut_out else _fresh(data, request)
            trained = _splitnet(work, origin, chosen, shape, sample, recipe)
        else:
            classes = class_tree(teacher, sample, shape, groups, seed)
            origin = teacher if cut_out else _fresh(data, request)
            fragments = grow_fragments(origin, chosen, classes, sample, data.input_spec.name, overlap=overlap)
            if isinstance(recipe, SemanticRecipe):
                trained = _with_spare(work, fragments, teacher, recipe, chosen[0], spare)
            else:
                loss = cross_entropy(recipe, class_weights(data, recipe))
                trained = _Trained(fragments, work.fit(fragments, loss, recipe))
        split = assemble(data.application, request.label, request.variant, data.input_spec, trained.fragments)
        if trunk == "replicated":
            split = replace(replicate_trunk(split), variant=request.variant)
        return Made(split, trained.fitted, trained.seen)

    return carry_out(request, data, out, make, full)


def tree_recipe(settings: Settings, method: Method) -> FullRecipe:
    """The recipe by which a method trains a tree; `scratch` takes the full model's."""
    recipes: dict[Method, FullRecipe] = {
        "distil": settings.semantic,
        "splitnet": settings.splitnet,
        "scratch": settings.full,
    }
    return recipes[method]


@dataclass(frozen=True)
class _Work:
    """What every training of this request shares."""

    data: Dataset
    folder: Path
    seed: int
    request: str

    def fit(
        self, fragments: Sequence[ModuleFragment], loss: Loss, recipe: FullRecipe, frozen: Sequence[nn.Module] = ()
    ) -> Fitted:
        """Train the whole tree."""
        network = SplitNetwork(fragments, self.data.input_spec.name)
        return fit(network, loss, self.data, recipe, self.seed, self.folder, self.request, frozen)


@dataclass(frozen=True)
class _Trained:
    """A trained tree, and what was seen on the way, as `RunMetrics` calls it."""

    fragments: tuple[ModuleFragment, ...]
    fitted: Fitted
    seen: Mapping[str, float] = field(default_factory=dict)


def _fresh(data: Dataset, request: TrainingRequest) -> nn.Sequential:
    """The network before any training, as the full model of this seed started."""
    return build(request.model, data.n_classes, data.shape_CHW, data.mean_std_C, request.strides).eval()


def _with_spare(
    work: _Work,
    fragments: tuple[ModuleFragment, ...],
    teacher: nn.Sequential,
    recipe: SemanticRecipe,
    cut: str,
    spare: float | None,
) -> _Trained:
    """The tree, then its spare, if it is to have one."""
    if spare is None:
        return _Trained(fragments, _distil(work, fragments, teacher, recipe))
    image_BCHW = torch.from_numpy(work.data.x_train_NCHW[:2])
    head = grow_spare(teacher, cut, spare, image_BCHW, fragments[0], work.data.n_classes)
    tree = nn.ModuleList(fragment.module for fragment in fragments)

    def train(place: Path) -> Fitted:
        return _distil(replace(work, folder=place), fragments, teacher, recipe)

    first = stage(work.folder, "tree", work.request, tree, train)
    then = fit_spare(fragments, head, teacher, work.data, recipe, work.seed, work.folder, work.request)
    return _Trained((*fragments, head), together(first, then))


def _distil(
    work: _Work, fragments: tuple[ModuleFragment, ...], teacher: nn.Sequential, recipe: SemanticRecipe
) -> Fitted:
    """The branches alone, if the recipe says so, then the tree."""
    frozen = [fragments[0].module] if recipe.freeze_trunk else []
    loss = distillation(teacher, recipe, class_weights(work.data, recipe))
    if not recipe.branch_epochs:
        return work.fit(fragments, loss, recipe, frozen)
    branches = nn.ModuleList(fragment.module for fragment in fragments[1:])

    def train(place: Path) -> Fitted:
        return fit_branches(fragments, teacher, work.data, recipe, work.seed, place, work.request)

    alone = stage(work.folder, "branches", work.request, branches, train)
    return together(alone, work.fit(fragments, loss, recipe, frozen))


def _splitnet(
    work: _Work,
    network: nn.Sequential,
    cuts: Sequence[str],
    shape: Sequence[int],
    sample: Sequence[Batch],
    recipe: SplitNetRecipe,
) -> _Trained:
    """Stage 1 learns the groups; what slicing leaves is trained in stage 2."""
    data = work.data
    net = SplitNet(network, sample[0].x_B, cuts, shape, derive(work.seed, "splitnet"))
    learning = GroupLearning(net, recipe)
    first = recipe.changed(epochs=recipe.group_epochs, patience=0)
    loss = learning.loss(cross_entropy(first, class_weights(data, first)))

    def train(place: Path) -> Fitted:
        fitted = fit(net, loss, data, first, work.seed, place, work.request, callbacks=[learning])
        log_held_out(place, accuracy(net, data.x_test_NCHW, data.y_test_N), fitted)
        return fitted

    alone = stage(work.folder, "groups", work.request, net, train)
    learned = net.learned()
    fragments = grow_fragments(net.network, cuts, learned.tree, sample, data.input_spec.name, owners=learned.owners)
    sliced = SplitNetwork(fragments, data.input_spec.name)
    seen = {
        "off_group_energy": learned.off_group_energy,
        "sliced_accuracy": accuracy(sliced.eval(), data.x_test_NCHW, data.y_test_N),
    }
    loss = cross_entropy(recipe, class_weights(data, recipe))
    return _Trained(fragments, together(alone, work.fit(fragments, loss, recipe)), seen)


def _named(groups: Grouping) -> str:
    return groups if isinstance(groups, str) else str([sorted(group) for group in groups])


def _sample(data: Dataset, per_class: int, validation_share: float, seed: int) -> list[Batch]:
    """Images of every class that are trained on, one batch a class."""
    rng = generator(seed, "semantic", "sample")
    trained, _ = data.training_rows(validation_share)
    batches = []
    for c in range(data.n_classes):
        rows = rng.permutation(trained[data.y_train_N[trained] == c])[:per_class]
        batches.append(Batch(torch.from_numpy(data.x_train_NCHW[rows]), torch.from_numpy(data.y_train_N[rows])))
    return batches
