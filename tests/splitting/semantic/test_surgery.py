import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

from splitplace.errors import SplitPlaceError
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.records.fragment import TensorSpec
from splitplace.records.split import Merge
from splitplace.splitting.modules import ModuleFragment, ModuleSplit
from splitplace.splitting.networks import ALIASES
from splitplace.splitting.semantic import dependencies
from splitplace.splitting.semantic.pruning import compress
from splitplace.splitting.semantic.rebuild import adopt_shapes
from splitplace.splitting.semantic.surgery import channel_importance, channel_sets, slice_channels
from splitplace.training.families.build import build

SIDE = 32
CASES = [  # family, cut, groups
    pytest.param("mobilenetv2", "stem", 2, marks=pytest.mark.slow),
    ("mobilenetv2", "blocks2", 3),
    ("mobilenetv2", "blocks5", 2),
    pytest.param("resnet50v2", "stage1", 3, marks=pytest.mark.slow),
    pytest.param("resnet50v2", "stage2", 2, marks=pytest.mark.slow),
    pytest.param("resnet34v2", "stage3", 2, marks=pytest.mark.slow),
    pytest.param(
        "inceptionv3", "mixed_6a", 2, marks=pytest.mark.slow
    ),  # its pooling path hands the trunk's channels on
    pytest.param("inceptionv3", "mixed_6e", 3, marks=pytest.mark.slow),
    pytest.param("inceptionv3", "mixed_7a", 2, marks=pytest.mark.slow),
    ("resnet18", "layer3", 2),
    ("lcnet_050", "blocks3", 3),
    *(
        pytest.param(model, cut, 2, marks=pytest.mark.slow)
        for model, cut in [
            ("resnet26d", "layer3"),
            ("seresnet50", "layer3"),
            ("mobilenetv3_small_050", "blocks4"),
            ("efficientnet_b0", "blocks4"),
            ("mnasnet_small", "blocks5"),
            ("fbnetc_100", "blocks4"),
            ("hardcorenas_a", "blocks4"),
            ("tinynet_e", "blocks4"),
            ("vgg11", "features3"),
            ("vgg11_bn", "features3"),
            ("densenet121", "denseblock3"),
            ("darknet17", "stages3"),
            ("ese_vovnet19b_dw", "stages1"),
            ("dla34", "level2"),
            ("repvgg_a0", "stages3"),
            ("selecsls42", "head"),
        ]
    ),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks gain nothing from threads, and lose much where other processes run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def behind(model: str, cut: str, n_classes: int = 6) -> tuple[nn.Sequential, torch.Tensor]:
    """What stands behind a cut of a random network in eval mode with random statistics, and an input for it."""
    torch.manual_seed(1)
    strides = (2,) if model in ALIASES else ()
    network = build(model, n_classes, (1, SIDE, SIDE), ((0.3,), (0.3,)), strides).eval()
    normalised = any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            layer.momentum = 1.0
        elif isinstance(layer, nn.Conv2d | nn.Linear) and not normalised:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        # One pass sets the statistics to those of real activations, so that logits are of order 1.
        network.train()(torch.randint(0, 256, (16, 1, SIDE, SIDE), dtype=torch.uint8))
    network.eval()
    position = [name for name, _ in network.named_children()].index(cut)
    with torch.no_grad():
        x_B = network[:position](torch.randint(0, 256, (3, 1, SIDE, SIDE), dtype=torch.uint8))
    return network[position:], x_B


def random_partition(network, x_B, groups=2):
    """Every channel set divided at random, classes included: one `keep` a group."""
    rng = np.random.default_rng(5)
    keep: list[dict[str, list[int]]] = [{} for _ in range(groups)]
    for channels in channel_sets(network, x_B):
        owner = rng.permutation(np.arange(channels.size) % groups)
        for g in range(groups):
            keep[g][channels.name] = np.flatnonzero(owner == g).tolist()
    return keep


def zero_between_groups(network, x_B, keep):
    """Zero every weight from one group's channel to another's; weights from the input stay."""
    with dependencies.tracing(network):
        traced = dependencies.trace(network, x_B)
    out_owner, in_owner = {}, {}
    for name, group in traced.groups.items():
        owner = np.empty(len(group[0].idxs), int)
        for g, kept in enumerate(keep):
            owner[kept[name]] = g
        for item in group:
            layer = item.dep.target.module
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            reads = "in_channels" in item.dep.handler.__name__
            table, size = (in_owner, layer.weight.shape[1]) if reads else (out_owner, layer.weight.shape[0])
            if not (reads and isinstance(layer, nn.Conv2d) and layer.groups > 1):
                table.setdefault(layer, np.full(size, -1))[item.idxs] = owner[item.root_idxs]
    with torch.no_grad():
        for layer in set(out_owner) & set(in_owner):
            o, i = out_owner[layer], in_owner[layer]
            crosses = (o[:, None] != i[None]) & (o[:, None] >= 0) & (i[None] >= 0)
            layer.weight[torch.from_numpy(crosses)] = 0


@pytest.mark.parametrize(("model", "cut", "groups"), CASES)
def test_slicing_by_a_partition_without_cross_weights_keeps_the_logits(model, cut, groups):
    """Where no weight leads from one group to another, a group's slice gives the whole network's logits.

    To 1e-12 in double precision, where rounding is out of the way, and to 1e-5 in single.
    """
    network, x_B = behind(model, cut)
    keep = random_partition(network, x_B, groups)
    zero_between_groups(network, x_B, keep)
    logits = next(channels.name for channels in channel_sets(network, x_B) if channels.is_output)
    for kept in keep:
        part = slice_channels(network, x_B, kept)
        for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
            with torch.no_grad():
                whole_BK = network.to(dtype)(x_B.to(dtype))
                part_BK = part.to(dtype)(x_B.to(dtype))
            assert whole_BK.std() > 0.01, "logits that are all zero would prove nothing"
            torch.testing.assert_close(part_BK, whole_BK[:, kept[logits]], rtol=0, atol=bound)
        network.float()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "cut"), [("mobilenetv2", "blocks3"), ("resnet34v2", "stage2"), ("inceptionv3", "mixed_6a")]
)
def test_a_slice_exports_to_onnx_and_answers_the_same(model, cut):
    """Onnxruntime gives the logits that the whole network has for the slice's classes."""
    network, x_B = behind(model, cut)
    keep = random_partition(network, x_B)
    zero_between_groups(network, x_B, keep)
    sets = {channels.name: channels for channels in channel_sets(network, x_B)}
    (kept,) = (keep[0][name] for name, channels in sets.items() if channels.is_output)
    part = slice_channels(network, x_B, keep[0])
    spec = TensorSpec(name="features", dtype="float32", shape=("batch", *x_B.shape[1:]))
    fragment = ModuleFragment("slice", part, ("features",), "logits", tuple(range(len(kept))))
    merge = Merge(kind="identity", class_order=fragment.classes)
    artifact = to_onnx(ModuleSplit("random", model, "full", "", spec, (fragment,), merge))
    found_BK = InferenceSession(artifact.models["slice"]).run(None, {"features": x_B.numpy()})[0]
    with torch.no_grad():
        expected_BK = network(x_B)[:, kept]
    np.testing.assert_allclose(found_BK, expected_BK, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "cut"), [("mobilenetv2", "stem"), ("resnet50v2", "stage1"), ("inceptionv3", "mixed_6a")]
)
def test_a_slice_takes_under_a_million_calls(model, cut, calls):
    """Of functions, one dependency graph a network: .1 to .5 s of CPU on the machine they were counted on."""
    network, x_B = behind(model, cut)
    keep = random_partition(network, x_B)[0]
    assert calls(lambda: slice_channels(network, x_B, keep)) < 1e6


