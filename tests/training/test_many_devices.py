import json
import os
import subprocess
import sys
from importlib import resources
from itertools import count
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from splitplace.benchmarks.ray_cluster import free_port
from splitplace.errors import NotReadyError, UsageError
from splitplace.training.data.augment import Augment
from splitplace.training.data.batches import Batches
from splitplace.training.loop import ranks
from splitplace.training.loop.machines import launched

COMMAND = Path(sys.executable).parent / "splitplace"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
SMALL_BATCHES = """
[applications.shades]
full = { batch_size = 8 }
semantic = { batch_size = 8, branch_epochs = 1 }
"""
FIRST_FAILS = """
import sys
from pathlib import Path
import torch.distributed as dist
from splitplace.errors import SplitPlaceError
from splitplace.training.loop.ranks import written_once
folder, rank = Path(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
def fails():
    raise SplitPlaceError(f"no room, says process {rank}")
try:
    written_once(folder / "run", fails)
except SplitPlaceError as error:
    print(error)
"""


def command(folder, images, *options):
    """`splitplace train` of small batches, in `folder`."""
    preset = folder / "small.toml"
    quick = resources.files("splitplace.training") / "presets" / "quick.toml"
    preset.write_text(quick.read_text(encoding="utf-8") + SMALL_BATCHES)
    return [COMMAND, "train", "shades", "--path", images, "--preset", preset, *options, "--json"]


def train(folder, images, *options, launcher=(), **environment):
    """What `splitplace train` on several processes prints as JSON, run in `folder`."""
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    called = [*launcher, *command(folder, images, *options)]
    done = subprocess.run(called, cwd=folder, env=env, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(done.stdout)


def on_two_machines(folders, images):
    """Exit code, output and remarks of two torchruns of a process each, which meet by an address and a port."""
    processes, port = [], str(free_port())
    for rank, folder in enumerate(folders):
        folder.mkdir(exist_ok=True)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank)]
        torchrun += ["--master-addr", "127.0.0.1", "--master-port", port, "--nproc-per-node", "1", "--no-python"]
        processes.append(
            subprocess.Popen(
                [*torchrun, *command(folder, images)], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    try:
        said = [process.communicate(timeout=500) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(processes, said, strict=True)]


def test_two_devices_share_every_batch_of_one(data, monkeypatch):
    """Their shares are disjoint and together the batch that one device would have, augmented alike."""
    transforms = ["RandomCrop(padding=1)", "RandomHorizontalFlip()", "RandomRotation(degrees=20)"]

    def served(rank, world):
        monkeypatch.setattr(dist, "is_initialized", lambda: world > 1)
        monkeypatch.setattr(dist, "get_rank", lambda: rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: world)
        return list(
            Batches(
                data.x_train_NCHW, data.y_train_N, 16, seed=1, augment=Augment(transforms, data.shape_CHW, mirror=True)
            )
        )

    one, first, second = served(0, 1), served(0, 2), served(1, 2)
    for (x_BCHW, y_B), (x0_BCHW, y0_B), (x1_BCHW, y1_B) in zip(one, first, second, strict=True):
        assert torch.equal(y_B[0::2], y0_B)
        assert torch.equal(y_B[1::2], y1_B)
        assert torch.equal(x_BCHW[0::2], x0_BCHW)
        assert torch.equal(x_BCHW[1::2], x1_BCHW)


@pytest.mark.slow
def test_two_processes_train_a_teacher_and_go_on_to_its_tree(image_folder, tmp_path):
    """Under torchrun, gloo on the CPU: two complete RUN folders, the tree's in stages; one document is printed."""
    tree = train(tmp_path, image_folder, "--strategy", "semantic", "--tree", "2", launcher=TORCHRUN)
    runs = tmp_path / "runs"
    assert sorted(entry.name for entry in runs.iterdir()) == [
        "shades.mobilenetv2.full",
        "shades.mobilenetv2.semantic-2",
    ]
    full = json.loads((runs / "shades.mobilenetv2.full" / "metrics.json").read_text())
    assert (full["epochs"], full["n"]) == (1, 8)
    assert (tree["epochs"], tree["teacher_accuracy"]) == (2, full["accuracy"])


@pytest.mark.slow
def test_two_machines_train_in_a_folder_that_both_have(image_folder, tmp_path):
    """Under a torchrun each, gloo on the CPU: one run, one document, by the first machine."""
    (code, document, _), (other_code, nothing, _) = on_two_machines([tmp_path, tmp_path], image_folder)
    assert (code, other_code, nothing) == (0, 0, "")
    full = json.loads(document)
    assert full["epochs"] == 1 and Path(full["run"]) == tmp_path / "runs" / "shades.mobilenetv2.full"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["shades.mobilenetv2.full"]
    assert not list(tmp_path.rglob(".seen-*"))


@pytest.mark.slow
def test_machines_that_share_no_folder_are_refused(image_folder, tmp_path):
    """Both, in a sentence, before they train: the second would read what it does not see."""
    for code, document, said in on_two_machines([tmp_path / "a", tmp_path / "b"], image_folder):
        assert code != 0 and document == ""
        assert "a machine does not see what the first one writes there: train in a folder that all of them" in said


@pytest.mark.parametrize(
    ("local", "machines", "world", "found"),
    [(None, None, None, ("auto", 1)), ("2", None, None, (2, 1)), ("2", "3", "6", (2, 3)), ("2", "2", "3", None)],
)
def test_how_many_train_is_as_torchrun_says(monkeypatch, local, machines, world, found):
    """Without it as Lightning finds; not as many on each machine is refused."""
    for name, value in {"LOCAL_WORLD_SIZE": local, "GROUP_WORLD_SIZE": machines, "WORLD_SIZE": world}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    if found is not None:
        assert launched() == found
        return
    with pytest.raises(UsageError, match="3 processes on 2 machines, 2 of them here: expected as many on each"):
        launched()


def test_a_run_is_waited_for_until_this_machine_sees_it(monkeypatch, tmp_path):
    """As where a file system remembers that it was not there; not without end."""
    clock, looked = count(0.0, 1.0), []

    def later(path):
        looked.append(path)
        if len(looked) < 3:
            raise NotReadyError("no complete run")
        return "the run"

    monkeypatch.setattr(ranks.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(ranks.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(ranks.Run, "open", later)
    assert ranks._seen(tmp_path) == "the run" and len(looked) == 3
    monkeypatch.setattr(ranks.Run, "open", lambda path: looked.clear() or later(path))
    with pytest.raises(NotReadyError, match="no complete run"):
        ranks._seen(tmp_path)


@pytest.mark.slow
def test_processes_that_lightning_starts_train_every_ratio(image_folder, tmp_path):
    """Without torchrun, as on a machine with two GPUs: the full model, then one compressed model after another."""
    options = "--strategy", "compressed", "--validation", "0.25", "--out", "tried"
    picked = train(tmp_path, image_folder, *options, LOCAL_WORLD_SIZE="2")
    assert [one["ratio"] for one in picked["tried"]] == [0.25, 0.5, 0.75]
    assert sorted(str(entry) for entry in (tmp_path / "tried").iterdir()) == [one["run"] for one in picked["tried"]]


@pytest.mark.slow
def test_where_the_first_process_fails_the_others_end_too(tmp_path):
    """Its own message says why; the others say that theirs is another's, instead of waiting for a run."""
    command = [sys.executable, "-c", FIRST_FAILS, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in (0, 1)]
    first, second = (process.communicate(timeout=300)[0] for process in processes)
    assert first == "no room, says process 0\n"
    assert second == f"{tmp_path / 'run'}: the first process could not finish the run; its own message says why\n"
