import pytest
import torch
from timm.layers.norm import LayerNorm2d
from torch import nn

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.records.fragment import TensorSpec
from splitplace.splitting.semantic.pruning import compress, compressed_split, kept_of
from splitplace.splitting.semantic.surgery import ChannelSet, channel_norms, channel_sets
from splitplace.training.families.build import build

IMAGES = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)


def random_network(model: str) -> nn.Sequential:
    """A network nobody trained, in eval mode."""
    torch.manual_seed(2)
    return build(model, 6, (1, 28, 28), ((0.3,), (0.3,)), (2,)).eval()


def params(network):
    """How many weights there are."""
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    "model", ["mobilenetv2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet34v2", "inceptionv3"))]
)
def test_half_of_the_channels_are_a_quarter_of_the_weights(model):
    """Physically: a dense network with the same logits, exported as one fragment of that size."""
    network = random_network(model)
    smaller = compress(network, IMAGES, 0.5)
    assert smaller(IMAGES).shape == (2, 6)
    assert params(smaller) / params(network) == pytest.approx(0.25, abs=0.02)
    sizes = {channels.name: channels.size for channels in channel_sets(network[1:], network[:1](IMAGES))}
    left = {channels.name: channels.size for channels in channel_sets(smaller[1:], smaller[:1](IMAGES))}
    (output,) = (c.name for c in channel_sets(network[1:], network[:1](IMAGES)) if c.is_output)
    assert left == {name: size if name == output else size // 2 for name, size in sizes.items()}


def test_channels_stay_in_blocks_of_four():
    """The nearest multiple, or all; of up to four any number: kernels for CPUs are slow at other counts."""
    left = [[kept_of(ChannelSet("some", size, False), wanted) for wanted in (0.1, 0.4 * size, 0.9 * size)]
            for size in (3, 4, 6, 24, 30, 960)]  # fmt: skip
    assert left == [[1, 1, 3], [1, 2, 4], [4, 4, 6], [4, 8, 20], [4, 12, 28], [4, 384, 864]]
    assert [kept_of(ChannelSet("heads", 12, False, are_heads=True), wanted) for wanted in (0.1, 4.8, 6.6)] == [1, 5, 7]


@pytest.mark.slow
def test_a_compressed_network_of_random_weights_exports_as_one_fragment():
    """What a benchmark needs: no run, no data."""
    spec = TensorSpec(name="image", dtype="uint8", shape=("batch", 1, 28, 28))
    network = random_network("mobilenetv2")
    artifact = to_onnx(compressed_split("random", "mobilenetv2", 0.5, spec, compress(network, IMAGES, 0.5), 6))
    assert artifact.split.reference == "random.mobilenetv2.compressed-50"
    (fragment,) = artifact.split.fragments
    assert fragment.params < 0.3 * params(network)


@pytest.mark.parametrize("norm", [1, 2])
def test_the_channels_of_the_smallest_norm_go(norm):
    """By hand: a set's score is the mean of Σ|w|^n over the two layers it couples."""
    network = nn.Sequential(nn.Identity(), nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1, 1))
        network[3].weight.copy_(torch.tensor([[1.0, 0.0, 4.0], [1.0, 0.0, 4.0]]).view(2, 3, 1, 1))
    found = channel_norms(network[1:], torch.zeros(1, 1, 4, 4), norm)["1"]
    a, b = torch.tensor([1.0, 2.0, 0.5]) ** norm, torch.tensor([2.0, 0.0, 2 * 4.0**norm])
    torch.testing.assert_close(found, (a + b) / 2)
    kept = compress(network, torch.zeros(1, 1, 4, 4), 0.34, norm)[1].weight.flatten()
    expected = found.argsort(descending=True)[:2].sort().values
    assert torch.equal(kept, network[1].weight.flatten()[expected])


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 0.505, float("nan")])
def test_a_ratio_that_is_no_whole_percentage_is_refused(ratio):
    """One line that says what a ratio is."""
    with pytest.raises(UsageError, match=r"ratio .*: expected the share of channels to remove"):
        compress(random_network("mobilenetv2"), IMAGES, ratio)


def test_a_network_that_cannot_be_sliced_is_refused():
    """Convolutions of several channels a group."""
    grouped = nn.Sequential(nn.Identity(), nn.Conv2d(4, 8, 1, groups=2), nn.Conv2d(8, 2, 1))
    with pytest.raises(SplitPlaceError, match="1 is a convolution of 2 groups"):
        compress(grouped, torch.zeros(1, 4, 4, 4), 0.5)


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 8), nn.GroupNorm(2, 8, affine=False), LayerNorm2d(8)])
def test_normalisation_over_channels_that_go_is_refused(norm):
    """Without them it would compute something else; the layer is named."""
    normed = nn.Sequential(nn.Identity(), nn.Conv2d(1, 8, 1), norm, nn.Conv2d(8, 2, 1))
    with pytest.raises(SplitPlaceError, match=r"cannot slice \(2 normalises over all of its channels at once\)"):
        compress(normed, torch.zeros(1, 1, 4, 4), 0.5)


def test_a_network_that_cannot_be_traced_is_refused():
    """An MLP-Mixer, whose channels are places too: one line, not an error of the tracing library's."""
    mixer = build("mixer_s16_224", 10, (1, 28, 28), ((0.3,), (0.3,))).eval()
    with pytest.raises(SplitPlaceError, match="layers that surgery cannot slice"):
        compress(mixer, IMAGES, 0.5)
