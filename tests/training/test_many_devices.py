import json
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from splitplace.training.augment import Augment
from splitplace.training.batches import Batches

TRAIN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from splitplace.training.full import train_full
from splitplace.training.own import load_own
from splitplace.training.preset import load_preset
quick = load_preset("quick")
quick = quick.model_copy(update={"full": quick.full.changed(batch_size=8)})
train_full(load_own(Path(sys.argv[1]), "shades"), preset=quick, out=Path(sys.argv[2]))
"""
STAGES = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from splitplace.training.own import load_own
from splitplace.training.preset import load_preset
from splitplace.training.run import Run
from splitplace.training.semantic import train_semantic
quick = load_preset("quick")
semantic = quick.semantic.changed(batch_size=8, branch_epochs=1)
quick = quick.model_copy(update={"semantic": semantic})
train_semantic(load_own(Path(sys.argv[1]), "shades"), Run.open(Path(sys.argv[2])), preset=quick, out=Path(sys.argv[3]))
"""


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
def test_two_processes_train_one_run(image_folder, tmp_path):
    """Under torchrun, gloo on the CPU, without a change of code: one complete RUN folder, whole batches counted."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run([*torchrun, str(image_folder), str(tmp_path / "run")], check=True, timeout=300)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["n"]) == (1, 8)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run", "train.py"]

    # A training in stages: the second process takes part in the last as well.
    script.write_text(STAGES)
    folders = [str(tmp_path / "run"), str(tmp_path / "split")]
    subprocess.run([*torchrun, str(image_folder), *folders], check=True, timeout=300)
    assert json.loads((tmp_path / "split" / "metrics.json").read_text())["epochs"] == 2
