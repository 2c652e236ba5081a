"""What `splitplace train` refuses, and that it does so before anything is trained."""

import json
import re
from importlib import resources
from pathlib import Path

import pytest
from PIL import Image

import splitplace as sp
from splitplace.cli import main
from splitplace.errors import SplitPlaceError
from splitplace.training.run import Run

FEW = ("--epochs", "1", "--samples", "16")


@pytest.fixture
def train(capsys, monkeypatch, tmp_path):
    """A function that runs `splitplace train` in an empty folder: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*tokens):
        code = 0
        try:
            main(["train", *map(str, tokens)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused(train, tmp_path):
    """A function that expects one line and a code of `splitplace train`, and that no folder was begun."""

    def run(message, *tokens, code=2):
        before = sorted(tmp_path.rglob("*"))
        got, out, err = train(*tokens)
        assert (got, out, err.count("\n")) == (code, "", 1), err
        assert re.search(message, err), err
        assert sorted(tmp_path.rglob("*")) == before

    return run


@pytest.fixture(scope="module")
def shades(image_folder, tmp_path_factory):
    """A full model of dark and bright images, by the command line."""
    out = tmp_path_factory.mktemp("runs") / "full"
    with pytest.raises(SystemExit, match="0"):
        main(["train", "shades", "--path", str(image_folder), *FEW, "--out", str(out)])
    return out


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["--ratio", "0.5"], "--ratio belongs to --strategy compressed, got --strategy full"),
        (["--strategy", "semantic", "--ratio", "0.5"], "--ratio belongs to --strategy compressed, got .*semantic"),
        (["--strategy", "compressed", "--tree", "2"], "--tree belongs to --strategy semantic, got .*compressed"),
        (["--cuts", "blocks3"], "--cuts belongs to --strategy semantic"),
        (["--groups", "features"], "--groups belongs to --strategy semantic"),
        (["--recipe", "distil"], "--recipe belongs to --strategy semantic"),
        (["--overlap", "0"], "--overlap belongs to --strategy semantic"),
        (["--trunk", "shared"], "--trunk belongs to --strategy semantic"),
        (["--cuts", "auto", "--budget", "0.5"], "--cuts belongs to --strategy semantic"),
        (["--full", "somewhere"], "--full belongs to --strategy semantic or compressed, got --strategy full"),
        (["--strategy", "semantic", "--groups", "0,1/2,3", "--tree", "2,2"], "lists 2 groups .*leave out --tree 2,2"),
        (["--strategy", "semantic", "--groups", "0,1/2,3", "--tree", "3"], "lists 2 groups .*leave out --tree 3"),
        (["--strategy", "semantic", "--cuts", "blocks3,blocks5"], "got 2, expected 1, one for each level of --tree 2"),
        (["--strategy", "semantic", "--recipe", "splitnet", "--groups", "features"], "splitnet learns its groups"),
        (["--size", "8"], "--size is for your own images .*fashionmnist has none"),
        (["--mirror"], "--mirror is for your own images"),
        (["--skip-corrupt"], "--skip-corrupt is for your own images"),
        (
            ["--path", "."],
            r"\. does not hold fashionmnist, expected train-images-idx3-ubyte .* give your own images another",
        ),
    ],
)
def test_an_option_without_effect_is_refused(refused, tokens, message):
    """By its name, with what it belongs to."""
    refused(message, "fashionmnist", *tokens)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["--model", "resnet34v2"], "is a run of mobilenetv2: leave out --model resnet34v2"),
        (["--validation", "0.1"], "--validation is for the full model's training"),
        (["--size", "16"], "was held against other images called shades than these"),
    ],
)
def test_what_contradicts_the_given_full_model_is_refused(refused, image_folder, shades, tokens, message):
    """Another model, other images, validation images that it would have had to keep."""
    refused(message, "shades", "--path", image_folder, "--strategy", "semantic", "--full", shades, *tokens)


@pytest.mark.parametrize("size", ["0", "-4", "5000"])
def test_a_size_out_of_range_is_no_word_about_corrupt_images(refused, image_folder, size):
    """Says the range."""
    refused(f"--size {size}: expected 1 to 4096 pixels", "shades", "--path", image_folder, "--size", size)


@pytest.mark.parametrize(
    "strategy", [[], ["--strategy", "semantic"], ["--strategy", "compressed", "--validation", "0.5"]]
)
@pytest.mark.parametrize("out", ["thesis.txt", "thesis.txt/run"])
def test_a_file_is_no_place_for_a_run(refused, image_folder, tmp_path, strategy, out):
    """Nor is what would stand below it; told before a full model is trained."""
    (tmp_path / "thesis.txt").write_text("years of work")
    refused(r"thesis\.txt is no folder\)", "shades", "--path", image_folder, *strategy, "--out", out)


def test_a_folder_of_something_else_is_no_place_for_a_run(refused, image_folder, tmp_path):
    """Told before a full model is trained."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years of work")
    tokens = ("--path", image_folder, "--strategy", "semantic", "--out", "work")
    refused("is no RUN folder and not empty", "shades", *tokens, code=1)


