"""What travels to a machine with a GPU and back: images as they were, small files, no more than there is room for."""

import re
import subprocess
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pytest

from splitplace.benchmarks import gpu_pack
from splitplace.errors import SplitPlaceError, UsageError
from splitplace.training.data.dataset import Dataset
from splitplace.training.data.publishers import read_published

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"


@pytest.fixture
def grey(monkeypatch):
    """Ten classes of noise, in place of both grey data sets."""
    rng = np.random.default_rng(5)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8), np.arange(n) % 10

    data = Dataset("mnist", *part(40), *part(20), tuple("abcdefghij"), "drawn in the test")
    asked = []

    def fetch(application, path=None):
        asked.append((application, path and read_published(Path(path))))
        return data

    monkeypatch.setattr(gpu_pack.sp, "fetch", fetch)
    return data, asked


def test_images_arrive_as_they_left(grey, tmp_path):
    """In the publishers' form, which is read, and held against its digest, as any other."""
    data, asked = grey
    gpu_pack.pack(tmp_path, ["mnist", "fashionmnist"], None)
    asked.clear()
    gpu_pack.unpack(tmp_path)
    assert [application for application, _ in asked] == ["fashionmnist", "mnist"]
    for _, arrays in asked:
        np.testing.assert_array_equal(arrays.train[0], data.x_train_NCHW)
        np.testing.assert_array_equal(arrays.train[1], data.y_train_N)
        np.testing.assert_array_equal(arrays.test[0], data.x_test_NCHW)
        np.testing.assert_array_equal(arrays.test[1], data.y_test_N)


def test_files_of_a_folder_are_taken_along(grey, tmp_path, monkeypatch):
    """tiny100's Parquet, whatever is in it."""
    there = tmp_path / "tiny"
    there.mkdir()
    for name in gpu_pack.TINY_FILES:
        (there / name).write_bytes(name.encode() * 1000)
    gpu_pack.pack(tmp_path / "pack", ["tiny100"], there)
    seen = {}
    monkeypatch.setattr(
        gpu_pack.sp,
        "fetch",
        lambda name, path: seen.update({name: {file.name: file.read_bytes() for file in Path(path).iterdir()}}),
    )
    gpu_pack.unpack(tmp_path / "pack")
    assert seen["tiny100"] == {name: name.encode() * 1000 for name in gpu_pack.TINY_FILES}


def test_more_than_may_travel_is_refused(grey, tmp_path, monkeypatch):
    """By name, wheels included."""
    monkeypatch.setattr(gpu_pack, "LIMIT_BYTES", 100_000)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "one.whl").write_bytes(bytes(100_000))
    with pytest.raises(SplitPlaceError, match="expected at most 100000: leave a data set out"):
        gpu_pack.pack(tmp_path, ["mnist"], None)


def test_results_come_back_without_models_and_weights_as_far_as_there_is_room(tmp_path, monkeypatch):
    """Notes and documents in one file; of three sets of weights the small two, in parts that are one tar file."""
    work, rng = tmp_path / "work", np.random.default_rng(6)
    files = {
        "steps/a/train-full.json": b"{}",
        "runs/a/config.json": b"{}",
        "runs/a/model.safetensors": rng.bytes(3000),
        "runs/b/model.safetensors": rng.bytes(50_000),
        "runs/c/model.safetensors": rng.bytes(9000),
        "runs/c/checkpoint.safetensors": rng.bytes(10),
        "runs/c/logs/events": b"x",
        "catalogs/a/blobs/sha256/1": b'{"manifest": 1}',
        "catalogs/a/blobs/sha256/2": b"\x08" + rng.bytes(500),
    }
    for name, content in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)
    monkeypatch.setattr(gpu_pack, "LIMIT_BYTES", 20_000)
    monkeypatch.setattr(gpu_pack, "PART_BYTES", 8_000)
    made = gpu_pack.results(work, tmp_path / "out")
    assert sorted(made) == sorted((tmp_path / "out").iterdir())
    assert sum(path.stat().st_size for path in made) < 2 * 20_000
    assert all(path.stat().st_size <= 8_000 for path in made)
    with tarfile.open(made[0]) as tar:
        assert sorted(tar.getnames()) == ["catalogs/a/blobs/sha256/1", "runs/a/config.json", "steps/a/train-full.json"]
    whole = tmp_path / "weights.tar"
    whole.write_bytes(b"".join(path.read_bytes() for path in made[1:]))
    with tarfile.open(whole) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    assert found == {name: files[name] for name in ("runs/a/model.safetensors", "runs/c/model.safetensors")}


@pytest.mark.parametrize("names", [["cifar100"], ["mnist", ""], ["tiny100"]])
def test_a_data_set_that_cannot_be_packed(tmp_path, names):
    """Named, before anything is read."""
    with pytest.raises(UsageError, match=f"data set {names[-1]!r}: expected of mnist, fashionmnist"):
        gpu_pack.pack(tmp_path, names, None)


@pytest.mark.parametrize(
    "words", [[], ["pack"], ["pack", "a"], ["pack", "a", "mnist", "b", "c"], ["results", "a"], ["nobody"]]
)
def test_other_words(words):
    """What there is."""
    with pytest.raises(UsageError, match="expected pack FOLDER"):
        gpu_pack.main(words)


def test_all_that_the_machine_needs_is_expected_there_or_taken_along():
    """Every package that training and export need, by the script's own words; what is taken along has one version."""
    text = SCRIPT.read_text()
    (lacking,) = re.findall(r'^lacking="([^"]+)"', text, re.MULTILINE)
    expected = {word.strip(".,()") for line in re.findall(r"^# (.*)", text, re.MULTILINE) for word in line.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["train"], *extras["export"]]
    names = {re.split(r"[<>=!]", one)[0] for one in wanted}
    assert names - {"numpy"} <= expected | set(lacking.split())
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert set(lacking.lower().split()) <= pins


def test_the_script_says_what_it_does():
    """Where it is called wrongly; it is a shell's text."""
    assert subprocess.run(["bash", "-n", SCRIPT], timeout=300).returncode == 0  # noqa: S607
    done = subprocess.run(["bash", SCRIPT, "nobody"], capture_output=True, text=True, timeout=300)  # noqa: S607
    assert done.returncode == 2 and "benchmarks/gpu.sh pack" in done.stderr
