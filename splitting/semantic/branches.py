"""Grows a tree of branches out of one network: each a physically smaller copy that keeps its classes' channels."""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from splitplace.errors import InfeasibleError, NotFoundError, UsageError
from splitplace.records.fragment import TensorSpec
from splitplace.records.split import Merge
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.semantic.pruning import compressed_variant, prune_body
from splitplace.splitting.semantic.surgery import channel_importance, channel_sets, dense_layers, slice_channels
from splitplace.splitting.semantic.tree import ClassTree, divide_channels

TRUNK, SPARE = "trunk", "spare"

Owners = Mapping[str, npt.NDArray[np.int64]]
"""The leaf that owns each channel, by channel set; of a set above the leaves, any leaf of the branch that owns it."""


@dataclass(frozen=True)
class Batch:
    """Inputs of a network with the class of each, for importance."""

    x_B: Tensor
    y_B: Tensor


def check_cuts(network: nn.Sequential, cuts: Sequence[str]) -> None:
    """Refuse a cut that does not exist, or cuts out of order.

    Raises:
        UsageError: As said; lists the stages a cut may stand before.
    """
    names = [name for name, _ in network.named_children()]
    valid = names[2:]  # something must stand before a cut: the front and at least one stage
    for cut in cuts:
        if cut not in valid:
            raise NotFoundError(
                f"no cut before {cut!r}: expected one of {', '.join(valid) or 'none (no known stages)'}"
            )
    if [names.index(cut) for cut in cuts] != sorted({names.index(cut) for cut in cuts}):
        raise UsageError(f"cuts {', '.join(cuts)} are not in the order of the network: {', '.join(valid)}")


def check_channels(
    network: nn.Sequential, image_BCHW: Tensor, cuts: Sequence[str], shape: Sequence[int], overlap: float = 0.0
) -> None:
    """Refuse a tree that would leave a branch without channels of some layer.

    Args:
        network: A chain of named stages in eval mode; its weights do not matter.
        image_BCHW: Raw images it takes.
        cuts: The stages before which level 1, 2, ... branch.
        shape: Children of every node, level by level.
        overlap: Share of the other branches' channels that a branch keeps as well.

    Raises:
        UsageError: Names the layer.
    """
    for level, (cut, children) in enumerate(zip(cuts, shape, strict=True)):
        first = _position(network, cut)
        with torch.no_grad():
            x_B = network[:first](image_BCHW)
        inner = [channels for channels in channel_sets(network[first:], x_B) if not channels.is_output]
        if not inner:
            continue
        narrowest = min(inner, key=lambda channels: channels.size)
        fewest = narrowest.size
        for above in shape[:level]:  # as `divide_channels` does
            own = fewest // above
            fewest = own + round(overlap * (fewest - own))
        if fewest < children:
            raise UsageError(
                f"a tree of {','.join(map(str, shape))} branches by {children} before {cut}, and behind it "
                f"{narrowest.name} has {fewest} channels (or heads) a node: choose a smaller --tree or later --cuts"
            )


def check_links(network: nn.Sequential, image_BCHW: Tensor, cut: str) -> None:
    """Refuse a network behind whose cut no weight leads from channels that can be divided to others.

    Args:
        network: A chain of named stages in eval mode; its weights do not matter.
        image_BCHW: Raw images it takes.
        cut: A stage of it.

    Raises:
        InfeasibleError: As said.
    """
    place = _position(network, cut)
    with torch.no_grad():
        x_B = network[:place](image_BCHW)
    if not dense_layers(network[place:], x_B):
        raise InfeasibleError(
            f"recipe splitnet learns to do without the weights between groups, and behind {cut} there are none "
            "(between the layers of a transformer stand its tokens, which all groups share): choose --recipe distil"
        )


def grow_fragments(
    network: nn.Sequential,
    cuts: Sequence[str],
    tree: ClassTree,
    batches: Sequence[Batch],
    input_name: str,
    *,
    overlap: float = 0.0,
    owners: Owners | None = None,
) -> tuple[ModuleFragment, ...]:
    """Cut a trained network into a trunk and a tree of branches.

    Each level divides every channel set behind its cut among the children, by class-wise Taylor importance or as
    `owners` says; the last layer keeps the classes of the branch. A disjoint branch of G has about 1/G² of the weights
    behind the cut; of a transformer, whose tokens stay as wide as they are, about 1/G.

    Args:
        network: A chain of named stages, trained, in eval mode; left as it is.
        cuts: The stages before which level 1, 2, ... branch.
        tree: The classes; its depth is the number of cuts used.
        batches: Raw inputs with labels, to weigh channels by.
        input_name: Of the raw input.
        overlap: Share of the other branches' channels that a branch keeps as well.
        owners: Who keeps which channel, instead of importance.

    Returns:
        Trunk, inner branches and leaves, every parent before its children; leaves in the order of the tree.
    """
    check_cuts(network, cuts)
    first = _position(network, cuts[0])
    trunk = network[:first]
    with torch.no_grad():
        below = [Batch(trunk(batch.x_B), batch.y_B) for batch in batches]
    fragments = [ModuleFragment(TRUNK, trunk, (input_name,), f"{TRUNK}_features")]
    features = f"{TRUNK}_features"
    fragments += _grow(network[first:], cuts[1:], tree, below, features, "g", overlap, owners)
    return tuple(fragments)


def assemble(
    application: str, model: str, variant: str, input_spec: TensorSpec, fragments: Sequence[ModuleFragment]
) -> ModuleSplit:
    """A semantic split of these fragments; leaves' logits are concatenated in fragment order, a spare's left aside."""
    order = tuple(c for fragment in fragments if fragment.name != SPARE for c in fragment.classes)
    for fragment in fragments:
        fragment.module.eval()
    spare = SPARE if any(fragment.name == SPARE for fragment in fragments) else None
    merge = Merge(kind="concat", class_order=order, spare=spare)
    return ModuleSplit(application, model, "semantic", variant, input_spec, tuple(fragments), merge)