def test_a_tree_with_more_branches_than_a_layer_has_channels_is_refused(refused, tmp_path_factory):
    """A hundred classes are not too few for a hundred branches, but 64 channels are."""
    root = tmp_path_factory.mktemp("hundred")
    for c in range(100):
        (root / f"grey{c}").mkdir()
        for i in range(2):
            Image.new("L", (28, 28), 2 * c + i).save(root / f"grey{c}" / f"{i}.png")
    message = r"a tree of 100 branches by 100 before blocks3, and behind it blocks3\S* has 64 channels"
    refused(message, "hundred", "--path", root, "--strategy", "semantic", "--tree", "100")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["compressed", "--ratio", "0.5", "--model", "resnext50_32x4d"], "a convolution of 32 groups"),
        (["compressed", "--ratio", "0.5", "--model", "convnext_atto"], "layers that surgery cannot slice"),
        (["semantic", "--cuts", "blocks3", "--model", "mixnet_s"], "layers that surgery cannot slice"),
    ],
)
def test_a_network_that_cannot_be_sliced_is_refused(refused, image_folder, tokens, message):
    """Surgery is tried before the full model is trained."""
    refused(message, "shades", "--path", image_folder, "--strategy", *tokens, code=1)


def test_a_picture_of_too_many_classes_is_refused(refused, tmp_path, tmp_path_factory):
    """Before the training, not after it, whatever is trained."""
    root = tmp_path_factory.mktemp("many")
    for c in range(201):
        (root / f"c{c}").mkdir()
        for i in range(2):
            image = Image.new("L", (8, 8), c)
            image.paste(255, (0, 0, 4 * i, 4))
            image.save(root / f"c{c}" / f"{i}.png")
    refused(
        "--plot draws at most 200 classes, many has 201",
        *("many", "--path", root, *FEW, "--plot", tmp_path / "taken.svg"),
    )


def test_a_model_without_cuts_in_the_preset_is_told_of_the_option(refused, image_folder):
    """With the stages to choose from; a model of one stage has none."""
    own = ("shades", "--path", image_folder, "--strategy", "semantic", "--model")
    message = "the preset names none for efficientnet_b0: give --cuts, for each level one of blocks0, .*, head"
    refused(message, *own, "efficientnet_b0")
    refused("model ghostnet_050 is one stage that cannot be cut: choose one of resnet50v2", *own, "ghostnet_050")


@pytest.mark.parametrize("strategy", [["semantic"], ["compressed", "--ratio", "0.5"]])
def test_early_stopping_without_validation_images_is_refused(refused, image_folder, tmp_path, strategy):
    """The full model decides which images are kept, and this one keeps none."""
    text = (resources.files("splitplace.training") / "presets" / "quick.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        f"{text}\n[applications.shades.{strategy[0]}]\nvalidation_share = 0.2\npatience = 2\n"
    )
    tokens = ("--path", image_folder, "--preset", "mine.toml", "--strategy", *strategy)
    refused(r"stops early \(patience 2\), by validation images .*--validation 0\.1", "shades", *tokens)


def test_mirror_images_are_another_training(train, image_folder, shades):
    """The run without them is not taken for one with them, which its preset's name tells apart."""
    code, _, err = train("shades", "--path", image_folder, *FEW, "--mirror", "--out", shades)
    assert code == 1
    assert "(preset: quick, asked for quick-mirror)" in err


def test_images_that_are_given_say_themselves_that_they_are_mirrored(image_folder, shades):
    """A notebook's request is the command line's, by `--mirror` or by what `fetch` gave."""
    few = {"epochs": 1, "samples": 16, "out": shades}
    assert sp.train(sp.fetch("shades", path=image_folder), **few).path == shades
    with pytest.raises(SplitPlaceError, match=r"\(preset: quick, asked for quick-mirror\)"):
        sp.train(sp.fetch("shades", path=image_folder, mirror=True), **few)


def test_mirror_images_are_trained_on(train, image_folder, shades):
    """The flips of the preset apply, so that the weights differ."""
    assert train("shades", "--path", image_folder, *FEW, "--mirror", "--out", "mirrored")[0] == 0
    mirrored, plain = Run.open(Path("mirrored")), Run.open(shades)
    assert mirrored.config.request.seed == plain.config.request.seed
    assert mirrored.config.weights_sha256 != plain.config.weights_sha256


def test_seeds_are_held_against_the_same_images(train, image_folder, shades):
    """Own images without a test part: a compressed model of another seed than its full model's."""
    own = ("shades", "--path", image_folder, *FEW, "--seed", "1", "--json")
    code, out, err = train(*own, "--strategy", "compressed", "--ratio", "0.5", "--full", shades)
    assert code == 0, err
    run = Run.open(shades)
    assert json.loads(out)["teacher_accuracy"] == run.metrics.accuracy


@pytest.mark.slow
def test_the_full_model_of_another_seed_goes_beside_the_tree(train, image_folder, tmp_path):
    """Its usual place is taken: without --out that is said, with it the model goes to OUT.full and is found again."""
    own = ("shades", "--path", image_folder, *FEW)
    assert train(*own)[0] == 0
    tree = (*own, "--strategy", "semantic", "--seed", "1")
    code, _, err = train(*tree)
    assert code == 2
    assert re.search(
        r"the full model is trained first, and \S*runs/shades\.mobilenetv2\.full holds another run .*--out.*--full", err
    )
    for _ in range(2):
        assert train(*tree, "--out", "other")[0] == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other", "other.full", "runs"]
    assert Run.open(tmp_path / "other.full").config.request.seed == 1
