"""`splitplace advise`: the command and the function behind it."""

import json
import re

import pytest

import splitplace as sp
from splitplace import provenance
from splitplace.cli import main
from tests.cli.brightest import MODEL

pytestmark = pytest.mark.sim

FLEET = """
name = "two"

[[devices]]
name = "d"
kind = "k"
count = 2
cores = 1
core_speed = 1.0
memory_bytes = 1_000_000_000
disk_bytes = 1_000_000_000
disk_bytes_per_s = 1e8
up_bytes_per_s = 1e7
down_bytes_per_s = 1e7
rtt_s = 0.001
power_w = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
"""
DEMAND = """
source = "by hand"
images = 100
micro_batch = 100
memory_bytes = 1_000

[[splits]]
application = "a"
strategy = "full"
shape = "chain"
core_s = [1.0]
output_bytes = [0.0]
input_bytes_per_sample = 1
weight_bytes = 1
top1 = 0.9

[[splits]]
application = "a"
strategy = "semantic"
shape = "parallel"
core_s = [0.5, 0.5]
output_bytes = [0.0, 0.0]
input_bytes_per_sample = 1
weight_bytes = 1
top1 = 0.8
"""
GOOD = {"fleet": "fleet.toml", "rate": 0.2, "deadline": 5.0, "batch": 100}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A fleet, a demand, and streams of 20 requests."""
    from splitplace.placement.advice import trial

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "LEAST", 20)
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "demand.toml").write_text(DEMAND)
    return tmp_path


def run(capsys, *call):
    """What the command prints; it is done."""
    with pytest.raises(SystemExit) as stop:
        main(["advise", "demand.toml", "--fleet=fleet.toml", "--rate=0.2", "--deadline=5", "--batch=100", *call])
    assert not stop.value.code
    return capsys.readouterr().out


def test_json_is_the_advice_and_the_picture_shows_what_was_tried(here, capsys):
    """One document; the function says the same."""
    document = json.loads(run(capsys, "--plot=f.svg", "--json"))
    assert document.pop("plot") == str(here / "f.svg")
    assert document == sp.advise("demand.toml", **GOOD).model_dump(mode="json")
    drawn = re.findall(r">\d+  ([^<>]+?)(?:  \(advised\))?</text>", (here / "f.svg").read_text())
    assert drawn == [one["name"] for one in document["alternatives"]]


def test_the_table_says_the_verdict_first(here, capsys):
    """And everything that is asked for, in words."""
    told = " ".join(run(capsys).split())
    assert told.startswith("do not split: ")
    for said in (
        "0.2 requests a second of 100 images each (a), 0.95 of them within 5 s, on 2 devices of two",
        "ship a.constant.full-1; policy full+least-loaded", "breaks between", "limited by cores", "energy, J a request",
        "what was tried", "requests were simulated",
    ):  # fmt: skip
        assert said in told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 0.0}, "--rate 0: expected 1e-06 to 1e+06 requests a second"),
        ({"rate": float("nan")}, "--rate nan: expected"),
        ({"deadline": -1.0}, "--deadline -1: expected 1e-06 to 1e+06 seconds"),
        ({"deadline": float("inf")}, "--deadline inf: expected"),
        ({"accuracy": 1.5}, "--accuracy 1.5: expected a share, 0 to 1"),
        ({"violations": -0.1}, "--violations -0.1: expected a share, 0 to 1"),
        ({"batch": 0}, "--batch 0: expected 1 to"),
        ({"seed": -1}, "--seed -1: expected 0 or more"),
        ({"fleet": "nobody"}, "no fleet 'nobody': expected one of"),
        ({"application": "b"}, "unknown application 'b': expected one of a"),
        ({"plot": "f.txt"}, "--plot f.txt: expected a name that ends in one of"),
        ({"accuracy": 0.95}, "no split of a is 0.95 accurate"),
    ],
)
def test_what_cannot_be_meant_is_one_line(here, changes, said):
    """What was got, and what is expected."""
    with pytest.raises(sp.SplitPlaceError) as raised:
        sp.advise("demand.toml", **(GOOD | changes))
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.fixture
def measure(here, brightest):
    """A catalog of a whole model, and what puts a second of it or a measurement beside it."""
    writer = sp.CatalogWriter(here / "catalog")
    split = brightest(MODEL)
    size = {"input_bytes_per_sample": 4, "output_bytes_per_sample": 16}
    device = {"kind": "k", "cpu": "c", "architecture": "a", "cores": 1, "onnxruntime": "1", "threads": 1}
    latency = [{"batch_size": n, "median_s": n / 100, "p10_s": n / 100, "p90_s": n / 100, "runs": 3} for n in (1, 100)]
    memory = [{"micro_batch": n, "fragment_bytes": 1000 * n} for n in (1, 100)]

    def add(variant, *, profile=False, evaluation=False):
        other = split.model_copy(update={"variant": variant})
        writer.write(sp.SplitArtifact(other, {"full": MODEL}))
        if profile:
            document = size | {
                "fragment": "full", "digest": split.fragments[0].digest, "device": device, "core_speed": 1.0,
                "load_s": 0.1, "runtime_base_bytes": 50_000, "memory": memory, "latency": latency,
                "provenance": provenance.collect().model_dump(mode="json"),
            }  # fmt: skip
            writer.attach(other.reference, sp.Profile.parse(json.dumps(document), "by hand"))
        if evaluation:
            evaluated = sp.Evaluation(dataset="d", sha256="0" * 64, n=10, top1=0.9, seed=0, source="by hand")
            writer.attach(other.reference, evaluated)

    return add


def test_a_catalog_is_advised_on_and_what_nobody_measured_is_left_out_and_named(measure):
    """A hundredth of a second an image, at the micro-batch of 64: 100 images are two of them, 1.28 s."""
    measure("a", profile=True, evaluation=True)
    measure("b")
    measure("c", profile=True)
    given = sp.advise("catalog", **GOOD)
    assert given.ship == ("pixels.brightest.full-a",)
    assert given.left_out == {
        "pixels.brightest.full-b": "it is not profiled", "pixels.brightest.full-c": "it is not evaluated",
    }  # fmt: skip
    assert given.expect.response_s.mean >= 1.28
    assert given.memory[0].whole_bytes == 50_000 + 64_000


@pytest.mark.parametrize(("profile", "said"), [(False, "splitplace profile"), (True, "splitplace evaluate")])
def test_a_catalog_without_measurements_is_told_how_to_get_them(measure, profile, said):
    """The command, with the split's name."""
    measure("a", profile=profile)
    with pytest.raises(sp.NotReadyError, match=rf"{said}.*pixels\.brightest\.full-a"):
        sp.advise("catalog", **GOOD)


def test_a_catalog_that_is_not_there_or_is_empty_is_said(here):
    """The words are those of `simulate --demand`."""
    (here / "empty").mkdir()
    for catalog in ("nobody", "empty"):
        with pytest.raises(sp.SplitPlaceError):
            sp.advise(catalog, **GOOD)
