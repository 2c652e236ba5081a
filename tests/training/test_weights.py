import pytest
import safetensors.torch
import torch
from torch import nn

from splitplace.errors import IntegrityError, NotFoundError, SplitPlaceError, UsageError
from splitplace.splitting.networks import check_model, create, plain_name
from splitplace.training.families import weights as room
from splitplace.training.families.build import build
from splitplace.training.families.weights import Weights, adopt_weights, open_weights
from splitplace.training.preset import load_preset
from splitplace.training.recipes.full import train_full

GREY = ((0.3,), (0.2,))


@pytest.fixture
def published(tmp_path):
    """A file as timm publishes them: of colour images and a thousand classes."""
    torch.manual_seed(7)
    network = create("resnet10t", pretrained=False)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "published.safetensors")
    return tmp_path / "published.safetensors", network


def test_what_fits_is_taken_and_what_does_not_is_said(published, caplog):
    """A classifier of other classes stays fresh; the first convolution is summed to one channel, as timm does."""
    file, network = published
    found = build("resnet10t", 3, (1, 28, 28), GREY, weights=open_weights(str(file), "resnet10t"))
    assert torch.equal(found.layer3[0].conv1.weight, network.layer3[0].conv1.weight)
    assert torch.equal(found.layer1[0].bn1.running_mean, network.layer1[0].bn1.running_mean)
    torch.testing.assert_close(found.stem.conv[0].weight, network.conv1[0].weight.sum(1, keepdim=True))
    assert found.head.classifier.out_features == 3
    assert f"tensors from {file}; fresh: fc.weight, fc.bias" in caplog.text


def test_weights_of_another_network_are_refused(published):
    """Less than half of the tensors have a name and a shape that is there."""
    with pytest.raises(UsageError, match="are there by name and shape, expected most: they are another network's"):
        build("lcnet_050", 3, (1, 28, 28), GREY, weights=open_weights(str(published[0]), "lcnet_050"))


def test_a_run_can_be_fine_tuned(data, make_squares, tmp_path):
    """From a full model's RUN, on other classes: its weights are where the training starts, and part of its request."""
    quick = load_preset("quick")
    preset = quick.model_copy(update={"full": quick.full.changed(batch_size=16, samples=32)})
    first = train_full(data, "test_resnet", preset=preset, out=tmp_path / "first")
    file = first.path / "model.safetensors"
    start = build("test_resnet", 3, (1, 28, 28), GREY, weights=open_weights(str(file), "test_resnet"))
    trained = first.load().fragments[0].module
    assert torch.equal(start.layer2[0].conv1.weight, trained.layer2[0].conv1.weight)
    assert torch.equal(start.front.scale, torch.tensor(1 / (255 * 0.2)).reshape(1, 1, 1))
    again = train_full(make_squares(3), "test_resnet", preset=preset, weights=str(file), out=tmp_path / "again")
    assert again.config.request.weights == str(file)
    with pytest.raises(SplitPlaceError, match="holds another run"):
        train_full(make_squares(3), "test_resnet", preset=preset, out=tmp_path / "again")


def test_files_that_hold_no_weights_are_refused(tmp_path):
    """None there, or of another form; nothing is unpickled."""
    with pytest.raises(NotFoundError, match="No such file or directory: expected a"):
        open_weights(str(tmp_path / "none.safetensors"), "test_resnet")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "pickled.safetensors")
    with pytest.raises(
        IntegrityError, match=r"not safetensors \(.*\), it is pickled: write it anew by safetensors.*state dict"
    ):
        open_weights(str(tmp_path / "pickled.safetensors"), "test_resnet")


def test_weights_that_timm_cannot_reach_are_one_line(monkeypatch):
    """As without a network; and a network of one's own has none there."""

    def offline(*args, **options):
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(room, "create", offline)
    with pytest.raises(SplitPlaceError, match=r"cannot be reached \(no route to host\): give a .safetensors file"):
        open_weights("timm", "test_resnet")
    with pytest.raises(UsageError, match="is a network of your own"):
        open_weights("timm", "nets:Small")


