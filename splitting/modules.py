"""What training hands to export: a split whose fragments are still torch modules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from splitplace.records.fragment import TensorSpec
from splitplace.records.preprocessing import Preprocessing
from splitplace.records.split import Merge, Strategy


@dataclass(frozen=True)
class ModuleFragment:
    """One fragment: `module(*inputs) -> output`, tensors batch first; `classes` in the order of its logits, if any."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    classes: tuple[int, ...] = ()


def walk(
    fragments: Sequence[ModuleFragment],
    input_name: str,
    image_BCHW: Tensor,
    run: Callable[[ModuleFragment, tuple[Tensor, ...]], Tensor],
) -> dict[str, Tensor]:
    """Run fragment after fragment, each fed by what was made before.

    Args:
        fragments: Every parent before its children.
        input_name: The raw input's.
        image_BCHW: What the task brings.
        run: Runs one fragment on its inputs.

    Returns:
        Every tensor there was, by name.
    """
    made = {input_name: image_BCHW}
    for fragment in fragments:
        made[fragment.output] = run(fragment, tuple(made[name] for name in fragment.inputs))
    return made


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
    class_names: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    """How an image file becomes `input_spec`, and what `fragments` do to it first."""
