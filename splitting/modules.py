"""What training hands to export: a split whose fragments are still torch modules."""

from dataclasses import dataclass

from torch import nn

from splitplace.records.fragment import TensorSpec
from splitplace.records.split import Merge, Strategy


@dataclass(frozen=True)
class ModuleFragment:
    """One fragment: `module(*inputs) -> output`, tensors batch first; `classes` in the order of its logits, if any."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModuleSplit:
    """A split in torch.

    A fragment input named as the split's input is fed by the task, any other by the fragment whose output bears that
    name. Modules are in eval mode, take the raw input (`input_spec`; uint8 images for our applications, normalised by
    the first fragment, so that a quarter of the bytes travel) and are plain dense networks: no masks.
    """

    application: str
    model: str
    strategy: Strategy
    variant: str
    input_spec: TensorSpec
    fragments: tuple[ModuleFragment, ...]
    merge: Merge
