"""`splitplace.split` as a notebook calls it: with objects, and with everything that the command can."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import splitplace as sp
from splitplace import cli
from splitplace.records.split import Split
from splitplace.splitting.artifact import SplitArtifact

Builder = Callable[..., bytes]


@pytest.fixture
def fleet() -> sp.FleetSpec:
    """Two slow devices."""
    device = sp.Device(
        name="pi",
        kind="pi",
        count=2,
        cores=4,
        core_speed=0.5,
        memory_bytes=10**9,
        disk_bytes=10**9,
        disk_bytes_per_s=1e8,
        up_bytes_per_s=1e8,
        down_bytes_per_s=1e8,
        rtt_s=0.001,
        power_w=(1.0,) * 11,
    )
    return sp.FleetSpec(name="two", devices=(device,))


def test_bytes_and_a_fleet_give_what_files_and_the_command_give(
    residual_cnn: Builder, fleet: sp.FleetSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same fragments, costs, bound and reasons; without a file named, nothing is written."""
    (tmp_path / "model.onnx").write_bytes(residual_cnn())
    power = ", ".join(["1"] * 11)
    fields = fleet.devices[0].model_dump(exclude={"power_w", "labels"})
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    (tmp_path / "two.toml").write_text("\n".join(['name = "two"', "[[devices]]", *lines, f"power_w = [{power}]"]))
    options = ["--fragments", "2", "--objective", "latency", "--memory-limit", "1MiB", "--explain", "--json"]
    with pytest.raises(SystemExit, match="0"):
        cli.main(["split", str(tmp_path / "model.onnx"), "--devices", str(tmp_path / "two.toml"), *options])
    said = json.loads(capsys.readouterr().out)
    done = sp.split(residual_cnn(), fragments=2, devices=fleet, objective="latency", memory_limit=2**20)
    assert [row.model_dump(mode="json") | {"file": None} for row in done.fragments] == said["fragments"]
    figures = ("latency_s", "bottleneck_s", "lower_bound_s", "gap", "exact", "slack")
    assert {name: getattr(done, name) for name in figures} == {name: said[name] for name in figures}
    assert list(done.explain()) == said["explanation"]
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "two.toml"}


def test_a_split_goes_into_a_catalog_as_it_is_or_by_its_folder(residual_cnn: Builder, tmp_path: Path) -> None:
    """The same digest, and what is read back answers what the model answers."""
    done = sp.split(residual_cnn(), fragments=3, out=tmp_path / "split", application="toys")
    as_it_is, by_folder = sp.export(done, tmp_path / "one"), sp.export(tmp_path / "split", tmp_path / "two")
    assert as_it_is.digest == by_folder.digest
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16)).astype(np.uint8)
    whole = sp.export(sp.split(residual_cnn(), fragments=1), tmp_path / "whole")
    logits = [sp.infer(place.location, images).logits for place in (as_it_is, whole)]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)


def test_a_whole_model_of_a_catalog_is_cut_by_its_reference(residual_cnn: Builder, tmp_path: Path) -> None:
    """As the file it was made from; what is in fragments already is refused."""
    whole = sp.export(sp.split(residual_cnn(), fragments=1, application="toys"), tmp_path / "catalog")
    done, plain = sp.split(whole.location, fragments=2), sp.split(residual_cnn(), fragments=2)
    assert done.split.reference == "toys.model.layer-2"
    assert [row.digest for row in done.fragments] == [row.digest for row in plain.fragments]
    with pytest.raises(sp.UsageError, match="only a whole model can be cut by layer"):
        sp.split(sp.export(done, tmp_path / "catalog").location, fragments=2)


def test_layer_splits_of_unlike_whole_models_lie_in_one_catalog(residual_cnn: Builder, tmp_path: Path) -> None:
    """A compressed or quantised model is not the full one: its splits have a name of their own, and replace nothing."""
    whole = sp.split(residual_cnn(), fragments=1, application="toys")
    fields = {name: getattr(whole.split, name) for name in type(whole.split).model_fields}
    kinds = [("full", ""), ("full", "int8"), ("compressed", "50"), ("compressed", "50-float16"), ("layer", "1-int8")]
    cut = []
    for strategy, variant in kinds:
        split = Split(**fields | {"strategy": strategy, "variant": variant})
        place = sp.export(SplitArtifact(split, whole.models), tmp_path / "catalog").location
        cut.append(sp.split(place, fragments=2).split.model)
    assert cut == ["model", "model-int8", "model-compressed-50", "model-compressed-50-float16", "model-int8"]


def test_what_is_for_timm_names_alone_is_refused_elsewhere(residual_cnn: Builder, tmp_path: Path) -> None:
    """A model of a catalog, as bytes have, has its weights and its size: the options are not dropped silently."""
    whole = sp.export(sp.split(residual_cnn(), fragments=1), tmp_path / "catalog")
    for source in (whole.location, residual_cnn()):
        with pytest.raises(sp.UsageError, match=r"--random-weights and --size: for a timm name only, .* has its own"):
            sp.split(source, fragments=2, size=32, random_weights=True)


def test_class_names_come_from_a_file_of_whatever_editor(residual_cnn: Builder, tmp_path: Path) -> None:
    """Windows' editors put a byte order mark first, which is no letter of the first name."""
    names = tuple(f"class {i}" for i in range(10))
    (tmp_path / "names.txt").write_text("\r\n".join(names), encoding="utf-8-sig")
    done = sp.split(residual_cnn(), fragments=1, class_names=tmp_path / "names.txt")
    assert done.split.class_names == names


def test_class_names_that_do_not_fit_are_refused_before_anything_is_measured(residual_cnn: Builder) -> None:
    """As soon as the model's classes are counted; a file that is not there even before the model is read."""
    told: list[str] = []

    def cut(model: bytes, names: str | list[str]) -> None:
        sp.split(model, fragments=2, costs="measured", class_names=names, progress=lambda what, _: told.append(what))

    with pytest.raises(sp.ContractError, match="got 3 names, expected one for each of 10 classes"):
        cut(residual_cnn(), ["a", "b", "c"])
    assert told == ["reading the graph"]
    with pytest.raises(sp.NotFoundError, match="one class a line"):
        cut(b"no model", "nowhere.txt")
    assert told == ["reading the graph"]


def test_progress_is_told_and_never_falls(residual_cnn: Builder) -> None:
    """What is being done, and its share of the work."""
    told: list[tuple[str, float]] = []
    sp.split(residual_cnn(), fragments=2, progress=lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1
    assert {"reading the graph", "planning"} <= {what for what, _ in told}


def test_a_picture_can_be_drawn_afterwards(residual_cnn: Builder, tmp_path: Path) -> None:
    """The same file as `plot` gives; another ending is refused."""
    done = sp.split(residual_cnn(), fragments=2, plot=tmp_path / "a.svg")
    assert done.plot(tmp_path / "b.svg") == tmp_path / "b.svg"
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(sp.UsageError, match="ends in one of"):
        done.plot(tmp_path / "c.txt")


def test_the_library_prints_nothing(residual_cnn: Builder, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Values and remarks only: stdout and stderr are the caller's."""
    done = sp.export(sp.split(residual_cnn(), fragments=2), tmp_path / "catalog")
    sp.infer(done.location, np.zeros((1, 3, 16, 16), np.uint8))
    sp.simulate("random+random", intervals=2)
    assert capfd.readouterr() == ("", "")
