"""The whole story, as a newcomer meets it: real images, real training, real processes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from splitplace.catalog import Catalog
from splitplace.placement.broker.history import read_history
from splitplace.placement.history import Arrive, MicroBatchRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
MAIN = "from splitplace.cli import main; main()"


def device_processes(command: psutil.Process) -> list[psutil.Process]:
    """The device runtimes that a command has started."""
    found = []
    for process in command.children(recursive=True):
        try:
            arguments = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        if "splitplace.placement.device.__main__" in " ".join(arguments):
            found.append(process)
    return found


def weights(demo):
    """Each RUN's weights file, with what changes when it is written again."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in demo.folder.glob("runs/**/*.safetensors")}


def test_a_first_run_trains_on_few_images(cold_demo):
    """What its eight minutes are made of, counted: at most 100,000 images through a training step, in two RUNs."""
    seen = 0
    for folder in (cold_demo.folder / "runs" / "full", cold_demo.folder / "runs" / "semantic-2"):
        recipe = json.loads((folder / "config.json").read_text())["request"]["recipe"]
        images = recipe["samples"] or 60_000  # 0 is all of them
        seen += images * json.loads((folder / "metrics.json").read_text())["epochs"]
    assert 0 < seen <= 100_000


def test_a_second_run_trains_and_measures_nothing_anew(cold_demo, another_demo):
    """What makes it quick: RUNs are not written again, and every profile is the very one of the first run."""
    before, catalog = weights(cold_demo), Catalog(Path(cold_demo.document["catalog"]))
    profiles = {reference: catalog.profiles(reference) for reference in catalog.references()}
    assert before and all(profiles.values())
    another_demo()
    assert weights(cold_demo) == before
    catalog = Catalog(catalog.path)
    assert {reference: catalog.profiles(reference) for reference in catalog.references()} == profiles


def test_layer_accuracy_is_the_unsplit_models(cold_demo):
    """At least 0.85 on all held-out images, and the same figure: the demo itself compares image by image."""
    layer = cold_demo.document["splits"]["layer"]
    assert layer["accuracy"] >= 0.85
    assert layer["accuracy"] == cold_demo.document["accuracy_unsplit"]
    assert layer["n"] == 10_000


def test_the_bench_sends_each_stream_under_both_policies(cold_demo, tmp_path):
    """Of the demo's own networks; each goes first in turns, and the second has the first one's deadlines."""
    before, results = weights(cold_demo), tmp_path / "demo.json"
    command = ["bench", "demo", "--streams", "2", "--tasks", "4", "--work", cold_demo.folder, "--results", results]
    subprocess.run([sys.executable, "-c", MAIN, *map(str, command)], check=True, timeout=600)
    assert weights(cold_demo) == before
    cells = json.loads(results.read_text())["cells"]
    assert [(cell["seed"], cell["policy"], cell["first"]) for cell in cells] == [
        (1, "joint", True), (1, "mab+earliest-finish", False), (2, "mab+earliest-finish", True), (2, "joint", False)
    ]  # fmt: skip
    assert cells[0]["layer_s"] == cells[1]["layer_s"] and cells[2]["layer_s"] == cells[3]["layer_s"]
    assert all(cell["accuracy"] > 0.5 for cell in cells)


def test_the_same_stream_is_sent_under_both_policies(cold_demo):
    """A line each, of as many tasks, all decided and answered; the rest of the document is of the first."""
    document = cold_demo.document
    first, second = document["policies"]
    assert (first["policy"], second["policy"]) == ("joint", "mab+earliest-finish")
    for row in (first, second):
        assert sum(row["decisions"].values()) == document["metrics"]["tasks"]["arrived"]
        assert row["response_s"]["mean"] > 0
        assert 0 <= row["sla_violation"] <= 1
        assert 0 < row["reward"] <= 1
    assert set(second["decisions"]) == {"layer", "semantic"}  # the bandit plays both arms
    assert first["reward"] == document["metrics"]["reward"]
    histories = [read_history(cold_demo.folder / kept / "history.jsonl") for kept in ("fleet", "fleet-bandit")]
    sent = [[(e.n, e.deadline_s) for e in history if isinstance(e, Arrive)] for history in histories]
    assert sent[0] == sent[1]
    assert first["decisions"] == {name: split["tasks"] for name, split in document["splits"].items() if split["tasks"]}


def test_several_devices_ran_fragments(cold_demo):
    """Three fragments a split, and at least two devices that ran some."""
    splits, devices = cold_demo.document["splits"], cold_demo.document["devices"]
    assert {len(splits["layer"]["fragments"]), len(splits["semantic"]["fragments"])} == {3}
    assert sum(device["fragments_run"] > 0 for device in devices) >= 2


def test_the_devices_speeds_are_measured_beside_the_stated_ones(warm_demo):
    """Shares as the demo's fleet states them, and a measurement for each; how near, `bench timings` says."""
    first, *others = warm_demo.document["devices"]
    assert first["speed_ratio_measured"] == 1.0
    assert all(0 < device["cpu_share"] < first["cpu_share"] for device in others)
    assert all(device["core_speed_measured"] > 0 and device["speed_ratio_measured"] > 0 for device in others)


def test_the_catalog_holds_all_three_splits_verified(cold_demo):
    """Its path is absolute; every blob is what its digest says; each split has profiles and an evaluation."""
    path = Path(cold_demo.document["catalog"])
    assert path.is_absolute()
    catalog = Catalog(path)
    assert catalog.verify().problems == ()
    for reference in catalog.references():
        assert len(catalog.profiles(reference)) == len(catalog.split(reference).fragments)
        assert catalog.evaluation(reference) is not None
    assert len(catalog.references()) == 3


def test_the_journal_tells_who_ran_what(cold_demo):
    """Every task's fragments ran, each micro-batch once."""
    runs = [
        event
        for event in read_history(cold_demo.folder / "fleet" / "history.jsonl")
        if isinstance(event, MicroBatchRun)
    ]
    samples: dict[tuple[int, str], int] = {}
    for run in runs:
        samples[run.task, run.fragment] = samples.get((run.task, run.fragment), 0) + run.samples
    assert set(samples.values()) == {256}


def test_the_page_shows_the_run(cold_demo):
    """One self-contained file with the picture, the devices and where the figures come from."""
    page = (cold_demo.folder / "report.html").read_text()
    assert "<svg" in page
    assert all(device["name"] in page for device in cold_demo.document["devices"])
    assert cold_demo.document["provenance"]["commit"] in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_ctrl_c_leaves_no_process_and_the_demo_runs_again(warm_demo, alive):
    """Interrupted while the fleet is up: exit 130, one line, no device left."""
    command = [sys.executable, "-c", MAIN, "demo", "--json", "--out", str(warm_demo.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = psutil.Process(process.pid)
    deadline = time.monotonic() + 600
    while len(devices := device_processes(started)) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    assert len(devices) == 3
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("splitplace: interrupted")
    assert not any(alive(device.pid) for device in devices)


def test_a_damaged_blob_is_refused_by_its_digest(warm_demo, tmp_path):
    """Flip one byte of a fragment: whoever reads it is told which blob."""
    import shutil

    copy = tmp_path / "catalog"
    shutil.copytree(warm_demo.document["catalog"], copy)
    catalog = Catalog(copy)
    split = catalog.split(catalog.references()[0])
    digest = split.fragments[0].digest
    blob = copy / "blobs" / "sha256" / digest.removeprefix("sha256:")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    with pytest.raises(ValueError, match=digest):
        Catalog(copy).load(split, split.fragments[0].name)
