"""Augmentation against torchvision's own transforms."""

import random
from importlib import resources

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.training.data.augment import ALLOWED, Augment, parse
from splitplace.training.preset import load_preset

EVERY = slice(None)
NEEDED = {
    "ColorJitter": "brightness=0.5",
    "GaussianBlur": "kernel_size=3",
    "RandomAdjustSharpness": "sharpness_factor=2",
    "RandomAffine": "degrees=10, translate=(0.1, 0.1)",
    "RandomCrop": "padding=3, fill=7",
    "RandomPosterize": "bits=2",
    "RandomRotation": "degrees=30",
    "RandomSolarize": "threshold=100",
}
"""Options that some transforms cannot do without, or that send them to torchvision."""


def images(n=64, channels=1):
    """From a stated seed."""
    return torch.from_numpy(np.random.default_rng(5).integers(0, 180, (n, channels, 24, 22), dtype=np.uint8))


def rng(seed=1):
    """A generator of this seed."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_a_random_crop_is_torchvision_s(mode):
    """Every image is one of the crops v2 makes of the padded image, and each of the offsets comes up as often."""
    x_BCHW = images(1).expand(2500, -1, -1, -1)
    padded = v2.functional.pad(x_BCHW[0], [2], padding_mode=mode)
    crops = torch.stack([v2.functional.crop(padded, top, left, 24, 22) for top in range(5) for left in range(5)])
    augment = Augment([f"RandomCrop(padding=2, padding_mode='{mode}')"], (1, 24, 22), mirror=False)
    same = (augment(x_BCHW, 2500, EVERY, rng())[:, None] == crops).flatten(2).all(2)
    assert same.any(1).all()
    counts = same.sum(0)
    assert ((counts > 60) & (counts < 140)).all(), "100 of each, four standard deviations either way"


def test_a_random_flip_is_torchvision_s():
    """Each image is itself or what v2 makes of it, as often as p says."""
    x_BCHW = images(2000)
    done = Augment(["RandomHorizontalFlip(p=0.25)"], (1, 24, 22), mirror=True)(x_BCHW, 2000, EVERY, rng())
    flipped = (done == v2.functional.horizontal_flip(x_BCHW)).flatten(1).all(1)
    assert (flipped | (done == x_BCHW).flatten(1).all(1)).all()
    assert 420 < int(flipped.sum()) < 580


def test_images_are_not_flipped_where_it_would_change_their_class():
    """A 2 in a mirror is no 2, whatever the preset says."""
    x_BCHW = images()
    assert torch.equal(
        Augment(["RandomHorizontalFlip(p=1)"], (1, 24, 22), mirror=False)(x_BCHW, 64, EVERY, rng()), x_BCHW
    )


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_transform_keeps_shape_and_type_and_is_a_function_of_the_seed(name, channels):
    """Whatever other generators hold; and none of them is touched. Another seed gives other images."""
    x_BCHW = images(16, channels)
    augment = Augment([f"{name}({NEEDED.get(name, '')})"], (channels, 24, 22), mirror=True)
    done = []
    for noise in (1, 2):
        random.seed(noise)
        np.random.seed(noise)  # noqa: NPY002 - the generator that must not matter
        torch.manual_seed(noise)
        before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
        done.append(augment(x_BCHW, 16, EVERY, rng()))
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    assert torch.equal(*done)
    assert done[0].shape == x_BCHW.shape
    assert done[0].dtype == torch.uint8
    if (name, channels) != ("RandomGrayscale", 1):
        assert not torch.equal(done[0], x_BCHW)
        assert not torch.equal(done[0], augment(x_BCHW, 16, EVERY, rng(3)))


def test_a_transform_without_a_shortcut_is_v2_s_own_image_by_image():
    """Rotations by several angles in one batch, each of them v2's."""
    x_BCHW = images(1).expand(20, -1, -1, -1)
    done = Augment(["RandomRotation(degrees=(90, 90))", "RandomErasing(p=1)"], (1, 24, 22), mirror=False)
    rotated = v2.functional.rotate(x_BCHW[0], 90)
    found = done(x_BCHW, 20, EVERY, rng())
    erased = found != rotated
    assert (erased.flatten(1).any(1) & (found[erased] == 0).all()).all()
    assert len({tuple(mask.flatten().tolist()) for mask in erased}) > 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RandomCrop", r"expected NAME\(option=value"),
        ("RandomCrop(2)", r"expected NAME\(option=value"),
        ("RandomCrop(padding=2", r"expected NAME\(option=value"),
        ("RandomCrop(padding=1+1)", r"expected NAME\(option=value"),
        ("RandomCrop(padding=__import__('os').getpid())", r"expected NAME\(option=value"),
        ("RandomCrop(**{'padding': 2})", r"expected NAME\(option=value"),
        ("RandomCrop(padding=2, size=28)", "leave out size"),
        ("RandomCrop(padding=2, padding_mode='round')", "padding_mode"),
        ("RandomCrop(padding=2, fil=3)", "unexpected keyword argument 'fil'"),
        ("RandomRotation()", "missing .* 'degrees'"),
        ("GaussianBlur(kernel_size=2)", "odd and positive"),
        ("v2.RandomCrop(padding=2)", r"expected NAME\(option=value"),
        (f"RandomCrop(padding={'2' * 300})", "expected at most 200"),
    ],
)
def test_what_is_no_transform_is_refused(text, message):
    """One line, and nothing of it is executed."""
    with pytest.raises(SplitPlaceError, match=message):
        Augment([text], (1, 28, 28), mirror=True)


def test_an_unknown_transform_lists_the_known_ones():
    """Only those that keep an image's size and type."""
    with pytest.raises(UsageError, match="unknown transform 'Resize': expected one of ColorJitter"):
        parse("Resize(antialias=True)")


def test_a_preset_with_an_unknown_transform_is_refused_when_read(tmp_path):
    """Before data are read; the place is named."""
    quick = (resources.files("splitplace.training") / "presets" / "quick.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(quick.replace("RandomHorizontalFlip", "Mixup"))
    with pytest.raises(SplitPlaceError, match=r"mine\.toml: not a preset: full\.augment: .*unknown transform 'Mixup'"):
        load_preset(str(tmp_path / "mine.toml"))
