"""SplitNet: learns which classes and which channels belong together (Kim, Park, Kim & Hwang 2017, ICML, "SplitNet").

Every channel set behind a cut has a matrix P (groups x channels), the logits have Q (groups x classes); each column is
a softmax and says to which group its channel belongs. Stage 1 trains the weights W under cross-entropy and

    γ_W R_W(W, P, Q) + γ_D R_D(P, Q) + γ_E R_E(P, Q)        (the paper's section 3)

where R_W pulls weights between groups to zero, R_D makes columns one-hot and R_E makes groups even. Then every column
is rounded to its largest entry, the network is sliced, and stage 2 trains what is left by cross-entropy alone.

The regularisers and their normalisers are in recipes/regularisers.py. Deviations; the first three because without them
assignments became one-hot before the weights had any say in them:

- P and Q have no part in the cross-entropy, so an optimizer of their own (Adam) fits them to the weights, most of the
  way before the first image. Meanwhile γ_D grows from 0: uniform columns are a saddle of R_D, which would make them
  one-hot in whatever direction noise pointed.
- R_W is of weights over their own root mean square, where the authors take that of their first weights: behind batch
  normalisation a layer could lower R_W by shrinking as a whole.
- On the weights γ_W grows to its full value over the first half of stage 1, while P and Q still follow; then they stay.
- Strengths. The authors' script for CIFAR-100 (group.sh of github.com/dalgu90/splitnet-wrn) has γ_W = 1, γ_D = 1 and
  γ_E = 10, and a mean over layers in which R_W itself is the weight (`weighted_group_loss`). The presets here have
  γ_W = 8, γ_D = 2 and γ_E = 10. γ_W is of the weights alone, and of the plain sum over layers: of L layers alike, 8 L
  times the authors' pull, in a stage 1 of thousands of steps where theirs has 200000. P and Q see the plain mean of
  R_W, at strength 1, whatever γ_W is. 8 and 2 are from no source and were not compared with the authors' numbers.
- Groups are rounded to blocks of channels, by the same probabilities: in odd numbers a branch would run up to four
  times as long (`BLOCK`). A set with a group that nothing is rounded to is divided evenly instead.
- What the first layers behind a cut read of the trunk stays whole, as everywhere in this project.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning
import torch
from pytorch_lightning.callbacks import Callback
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from splitplace.splitting.semantic.pruning import BLOCK
from splitplace.splitting.semantic.surgery import Side, channel_sets, dense_layers
from splitplace.splitting.semantic.tree import ClassTree
from splitplace.training.loop.losses import Loss
from splitplace.training.preset import SplitNetRecipe
from splitplace.training.recipes.regularisers import disjointness, evenness, group_split, merged

_FIRST_NOISE = 0.01
"""Standard deviation of the first logits of P and Q: the authors' code."""
_FREEZE = 0.5
"""Share of stage 1 after which P and Q stay, and γ_W is at its full value."""
_EVERY = 4
"""Steps of the weights for one of P and Q: by then most of the way is behind them."""
_TINY = 1e-12


@dataclass(frozen=True)
class _Layer:
    """A weight that R_W is of, with the channel sets at its two sides and how many groups they are both divided in."""

    name: str
    writes: Sequence[Side]
    reads: Sequence[Side]
    groups: int


@dataclass(frozen=True)
class Learned:
    """What stage 1 came to: who owns which channel, and the share of weight energy between groups, mean over layers."""

    tree: ClassTree
    owners: Mapping[str, npt.NDArray[np.int64]]
    off_group_energy: float


