"""timm's networks with random weights, as both of torch's exporters write them; the older one at several opsets."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from splitplace.benchmarks.foreign_graphs import ForeignGraph

Exporter = Literal["dynamo", "torchscript"]

TEST = (
    *("test_byobnet", "test_convnext", "test_convnext2", "test_convnext3", "test_efficientnet", "test_efficientnet_gn"),
    *("test_efficientnet_ln", "test_efficientnet_evos", "test_mambaout", "test_nfnet", "test_resnet", "test_vit"),
    *("test_vit2", "test_vit3", "test_vit4", "test_maxvit", "test_coatnet", "test_vit_relpos"),
)
"""timm's own small ones, for tests, at their own image size."""

SMALL: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("lcnet_035", 64, {}),
    ("ghostnet_050", 64, {}),
    ("repghostnet_050", 64, {}),
    ("tinynet_e", 64, {}),
    ("mobilenetv3_small_050", 64, {}),
    ("mnasnet_small", 64, {}),
    ("rexnet_100", 64, {}),
    ("regnety_002", 64, {}),
    ("resnet10t", 64, {}),
    ("convnext_atto", 64, {}),
    ("convnextv2_atto", 64, {}),
    ("starnet_s050", 64, {}),
    ("fasternet_t0", 64, {}),
    ("mobileone_s0", 64, {}),
    ("dla46_c", 64, {}),
    ("resnest14d", 64, {}),
    ("vit_tiny_patch16_224", 64, {"img_size": 64}),
    ("xcit_nano_12_p16_224", 64, {}),
    ("levit_128s", 224, {}),
    ("mobilevit_xxs", 64, {}),
    ("edgenext_xx_small", 64, {}),
    ("poolformer_s12", 64, {}),
    ("efficientvit_b0", 64, {}),
)
"""Name, image size in pixels, what timm is told besides."""

BY_DYNAMO = frozenset({"mobilenetv3_small_050", "convnext_atto", "starnet_s050", "xcit_nano_12_p16_224"})
"""Of those, what the slower exporter writes too."""

SCRIPT_OPSETS = (9, 11, 13, 14, 16, 17, 18)
"""The older exporter's, one after the other over the networks; what needs a later one gets that."""

LATER = 17
NOT_BY_SCRIPT = frozenset({"test_vit4", "xcit_nano_12_p16_224"})
"""They have operators that the older exporter does not know."""

BLOCKS = 5


def networks() -> Iterator[ForeignGraph]:
    """All of them, by exporter."""
    listed: list[tuple[str, int | None, dict[str, Any]]] = [(name, None, {}) for name in TEST]
    listed += SMALL
    for i, (name, size, options) in enumerate(listed):
        if name in NOT_BY_SCRIPT:
            continue
        opset = SCRIPT_OPSETS[i % len(SCRIPT_OPSETS)]
        family = "timm, TorchScript"
        yield ForeignGraph(
            f"{name}-script", family, partial(_export, name, size, options, "torchscript", opset), blocks=BLOCKS
        )
    for name, size, options in listed:
        if size is None or name in BY_DYNAMO:
            yield ForeignGraph(
                f"{name}-dynamo", "timm, dynamo", partial(_export, name, size, options, "dynamo", None), blocks=BLOCKS
            )


def _export(
    name: str, size: int | None, options: dict[str, Any], exporter: Exporter, opset: int | None, path: Path
) -> None:
    """Writes the network; every other one with a batch of one, as examples on the web do."""
    import timm
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = timm.create_model(name, pretrained=False, num_classes=10, **options).eval()
    config: Any = network.pretrained_cfg
    side = size or int(config["input_size"][-1])
    x = torch.randn(2, 3, side, side)
    for module in network.modules():  # what a training leaves: no two channels alike
        if (
            isinstance(module, torch.nn.BatchNorm2d)
            and module.running_mean is not None
            and module.running_var is not None
        ):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    if exporter == "dynamo":
        batch = torch.export.Dim("batch")
        torch.onnx.export(network, (x,), path, dynamo=True, dynamic_shapes=({0: batch},), external_data=False)
    else:
        _by_script(network, x[:1], path, opset or LATER, dynamic=len(name) % 2 == 1)


def _by_script(network: Any, x: Any, path: Path, opset: int, dynamic: bool) -> None:
    """At this opset, or at a later one where that has not all of its operators."""
    import torch

    axes = {"x": {0: "n"}, "y": {0: "n"}} if dynamic else None
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
    try:
        torch.onnx.export(network, (x,), path, dynamo=False, opset_version=opset, **names)
    except torch.onnx.errors.UnsupportedOperatorError:
        torch.onnx.export(network, (x,), path, dynamo=False, opset_version=LATER, **names)