def grow_spare(
    network: nn.Sequential, cut: str, ratio: float, image_BCHW: Tensor, trunk: ModuleFragment, n_classes: int
) -> ModuleFragment:
    """What stands behind the cut, all classes, without a share of its channels: it answers where a branch does not.

    Args:
        network: The full model, a chain of named stages in eval mode; left as it is.
        cut: The stage before which the tree branches first.
        ratio: Share of the channels to remove, as of a compressed model: those of the smallest norm.
        image_BCHW: Raw images it takes, at least two.
        trunk: What feeds it.
        n_classes: How many logits it has.

    Raises:
        UsageError: A ratio that is no share.
        SplitPlaceError: Layers that cannot be sliced.
    """
    compressed_variant(ratio)
    place = _position(network, cut)
    with torch.no_grad():
        x_B = network[:place](image_BCHW)
    module = prune_body(network[place:], x_B, ratio)
    return ModuleFragment(SPARE, module, (trunk.output,), f"{SPARE}_logits", tuple(range(n_classes)))


def replicate_trunk(split: ModuleSplit) -> ModuleSplit:
    """The same split with all that is above a leaf copied into it: each leaf reads the raw input, none waits for any.

    It answers exactly what `split` answers; it computes the trunk once a leaf, and sends raw inputs, not features.

    Returns:
        Parallel fragments in the order of the leaves; the variant gains `-roots`.
    """
    made_by = {fragment.output: fragment for fragment in split.fragments}
    leaves = []
    for leaf in (fragment for fragment in split.fragments if fragment.classes):
        stages, top = list(leaf.module.named_children()), leaf
        while top.inputs[0] in made_by:
            top = made_by[top.inputs[0]]
            stages = [*top.module.named_children(), *stages]
        module = nn.Sequential(OrderedDict(copy.deepcopy(stages))).eval()
        leaves.append(replace(leaf, module=module, inputs=top.inputs))
    return replace(split, fragments=tuple(leaves), variant=f"{split.variant}-roots")


def _grow(
    network: nn.Sequential,
    cuts: Sequence[str],
    node: ClassTree,
    batches: Sequence[Batch],
    fed_by: str,
    prefix: str,
    overlap: float,
    owners: Owners | None,
) -> list[ModuleFragment]:
    example_B = batches[0].x_B[:2]
    if owners is None:
        keep = _by_importance(network, node, batches, example_B, overlap)
    else:
        keep = _by_owner(network, node, example_B, owners)
    fragments: list[ModuleFragment] = []
    for i, child in enumerate(node.children):
        name = f"{prefix}{i}"
        branch = slice_channels(network, example_B, keep[i])
        assert isinstance(branch, nn.Sequential)
        if not child.children:
            fragments.append(ModuleFragment(name, branch, (fed_by,), f"{name}_logits", child.classes))
            continue
        cut = _position(branch, cuts[0])
        inner = branch[:cut]
        own = [_only(batch, child.classes) for batch in batches]
        with torch.no_grad():
            below = [Batch(inner(batch.x_B), batch.y_B) for batch in own if len(batch.y_B)]
        first_leaf = sum(len(sibling.leaves) for sibling in node.children[:i])
        theirs = None if owners is None else {key: owners[key][kept] - first_leaf for key, kept in keep[i].items()}
        fragments.append(ModuleFragment(name, inner, (fed_by,), f"{name}_features"))
        fragments += _grow(branch[cut:], cuts[1:], child, below, f"{name}_features", f"{name}-", overlap, theirs)
    return fragments


def _by_importance(
    network: nn.Module, node: ClassTree, batches: Sequence[Batch], example_B: Tensor, overlap: float
) -> list[dict[str, list[int]]]:
    """For each child of `node`, the channels it keeps of every set; of the logits, its classes."""
    place = {c: i for i, c in enumerate(node.classes)}  # the logit of a class in this network
    importances = []
    for child in node.children:
        own = [_only(batch, child.classes) for batch in batches]
        pairs = [(b.x_B, torch.tensor([place[int(c)] for c in b.y_B])) for b in own if len(b.y_B)]
        importances.append(channel_importance(network, example_B, pairs, nn.CrossEntropyLoss()))
    keep: list[dict[str, list[int]]] = [{} for _ in node.children]
    for channels in channel_sets(network, example_B):
        if channels.is_output:
            parts = [[place[c] for c in child.classes] for child in node.children]
        else:
            scores = [np.asarray(importance[channels.name], np.float64) for importance in importances]
            parts = divide_channels(np.stack(scores), overlap)
        for kept, part in zip(keep, parts, strict=True):
            kept[channels.name] = part
    return keep


def _by_owner(network: nn.Module, node: ClassTree, example_B: Tensor, owners: Owners) -> list[dict[str, list[int]]]:
    """As `_by_importance`, from the leaves that own the channels."""
    ends = np.cumsum([len(child.leaves) for child in node.children])
    keep: list[dict[str, list[int]]] = [{} for _ in node.children]
    for channels in channel_sets(network, example_B):
        child_C = np.searchsorted(ends, owners[channels.name], side="right")
        for i, kept in enumerate(keep):
            kept[channels.name] = np.flatnonzero(child_C == i).tolist()
    return keep


def _only(batch: Batch, classes: Sequence[int]) -> Batch:
    rows = torch.isin(batch.y_B, torch.tensor(classes))
    return Batch(batch.x_B[rows], batch.y_B[rows])


def _position(network: nn.Sequential, stage: str) -> int:
    return [name for name, _ in network.named_children()].index(stage)