class SplitNet(nn.Module):
    """A network with the group assignments of what stands behind its first cut; answers as the network does.

    Args:
        network: A chain of named stages.
        image_BCHW: Raw images it takes, at least two.
        cuts: The stages before which each level branches.
        shape: Children of every node, level by level.
        seed: Of the first assignments.
    """

    def __init__(
        self, network: nn.Sequential, image_BCHW: Tensor, cuts: Sequence[str], shape: Sequence[int], seed: int
    ):
        super().__init__()
        self.network = network
        self.shape = tuple(shape)
        places = [[name for name, _ in network.named_children()].index(cut) for cut in cuts]
        groups: dict[str, int] = {}
        for level, place in enumerate(places):
            # A set behind several cuts is divided as the last of them divides.
            with torch.no_grad():
                x_B = network.eval()[:place](image_BCHW[:2])
            sizes = {channels.name: channels for channels in channel_sets(network[place:], x_B)}
            groups |= dict.fromkeys(sizes, int(np.prod(shape[: level + 1])))
            if level == 0:
                sets, layers = sizes, dense_layers(network[place:], x_B)
        self.names = tuple(sets)
        (self.logits_name,) = (name for name, channels in sets.items() if channels.is_output)
        self.one_by_one = {name for name, channels in sets.items() if channels.is_output or channels.are_heads}
        rng = torch.Generator().manual_seed(seed % 2**63)
        for i, (name, channels) in enumerate(sets.items()):
            first = _FIRST_NOISE * torch.randn(groups[name], channels.size, generator=rng)
            self.register_buffer(f"assignment{i}", first)
        self.layers = [
            _Layer(
                layer.layer,
                layer.writes,
                layer.reads,
                min(groups[side.channel_set] for side in (*layer.writes, *layer.reads)),
            )
            for layer in layers
        ]

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits [B,K]."""
        answer_BK: Tensor = self.network(image_BCHW)
        return answer_BK

    @property
    def columns(self) -> list[Tensor]:
        """What the softmaxes are of, one matrix a channel set."""
        return [self.get_buffer(f"assignment{i}") for i in range(len(self.names))]

    def assignments(self) -> dict[str, Tensor]:
        """P of every channel set, Q among them."""
        return {name: column_GC.softmax(0) for name, column_GC in zip(self.names, self.columns, strict=True)}

    def energies(self) -> list[Tensor]:
        """Squared weights [O,I] of every layer, mean over a kernel's places, over their mean over the layer."""
        found = []
        for layer in self.layers:
            weight = self.network.get_parameter(f"{layer.name}.weight")
            squared_OI = weight.square().flatten(2).mean(2) if weight.ndim > 2 else weight.square()
            outputs, inputs = _positions(layer.writes), _positions(layer.reads)
            if (len(outputs), len(inputs)) != tuple(squared_OI.shape):
                squared_OI = squared_OI[outputs][:, inputs]  # what it reads of the trunk belongs to no group
            found.append(squared_OI / (squared_OI.mean() + _TINY))
        return found

    def split_loss(self, energies: Sequence[Tensor], assignments: Mapping[str, Tensor]) -> Tensor:
        """R_W, the sum over layers. Between levels, children count as their parents: what both share may be read."""
        total = energies[0].new_zeros(())
        for layer, energy_OI in zip(self.layers, energies, strict=True):
            q_GO = _at(layer.writes, assignments, layer.groups)
            p_GI = _at(layer.reads, assignments, layer.groups)
            total = total + group_split(energy_OI, q_GO, p_GI)
        return total

    def learned(self) -> Learned:
        """Round the assignments, and say how much weight energy that would cut off."""
        leaves = int(np.prod(self.shape))
        hard = {
            name: rounded(p_GC.detach().cpu().double().numpy(), 1 if name in self.one_by_one else BLOCK)
            for name, p_GC in self.assignments().items()
        }
        onehot = {
            name: nn.functional.one_hot(torch.from_numpy(group_C), self.columns[i].shape[0]).T.float()
            for i, (name, group_C) in enumerate(hard.items())
        }
        shares = []
        for layer, energy_OI in zip(self.layers, self.energies(), strict=True):
            q_GO, p_GI = (_at(side, onehot, layer.groups) for side in (layer.writes, layer.reads))
            inside = (energy_OI.detach().cpu() * (q_GO.T @ p_GI)).sum()
            shares.append(1 - float(inside / energy_OI.detach().sum()))
        # A group of a level above the leaves owns as its first leaf.
        owners = {name: group_C * (leaves // onehot[name].shape[0]) for name, group_C in hard.items()}
        return Learned(_tree(owners[self.logits_name], self.shape), owners, sum(shares) / len(shares))


class GroupLearning(Callback):
    """Fits the assignments to the weights before and during the first half of stage 1; tells how far stage 1 is.

    Args:
        net: The network with its assignments.
        recipe: The numbers.
    """

    def __init__(self, net: SplitNet, recipe: SplitNetRecipe):
        self.net = net
        self.recipe = recipe
        self.progress = 0.0
        self.optimizer: torch.optim.Adam | None = None
        self.restored: dict[str, Any] = {}

    def loss(self, cross_entropy: Loss) -> Loss:
        """Cross-entropy and the pull on the weights between groups, as strong as the progress says."""

        def loss(image_BCHW: Tensor, logits_BK: Tensor, y_B: Tensor) -> Tensor:
            assignments = {name: p_GC.detach() for name, p_GC in self.net.assignments().items()}
            strength = self.recipe.gamma_split * min(1.0, self.progress / _FREEZE)
            pull = self.net.split_loss(self.net.energies(), assignments)
            return cross_entropy(image_BCHW, logits_BK, y_B) + strength * pull

        return loss

    def on_train_start(self, trainer: pytorch_lightning.Trainer, pl_module: pytorch_lightning.LightningModule) -> None:
        """Only here is the network where it will be trained."""
        self.optimizer = torch.optim.Adam(self.net.columns, lr=self.recipe.assign_rate)
        if self.restored:
            self.optimizer.load_state_dict(self.restored)
        elif trainer.global_step == 0:
            for step in range(self.recipe.assign_steps):
                self.fit(step / self.recipe.assign_steps)

    def on_train_batch_start(self, trainer: pytorch_lightning.Trainer, *args: Any) -> None:
        """One step of the assignments for each of the weights, as long as they may move."""
        self.progress = trainer.global_step / max(1, int(trainer.estimated_stepping_batches))
        if self.progress < _FREEZE and trainer.global_step % _EVERY == 0:
            self.fit(1.0)

    def fit(self, share: float) -> None:
        """One step of P and Q, with `share` of γ_D."""
        assert self.optimizer is not None
        with torch.no_grad():
            energies = self.net.energies()
        with torch.enable_grad():
            for column_GC in self.net.columns:
                column_GC.requires_grad_(True)
            assignments = self.net.assignments()
            count = len(assignments)
            objective = self.net.split_loss(energies, assignments) / len(energies)
            for p_GC in assignments.values():
                objective = objective + share * self.recipe.gamma_disjoint * disjointness(p_GC) / count
                objective = objective + self.recipe.gamma_even * evenness(p_GC) / count
            self.optimizer.zero_grad()
            torch.autograd.backward(objective)
        self.optimizer.step()
        for column_GC in self.net.columns:
            column_GC.requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; the assignments themselves are part of the network."""
        return {"optimizer": self.optimizer.state_dict() if self.optimizer else {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.restored = state_dict["optimizer"]


def _positions(sides: Sequence[Side]) -> list[int]:
    """The rows (or columns) of a weight that belong to a channel set, in order."""
    return sorted(position for side in sides for position in side.positions)


def _at(sides: Sequence[Side], assignments: Mapping[str, Tensor], groups: int) -> Tensor:
    """Assignments [groups, rows] of those rows (or columns), in the same order."""
    parts = [merged(assignments[side.channel_set], groups)[:, list(side.channels)] for side in sides]
    positions = torch.tensor([position for side in sides for position in side.positions])
    return torch.cat(parts, dim=1)[:, positions.argsort()]


def rounded(p_GC: npt.NDArray[np.float64], block: int) -> npt.NDArray[np.int64]:
    """The group of each channel: its most probable one, as far as groups are of whole blocks and none is empty."""
    size_G = np.bincount(p_GC.argmax(0), minlength=len(p_GC))
    if not size_G.all():
        size_G = np.bincount(np.arange(p_GC.shape[1]) % len(p_GC))
    slots = np.repeat(np.arange(len(p_GC)), in_blocks(size_G, block))
    _, columns = linear_sum_assignment(-p_GC.T[:, slots])
    group_C: npt.NDArray[np.int64] = slots[columns]
    return group_C


def in_blocks(size_G: npt.NDArray[np.int64], block: int) -> npt.NDArray[np.int64]:
    """The same number of channels in groups of about these sizes, whole blocks each; what is over goes to the largest.

    Args:
        size_G: None is empty.
        block: Of channels; where there are too few blocks, the sizes stay.
    """
    blocks, over = divmod(int(size_G.sum()), block)
    if blocks < len(size_G):
        return size_G
    found_G = np.ones_like(size_G)
    for _ in range(blocks - len(size_G)):
        found_G[np.argmax(size_G - found_G * block)] += 1
    found_G *= block
    found_G[np.argmax(size_G)] += over
    return found_G


def _tree(leaf_K: npt.NDArray[np.int64], shape: Sequence[int]) -> ClassTree:
    """The class tree in which class k belongs to leaf `leaf_K[k]`, leaves counted from left to right."""

    def grow(first: int, below: Sequence[int]) -> ClassTree:
        leaves = int(np.prod(below))
        classes = tuple(np.flatnonzero((leaf_K >= first) & (leaf_K < first + leaves)).tolist())
        step = leaves // below[0] if below else 0
        return ClassTree(classes, tuple(grow(first + i * step, below[1:]) for i in range(below[0] if below else 0)))

    return grow(0, tuple(shape))
