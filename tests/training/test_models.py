import pytest
import torch

from splitplace.errors import UsageError
from splitplace.splitting.networks import Front
from splitplace.training.families.build import build, stage_names

GREY = ((0.3,), (0.2,))
COLOUR = ((0.5, 0.4, 0.3), (0.2, 0.2, 0.3))


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet34v2", "resnet50v2", "inceptionv3"])
@pytest.mark.parametrize(("shape", "statistics"), [((1, 28, 28), GREY), ((3, 32, 32), COLOUR)])
def test_our_models_take_raw_small_images_and_have_stages(name, shape, statistics):
    """Raw uint8 in, one logit a class out, at 28 and 32 px, with stages to cut between."""
    network = build(name, 7, shape, statistics, strides=(2,)).eval()
    with torch.no_grad():
        logits = network(torch.zeros(2, *shape, dtype=torch.uint8))
    assert logits.shape == (2, 7)
    assert len(stage_names(network)) >= 4


def test_a_stem_of_stride_one_sees_more_pixels():
    """Strides are those asked for: the stem's first, then those of stages that shrink."""

    def resolution(strides):
        network = build("mobilenetv2", 10, (1, 28, 28), GREY, strides).eval()
        with torch.no_grad():
            return network[:-1](torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape[-1]

    assert [resolution(s) for s in ((2,), (2, 1), (1, 1))] == [1, 2, 4]


@pytest.mark.slow
def test_a_model_that_needs_larger_images_is_resized_inside():
    """A network that cannot take 28 px gets a front that resizes to what it was designed for."""
    network = build("vit_tiny_patch16_224", 3, (1, 28, 28), GREY).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape == (1, 3)


def test_the_front_normalises_by_mean_and_std():
    """(x / 255 - mean) / std, channel by channel."""
    image_BCHW = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values)[:, None, None] for values in COLOUR)
    torch.testing.assert_close(Front(*COLOUR)(image_BCHW), (image_BCHW / 255 - mean) / std)


def test_an_unknown_model_lists_ours():
    """A usage error."""
    with pytest.raises(UsageError, match="unknown model 'mobilenet9': expected one of resnet50v2"):
        build("mobilenet9", 10, (1, 28, 28), GREY)


def test_more_strides_than_shrinking_stages_are_refused():
    """MobileNetV2 has four after its stem."""
    with pytest.raises(UsageError, match="5 strides after the stem's, but 4"):
        build("mobilenetv2", 10, (1, 28, 28), GREY, (2, 1, 1, 1, 1, 1))


def test_a_stem_that_is_not_fitted_is_refused():
    """ResNet-D's, of three convolutions."""
    with pytest.raises(UsageError, match="a stem of several convolutions is not fitted to small images"):
        build("resnetv2_50d", 10, (1, 28, 28), GREY)
