"""Transformers by class groups: heads of attention and channels of MLPs, on a small one with random weights."""

import copy

import numpy as np
import pytest
import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from splitplace.errors import InfeasibleError, SplitPlaceError, UsageError
from splitplace.splitting.networks import Front
from splitplace.splitting.semantic.branches import check_channels, check_links
from splitplace.splitting.semantic.heads import attentions
from splitplace.splitting.semantic.pruning import compress
from splitplace.splitting.semantic.rebuild import adopt_shapes
from splitplace.splitting.semantic.surgery import channel_importance, channel_norms, channel_sets, slice_channels
from splitplace.training.families.registry import family_of

HEADS, WIDTH = 4, 6
"""Of each attention, and channels of each head."""


def transformer(**options) -> nn.Sequential:
    """Three blocks as a chain of stages, image to logits of six classes, in eval mode."""
    torch.manual_seed(2)
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": HEADS * WIDTH, "depth": 3, "num_heads": HEADS}
    network = VisionTransformer(**sizes, num_classes=6, **options)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.2)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.2)
    return nn.Sequential(family_of(network).stages(network)).eval()


def behind(cut: int = 2, **options) -> tuple[nn.Sequential, torch.Tensor]:
    """What stands behind the first stages, and tokens it takes."""
    network = transformer(**options)
    with torch.no_grad():
        return network[cut:], network[:cut](torch.rand(3, 3, 16, 16))


def silenced(network: nn.Module, keep: dict[str, list[int]]) -> nn.Module:
    """The whole network, with zeros where what is not kept would be added to the tokens."""
    whole = copy.deepcopy(network)
    for name, kept in keep.items():
        layer = whole.get_submodule(name)
        with torch.no_grad():
            if isinstance(layer, Attention):
                by_head = layer.proj.weight.view(len(layer.proj.weight), HEADS, WIDTH)
                by_head[:, [head for head in range(HEADS) if head not in kept]] = 0
            elif name.endswith("fc1"):
                then = whole.get_submodule(name.removesuffix("1") + "2").weight
                then[:, [c for c in range(then.shape[1]) if c not in kept]] = 0
    return whole


@pytest.mark.parametrize(
    "options",
    [{}, {"qk_norm": True}, {"qkv_bias": False, "init_values": 0.5}, {"global_pool": "avg", "class_token": False}],
    ids=["plain", "normalised queries", "layer scale", "mean of the tokens"],
)
def test_a_slice_answers_as_the_whole_without_what_its_heads_and_channels_are_not(options):
    """Of two groups drawn at random; to 1e-12 in double precision, 1e-5 in single."""
    network, x_BND = behind(**options)
    rng = np.random.default_rng(5)
    owners = {s.name: rng.permutation(np.arange(s.size) % 2) for s in channel_sets(network, x_BND)}
    (logits,) = (s.name for s in channel_sets(network, x_BND) if s.is_output)
    assert sum(name.endswith("attn") for name in owners) == 2
    assert sum(name.endswith("fc1") for name in owners) == 2
    for group in range(2):
        keep = {name: np.flatnonzero(owner == group).tolist() for name, owner in owners.items()}
        part, whole = slice_channels(network, x_BND, keep), silenced(network, keep)
        for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
            with torch.no_grad():
                expected_BK = whole.to(dtype)(x_BND.to(dtype))[:, keep[logits]]
                found_BK = part.to(dtype)(x_BND.to(dtype))
            assert expected_BK.std() > 0.01
            torch.testing.assert_close(found_BK, expected_BK, rtol=0, atol=bound)


def test_a_partition_leaves_no_head_in_two_slices():
    """Rows marked with their heads' numbers: queries, keys and values alike."""
    network, x_BND = behind()
    for layer in attentions(network).values():
        with torch.no_grad():
            layer.qkv.bias.copy_(torch.arange(HEADS).repeat_interleave(WIDTH).repeat(3))
    slices = [slice_channels(network, x_BND, dict.fromkeys(attentions(network), kept)) for kept in ((0, 3), (2,), (1,))]
    for name in attentions(network):
        held = [part.get_submodule(name).qkv.bias.view(3, -1, WIDTH)[:, :, 0].tolist() for part in slices]
        assert held == [[[0, 3]] * 3, [[2]] * 3, [[1]] * 3]
        assert [part.get_submodule(name).num_heads for part in slices] == [2, 1, 1]


def test_a_sliced_transformer_loads_into_the_whole_one_s_layers():
    """And a compressed one: shapes and the number of heads follow from the tensors."""
    network, x_BND = behind()
    part = slice_channels(network, x_BND, dict.fromkeys(attentions(network), (1, 2)))
    other, _ = behind()
    adopt_shapes(other, part.state_dict())
    other.load_state_dict(part.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(other(x_BND), part(x_BND))
    whole = nn.Sequential(Front((0.5,) * 3, (0.2,) * 3), *transformer())
    smaller = compress(whole, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), 0.5)
    assert [layer.num_heads for layer in attentions(smaller).values()] == [2, 2, 2]


def test_a_head_that_changes_nothing_has_no_importance():
    """Where its columns are zero, its rows have no gradient; the other heads matter."""
    network, x_BND = behind()
    (name, layer), *_ = attentions(network).items()
    with torch.no_grad():
        layer.proj.weight[:, 2 * WIDTH : 3 * WIDTH] = 0
    found = channel_importance(network, x_BND, [(x_BND, torch.tensor([0, 1, 2]))], nn.CrossEntropyLoss())[name]
    assert found[2] == 0
    assert (found[[0, 1, 3]] > 1e-6).all()


def test_a_head_s_norm_is_that_of_its_rows_and_columns():
    """The mean over rows, biases and columns, summed one by one."""
    network, x_BND = behind()
    (name, layer), *_ = attentions(network).items()
    found = channel_norms(network, x_BND, 2)[name]
    for head in range(HEADS):
        rows = [part * HEADS * WIDTH + head * WIDTH + i for part in range(3) for i in range(WIDTH)]
        columns = [head * WIDTH + i for i in range(WIDTH)]
        parts = (layer.qkv.weight[rows], layer.qkv.bias[rows], layer.proj.weight[:, columns])
        expected = sum(float((part.detach().double() ** 2).sum()) for part in parts) / 3
        assert float(found[head]) == pytest.approx(expected, rel=1e-5)


def test_attention_that_normalises_over_its_heads_is_refused():
    """None can be taken out alone."""
    network, x_BND = behind(scale_attn_norm=True)
    with pytest.raises(SplitPlaceError, match=r"attn normalises over all of its heads"):
        channel_sets(network, x_BND)


def test_fewer_heads_than_branches_are_refused():
    """Names the attention."""
    network = nn.Sequential(Front((0.5,) * 3, (0.2,) * 3), *transformer())
    names = [name for name, _ in network.named_children()]
    with pytest.raises(UsageError, match=r"attn has 4 channels \(or heads\) a node"):
        check_channels(network, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), (names[3],), (5,))


def test_splitnet_has_nothing_to_learn_of_a_transformer():
    """Between its layers stand tokens, which all groups share."""
    network = nn.Sequential(Front((0.5,) * 3, (0.2,) * 3), *transformer())
    with pytest.raises(InfeasibleError, match="choose --recipe distil"):
        check_links(network, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "3")
