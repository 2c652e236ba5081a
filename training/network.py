"""A `ModuleSplit` as one torch module: its fragments wired by name, their logits put in class order."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from splitplace.splitting.modules import ModuleFragment, ModuleSplit, walk


class SplitNetwork(nn.Module):
    """Fragments that train and answer together.

    Args:
        fragments: Every parent before its children.
        input_name: The raw input's.
    """

    columns: Tensor

    def __init__(self, fragments: Sequence[ModuleFragment], input_name: str):
        super().__init__()
        self.fragments = tuple(fragments)
        self.input_name = input_name
        # Registered by position: fragment names may hold characters that module names may not.
        self.parts = nn.ModuleList(fragment.module for fragment in fragments)
        order = [c for fragment in fragments for c in fragment.classes]
        self.register_buffer("columns", torch.argsort(torch.tensor(order)), persistent=False)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits [B,K], column c for class c."""
        parts = iter(self.parts)  # not the fragments' own modules: what wraps this one may have copied them
        made = walk(self.fragments, self.input_name, image_BCHW, lambda _, inputs: next(parts)(*inputs))
        logits = [made[fragment.output] for fragment in self.fragments if fragment.classes]
        return torch.cat(logits, dim=1)[:, self.columns]


def as_network(split: ModuleSplit) -> SplitNetwork:
    """All of a split in one module, in eval mode, but for its spare, which has no part in a whole answer."""
    network = SplitNetwork([one for one in split.fragments if one.name != split.merge.spare], split.input_spec.name)
    network.eval()
    return network


def spare_network(split: ModuleSplit) -> SplitNetwork | None:
    """The spare of a split and what feeds it in one module, in eval mode; None where it has none."""
    needed: list[ModuleFragment] = []
    wanted = {split.merge.spare}
    for fragment in reversed(split.fragments):  # children stand behind their parents
        if fragment.name in wanted or fragment.output in wanted:
            needed.insert(0, fragment)
            wanted |= set(fragment.inputs)
    network = SplitNetwork(needed, split.input_spec.name)
    network.eval()
    return network if needed else None
