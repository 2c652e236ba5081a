"""Presets: what ships, what a model or a data set does otherwise, what is refused."""

import re
from importlib import resources
from pathlib import Path

import pytest

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.splitting.networks import ALIASES
from splitplace.training.preset import load_preset

SHIPPED = resources.files("splitplace.training") / "presets"


@pytest.fixture
def quick_with(tmp_path):
    """The quick preset as a file of the user's, with some lines at its end."""

    def load(lines):
        file = tmp_path / "mine.toml"
        file.write_text((SHIPPED / "quick.toml").read_text(encoding="utf-8") + lines)
        return load_preset(str(file))

    return load


@pytest.mark.parametrize("name", ["quick", "standard", "demand", "demand-gpu"])
def test_shipped_presets_are_valid(name):
    """They bear their name, and fit and cut every model we know."""
    preset = load_preset(name)
    assert preset.name == name
    for model in ALIASES:
        settings = preset.settle(model, "mnist")
        assert settings.strides
        assert len(settings.cuts) == 2


def test_a_data_set_and_a_model_change_single_values(quick_with):
    """Where both give one, the data set's holds; everything else is the recipe's."""
    preset = quick_with(
        "[models.mobilenetv2.full]\nepochs = 3\nbatch_size = 32\n"
        "[applications.shades.full]\nepochs = 5\naugment = ['RandomErasing()']\n"
    )
    plain = preset.settle("resnet50v2", "mnist")
    assert (plain.full, plain.strides) == (preset.full, (2,))
    both = preset.settle("mobilenetv2", "shades")
    assert both.full == preset.full.changed(epochs=5, batch_size=32, augment=("RandomErasing()",))
    assert (both.semantic, both.strides, both.cuts) == (preset.semantic, (2, 1), ("blocks3", "blocks5"))
    assert preset.settle("mobilenetv2", "mnist").full == preset.full.changed(epochs=3, batch_size=32)


def test_a_model_without_a_table_is_trained_as_it_is():
    """Any of timm's: no strides are changed."""
    assert load_preset("quick").settle("resnet18", "mnist").strides == ()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("[applications.mnist.full]\nepoch = 3\n", r"applications.mnist: .*epoch: no such key: did you mean epochs\?"),
        ("[models.mobilenetv2.full]\nbatch_size = 1\n", "models.mobilenetv2: .*batch_size: Input should be greater"),
        ("[models.resnet34v2.ful]\nepochs = 1\n", r"models\.resnet34v2\.ful: no such key: did you mean full\?"),
        ("[models.resnet99.full]\nepochs = 1\n", "unknown model 'resnet99'"),
        ("[mnist.full]\nepochs = 1\n", "mnist: Extra inputs are not permitted"),
        (
            "[models.resnet18.full]\nvalidation_share = 0.1\npatience = 2\n"
            "[applications.mnist.full]\nvalidation_share = 0.0\n",
            "models.resnet18 with applications.mnist: .*patience needs",
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_the_file_is_read(quick_with, lines, message):
    """Misspelt keys, values out of range, unknown models and pairs that contradict each other; the table is named."""
    with pytest.raises(SplitPlaceError, match=message):
        quick_with(lines)


def test_an_unknown_preset_lists_the_known_ones():
    """A usage error."""
    with pytest.raises(
        UsageError, match=r"unknown preset 'fast': expected one of a \.toml file, demand, demand-gpu, quick, standard"
    ):
        load_preset("fast")


def test_a_preset_of_the_user_s_own_is_read_strictly(tmp_path):
    """A misspelt key is named, and what is no TOML, or no text at all, is one line."""
    file = tmp_path / "mine.toml"
    for content, message in (
        (b'name = "mine"\nlearning_rat = 1\n', "a preset: "),
        (b"a = [", "TOML"),
        (b"\xa7", "TOML"),
    ):
        file.write_bytes(content)
        with pytest.raises(SplitPlaceError, match=rf"mine\.toml: not {message}"):
            load_preset(str(file))


def test_the_readme_s_lines_belong_in_a_preset(quick_with):
    """Added to one that ships, they change what they say."""
    readme = Path(__file__).resolve().parents[2] / "training" / "README.md"
    (lines,) = re.findall(r"```toml\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    full = quick_with(lines).settle("inceptionv3", "mnist").full
    assert (full.batch_size, full.epochs, len(full.augment)) == (32, 3, 2)
