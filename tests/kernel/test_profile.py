"""What a profile says between and beyond the batch sizes it measured."""

import json
import shutil
import subprocess

import pytest

from splitplace import provenance as asked
from splitplace.errors import SplitPlaceError
from splitplace.provenance import collect
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile

pytestmark = pytest.mark.base


def make_profile(latency: dict[int, float], memory: dict[int, int]) -> Profile:
    """A profile with these medians by batch size and bytes by micro-batch."""
    return Profile(
        fragment="f0",
        digest="sha256:" + "0" * 64,
        device=DeviceFingerprint(
            kind="here", cpu="a cpu", architecture="x86_64", cores=2, onnxruntime="1.0", threads=1
        ),
        core_speed=1.0,
        load_s=0.1,
        runtime_base_bytes=1000,
        memory=tuple(MemoryIncrement(micro_batch=b, fragment_bytes=v) for b, v in memory.items()),
        latency=tuple(Latency(batch_size=b, median_s=s, p10_s=s, p90_s=s, runs=3) for b, s in latency.items()),
        input_bytes_per_sample=1,
        output_bytes_per_sample=1,
        provenance=collect(),
    )


def test_measured_sizes_are_answered_as_measured():
    """No fit stands between a user and a measurement."""
    profile = make_profile({1: 0.01, 8: 0.05, 32: 0.16}, {8: 500})
    assert [profile.latency_s(b) for b in (1, 8, 32)] == [0.01, 0.05, 0.16]


def test_between_and_beyond_it_is_linear():
    """16 lies a third of the way from 8 to 32; 64 goes on at the slope of the last two."""
    profile = make_profile({8: 0.05, 32: 0.17}, {8: 500, 32: 740})
    assert profile.latency_s(16) == pytest.approx(0.09)
    assert profile.latency_s(64) == pytest.approx(0.33)
    assert profile.fragment_bytes(16) == 580


def test_one_measured_size_scales_in_proportion():
    """All there is to go by."""
    assert make_profile({8: 0.04}, {8: 100}).latency_s(16) == pytest.approx(0.08)


def test_batch_sizes_out_of_order_are_refused():
    """A document with a repeated size is no profile."""
    document = json.loads(make_profile({1: 0.01, 8: 0.05}, {8: 1}).model_dump_json())
    document["latency"][1]["batch_size"] = 1
    with pytest.raises(SplitPlaceError, match="must rise"):
        Profile.parse(json.dumps(document), "test")


def test_provenance_names_commit_versions_and_machine():
    """A figure can be asked for again."""
    provenance = collect(seed=7)
    assert provenance.seed == 7
    assert {"python", "numpy", "onnxruntime"} <= set(provenance.versions)
    assert provenance.machine.memory_bytes > 2**20
    assert len(provenance.commit.removesuffix("+dirty")) in (40, len("unknown"))


def test_only_what_measurements_write_leaves_a_checkout_as_it_is(tmp_path, monkeypatch):
    """A results file that grew while it was measured is no change of the code; another file is one."""

    def git(*words):
        who = ("-c", "user.name=n", "-c", "user.email=e@x")
        subprocess.run([shutil.which("git"), "-C", str(tmp_path), *who, *words], check=True)

    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "a.json").write_text("1")
    (tmp_path / "code.py").write_text("1")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "m")
    monkeypatch.setattr(asked, "__file__", str(tmp_path / "package" / "provenance.py"))
    (results / "a.json").write_text("2")
    (results / "b.svg").write_text("new")
    assert len(asked.commit.__wrapped__()) == 40
    (tmp_path / "code.py").write_text("2")
    assert asked.commit.__wrapped__().endswith("+dirty")
