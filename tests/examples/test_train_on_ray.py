"""The example that trains on a Ray cluster's nodes, on a head and two nodes that are `ray start` processes here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitplace.benchmarks.ray_cluster import free_port, ray_cluster

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "train_on_ray.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_nodes_train_one_run(tmp_path):
    """A process on each; the run is where it was asked for, and was trained by both."""
    rng = np.random.default_rng(3)
    for name in ("bright", "dark"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 100, (28, 28), dtype=np.uint8) + (120 if name == "bright" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{i}.png")
    with ray_cluster(tmp_path / "devices") as cluster:
        cluster.start_head()
        for name in ("a", "b"):
            cluster.start_node(name)
        called = [sys.executable, EXAMPLE, "shades", "--path", tmp_path / "images", "--out", tmp_path / "run"]
        environment = os.environ | {"MASTER_PORT": str(free_port())}
        done = subprocess.run(called, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["n"] == 8