@pytest.mark.parametrize("before", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "net.backbone."])
def test_what_a_wrapper_put_before_all_names_is_taken_off(published, tmp_path, before):
    """DataParallel, torch.compile, a larger module: the tensors are the network's all the same."""
    file, network = published
    state = {f"{before}{name}": tensor for name, tensor in network.state_dict().items()}
    state["scheduler.step"] = torch.ones(1)
    safetensors.torch.save_file(state, tmp_path / "wrapped.safetensors")
    found, plain = (
        build("resnet10t", 3, (1, 28, 28), GREY, weights=open_weights(str(place), "resnet10t"))
        for place in (tmp_path / "wrapped.safetensors", file)
    )
    for name, tensor in plain.state_dict().items():
        if "classifier" not in name:  # fresh in both
            assert torch.equal(found.state_dict()[name], tensor)


def test_weights_may_be_a_folder(published):
    """A RUN's, or what a hub keeps of a model: the tensors are those of the file in it."""
    file, network = published
    file.rename(file.with_name("model.safetensors"))
    found = open_weights(str(file.parent), "resnet10t")
    assert torch.equal(found.tensors["conv1.0.weight"], network.state_dict()["conv1.0.weight"])


def test_weights_that_are_not_finite_are_refused(published, tmp_path):
    """By the tensor's name, rather than as too large a learning rate; what the network lacks does not matter."""
    state = published[1].state_dict() | {"mask": torch.tensor([-torch.inf])}
    safetensors.torch.save_file(state, tmp_path / "good.safetensors")
    build("resnet10t", 3, (1, 28, 28), GREY, weights=open_weights(str(tmp_path / "good.safetensors"), "resnet10t"))
    state["layer1.0.conv1.weight"] = torch.full_like(state["layer1.0.conv1.weight"], torch.nan)
    safetensors.torch.save_file(state, tmp_path / "diverged.safetensors")
    weights = open_weights(str(tmp_path / "diverged.safetensors"), "resnet10t")
    with pytest.raises(IntegrityError, match=r"layer1\.0\.conv1\.weight has numbers that are not finite"):
        build("resnet10t", 3, (1, 28, 28), GREY, weights=weights)


def test_a_mask_that_is_not_finite_by_design_is_taken():
    """The network's own is not finite in the same places."""

    class Masked(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(2, 2))
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    network, given = Masked(), Masked()
    adopt_weights(network, network, Weights("it", given.state_dict()))
    assert torch.equal(network[0].weight, given[0].weight)
    given.mask[0] = -torch.inf
    with pytest.raises(IntegrityError, match="mask has numbers that are not finite"):
        adopt_weights(network, network, Weights("it", given.state_dict()))


def test_a_quantisers_whole_numbers_are_no_weights(published, tmp_path):
    """They mean nothing without its scales."""
    state = {name: tensor.to(torch.int8) for name, tensor in published[1].state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "int8.safetensors")
    with pytest.raises(UsageError, match="expected most: they are another network's"):
        build("resnet10t", 3, (1, 28, 28), GREY, weights=open_weights(str(tmp_path / "int8.safetensors"), "resnet10t"))


@pytest.mark.parametrize("name", ["timm/{}", "hf_hub:timm/{}", "hf-hub:timm/{}"])
def test_networks_may_be_called_as_the_hub_calls_them(name):
    """They are timm's own."""
    assert plain_name(name.format("resnet18.a1_in1k")) == check_model("resnet18.a1_in1k") == "resnet18.a1_in1k"


def test_a_tag_that_timm_does_not_have_is_refused():
    """With those that it has; timm itself only notices when the network is made."""
    with pytest.raises(
        NotFoundError, match=r"unknown model 'resnet10t\.best': expected resnet10t or one of resnet10t\.c3"
    ):
        check_model("resnet10t.best")


def test_a_network_that_timm_has_no_weights_of_is_one_of_its_names():
    """Its one tag says so; whoever wants timm's weights of it is told by timm."""
    assert type(create("test_vit_relpos.untrained", pretrained=False)) is type(create("test_vit_relpos"))
