import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from splitplace.training.data.augment import Augment
from splitplace.training.data.batches import Batches

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


def train(folder, images, *options, launcher=(), **environment):
    """What `splitplace train` on several processes prints as JSON, run in `folder`."""
    preset = folder / "small.toml"
    quick = resources.files("splitplace.training") / "presets" / "quick.toml"
    preset.write_text(quick.read_text(encoding="utf-8") + SMALL_BATCHES)
    command = [*launcher, COMMAND, "train", "shades", "--path", images, "--preset", preset, *options, "--json"]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, check=True, timeout=200)
    return json.loads(done.stdout)


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
    first, second = (process.communicate(timeout=120)[0] for process in processes)
    assert first == "no room, says process 0\n"
    assert second == f"{tmp_path / 'run'}: the first process could not finish the run; its own message says why\n"
