import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from splitplace.errors import UsageError
from splitplace.splitting.networks import Front, create, model_label
from splitplace.training.families.build import build, stage_names
from splitplace.training.families.chain import chain
from splitplace.training.families.registry import family_of

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


@pytest.mark.parametrize(
    "name",
    [
        "densenet121",
        "mobilenetv2_035",
        "efficientnet_lite0",
        "mobilenetv3_small_050",
        "test_resnet",
        "resnet26d",
        "resnetv2_18",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet264d", "inception_v3", "vgg11_bn")),
    ],
)
def test_the_stages_of_a_family_answer_as_its_network(name):
    """One after the other, to the bit; the last is the head."""
    network = create(name, num_classes=3).eval()
    family = family_of(network)
    assert family is not None
    family.fit(network, ())
    stages = family.stages(network)
    x_BCHW = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(nn.Sequential(stages).eval()(x_BCHW), network.eval()(x_BCHW))
    assert [*stages][-1] == "head"
    assert len(stages) >= 5


@pytest.mark.parametrize(
    "options",
    [{}, {"no_embed_class": True, "reg_tokens": 2}, {"global_pool": "avg", "class_token": False, "pre_norm": True}],
    ids=["class token", "places of patches only", "no class token"],
)
def test_the_stages_of_a_transformer_answer_as_it_does(options):
    """A stage a block, to the bit."""
    network = VisionTransformer(img_size=16, patch_size=4, embed_dim=8, depth=3, num_heads=2, num_classes=3, **options)
    nn.init.normal_(network.pos_embed)
    stages = family_of(network.eval()).stages(network)
    assert [*stages] == ["tokens", "blocks0", "blocks1", "blocks2", "head"]
    x_BCHW = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(nn.Sequential(stages).eval()(x_BCHW), network(x_BCHW))


@pytest.mark.parametrize(
    "make",
    [lambda: create("deit_tiny_distilled_patch16_224"), lambda: create("test_vit")],
    ids=["distilled", "any size"],
)
def test_a_transformer_that_does_more_than_its_blocks_is_one_stage(make):
    """Two heads whose answers are averaged; places that hang on the image's size."""
    network = make()
    assert [*family_of(network).stages(network)] == ["head"]


def test_a_network_without_a_family_is_cut_between_its_children():
    """ConvNeXt: the parts of its stem and its stages one by one."""
    stages = [name for name, _ in build("convnext_atto", 3, (3, 32, 32), COLOUR).named_children()]
    assert stages[1:] == ["stem0", "stem1", "stages0", "stages1", "stages2", "stages3", "norm_pre", "head"]


class Crossed(nn.Module):
    """Calls its children in an order of its own."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Flatten(), nn.Conv2d(3, 2, 8)

    def forward(self, x_BCHW):  # noqa: D102
        return self.last(self.first(x_BCHW))


class Flattening(nn.Module):
    """Flattens in its forward, as torchvision's networks do."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(8, 4)
        self.last = nn.Linear(4, 5)

    def forward(self, x_BCHW):  # noqa: D102
        return self.last(self.head(self.body(x_BCHW).flatten(1)))


class SqueezeExcite(nn.Module):
    """Weighs channels by what they hold."""

    def __init__(self):
        super().__init__()
        self.weigh = nn.Linear(2, 2)

    def forward(self, x_BCHW):  # noqa: D102
        return x_BCHW * self.weigh(x_BCHW.mean((2, 3)))[..., None, None]


class Dropping(nn.Sequential):
    """Does more in training than its children do."""

    def forward(self, x_BCHW):  # noqa: D102
        return super().forward(nn.functional.dropout(x_BCHW, training=self.training))


class Doubling(nn.Sequential):
    """Does more than its children do."""

    def forward(self, x_BCHW):  # noqa: D102
        return 2 * super().forward(x_BCHW)


@pytest.mark.parametrize("make", [Crossed, Dropping, Doubling])
def test_a_network_that_is_more_than_its_children_in_a_row_is_one_stage(make):
    """In training too."""
    layers = () if make is Crossed else (nn.Conv2d(3, 2, 8), nn.Flatten())
    assert [*chain(make(*layers), torch.rand(2, 3, 8, 8))] == ["head"]


def test_a_network_that_flattens_in_its_forward_is_a_chain_with_that_as_a_stage():
    """Without parameters, before the first linear layer; what has a flattening of its own gets no other."""
    network, image_BCHW = Flattening(), torch.rand(2, 3, 8, 8)
    stages = chain(network, image_BCHW)
    assert [*stages] == ["body0", "body1", "body2", "flatten", "head", "last"]
    assert torch.equal(nn.Sequential(stages).eval()(image_BCHW), network.eval()(image_BCHW))


def test_flattening_is_found_before_a_stage_with_linear_layers_in_it():
    """A head of several, or one deeper down, which stays one stage."""

    class Deep(Flattening):
        def __init__(self):
            super().__init__()
            self.head = nn.Sequential(nn.Linear(8, 4), nn.ReLU())

    assert [*chain(Deep(), torch.rand(2, 3, 8, 8))] == ["body0", "body1", "body2", "flatten", "head", "last"]


def test_flattening_is_found_behind_convolutions_with_linear_layers_in_them():
    """As for squeeze and excitation."""

    class Excited(Flattening):
        def __init__(self):
            super().__init__()
            self.body.insert(1, SqueezeExcite())

    assert [*chain(Excited(), torch.rand(2, 3, 8, 8))][-3:] == ["flatten", "head", "last"]


def test_what_is_tried_for_stages_changes_nothing():
    """Neither weights nor running statistics, nor what dropout will draw."""
    network = nn.Sequential(nn.Conv2d(3, 2, 8), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten())
    before, drawn = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    assert len(chain(network, torch.rand(2, 3, 8, 8, generator=torch.Generator()))) == 4
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "strides"), [("inceptionv3", (2,)), pytest.param("vgg11", (), marks=pytest.mark.slow)]
)
def test_images_too_small_for_a_fitted_network_become_as_small_as_it_was_fitted_to(name, strides):
    """And no larger: at the size that it was designed for, it would take the machine's memory."""
    network = build(name, 3, (3, 16, 16), COLOUR, strides).eval()
    values = 0
    x_BCHW = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with torch.no_grad():
        for stage in network:
            x_BCHW = stage(x_BCHW)
            values += x_BCHW.numel()
    assert network[0].size == 32
    assert values < 20e6


def test_a_timm_name_with_a_tag_becomes_a_label_that_references_can_hold():
    """Dots part a reference."""
    assert model_label("resnet50.a1_in1k") == "resnet50-a1_in1k"
    assert model_label("mobilenetv2") == "mobilenetv2"
    assert model_label("shapes.nets:Small") == "shapes-nets-Small"