def test_a_partition_leaves_no_channel_in_two_slices():
    """Norms marked with their channels' numbers show disjoint slices that together hold every channel."""
    network, x_B = behind("mobilenetv2", "blocks3")
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(torch.arange(layer.num_features))
    slices = [slice_channels(network, x_B, kept) for kept in random_partition(network, x_B, groups=4)]
    norms = [name for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    for name in norms:
        held = [int(c) for part in slices for c in part.get_submodule(name).running_mean]
        assert sorted(held) == list(range(network.get_submodule(name).num_features)), name


def test_a_search_for_coupled_channels_that_does_not_end_is_stopped(monkeypatch):
    """By counted visits: fewer are allowed here than the network needs."""
    network, x_B = behind("mobilenetv2", "blocks5")
    monkeypatch.setattr(dependencies, "MAX_VISITS", 3)
    with pytest.raises(SplitPlaceError, match="its search came to no end in 3 visits to layers"):
        channel_sets(network, x_B)


@pytest.mark.slow
def test_a_network_that_cuts_channels_apart_and_joins_them_is_refused():
    """ReXNet adds its input to some channels of a block's output: torch-pruning's search does not end."""
    network = build("rexnet_100", 3, (3, 32, 32), ((0.3,) * 3, (0.3,) * 3)).eval()
    with pytest.raises(SplitPlaceError, match="came to no end"):
        compress(network, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 0.5)


def test_surgery_leaves_the_network_as_it_was():
    """Weights, modes, gradients and in-place flags of the original do not change."""
    network, x_B = behind("mobilenetv2", "blocks5")
    network.train()
    network[0].eval().requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [layer.training for layer in network.modules()]
    in_place = [getattr(layer, "inplace", None) for layer in network.modules()]
    wants = [parameter.requires_grad for parameter in network.parameters()]
    slice_channels(network, x_B, random_partition(network, x_B)[0])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert modes == [layer.training for layer in network.modules()]
    assert in_place == [getattr(layer, "inplace", None) for layer in network.modules()]
    assert wants == [parameter.requires_grad for parameter in network.parameters()]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_a_residual_input_is_coupled_to_stays_whole():
    """Cut inside a residual stage, the channels added to the input belong to no set that could be sliced."""
    network, x_B = behind("mobilenetv2", "blocks5")
    inside = nn.Sequential(network[0][1], nn.Flatten(), nn.LazyLinear(4)).eval()
    with torch.no_grad():
        x_B = network[0][0](x_B)
        inside(x_B)
    names = {channels.name for channels in channel_sets(inside, x_B)}
    assert "0.conv_pwl" not in names
    assert "0.conv_dw" in names


def test_importance_finds_the_only_channel_that_matters():
    """Of two hidden channels, the one whose outgoing weight is zero has no Taylor importance."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.fill_(1.0)
        network[0].bias.fill_(0.1)
        network[4].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    x_B = torch.rand(8, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    y_B = torch.arange(8) % 2 * 0
    importance = channel_importance(network, x_B[:1], [(x_B, y_B)], nn.CrossEntropyLoss())["0"]
    assert importance[0] > 0.01
    assert importance[1] == 0


def test_a_sliced_state_loads_into_the_whole_network_s_layers():
    """`adopt_shapes` makes room for exactly the sliced tensors, depthwise layers included."""
    network, x_B = behind("mobilenetv2", "blocks5")
    part = slice_channels(network, x_B, random_partition(network, x_B)[1])
    other, _ = behind("mobilenetv2", "blocks5")
    adopt_shapes(other, part.state_dict())
    other.load_state_dict(part.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(other(x_B), part(x_B))


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"nowhere": [0]}, "no channel set 'nowhere': expected one of"),
        ({"head.classifier": []}, "got 0 channels to keep of 6"),
        ({"head.classifier": [6]}, "got 1 channels to keep of 6"),
        ({"head.classifier": [1, 1]}, "got 2 channels to keep of 6"),
    ],
)
def test_channels_that_are_not_there_are_refused(keep, message):
    """Names and numbers are held against the sets."""
    network, x_B = behind("mobilenetv2", "blocks6")
    with pytest.raises(SplitPlaceError, match=message):
        slice_channels(network, x_B, keep)


def test_a_search_whose_channels_multiply_is_ended(monkeypatch):
    """By counted channels: fewer are allowed here than one flattening makes."""
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 64, 4))
    assert {channels.size for channels in channel_sets(network, torch.rand(2, 1, 8, 8))} == {4, 8}
    monkeypatch.setattr(dependencies, "MAX_CHANNELS", 8 * 64 - 1)
    with pytest.raises(SplitPlaceError, match="their numbers grow beyond 511"):
        channel_sets(network, torch.rand(2, 1, 8, 8))
