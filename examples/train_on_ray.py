"""Train on every node of a Ray cluster that has cores: python train_on_ray.py fashionmnist --out /shared/run ..."""

import os
import subprocess
import sys
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

COMMAND = str(Path(sys.executable).with_name("splitplace"))
PORT = os.environ.get("MASTER_PORT", "29500")


def main() -> int:
    """A torchrun a node, as on any machines: what passes through Ray is the words of a command."""
    ray.init(address=os.environ.get("RAY_ADDRESS", "auto"))
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    call, begun = ray.remote(subprocess.call), []
    for rank, node in enumerate(nodes):
        cores, gpus = node["Resources"]["CPU"], node["Resources"].get("GPU", 0)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(len(nodes))]
        torchrun += ["--node-rank", str(rank), "--master-addr", nodes[0]["NodeManagerAddress"], "--master-port", PORT]
        torchrun += ["--nproc-per-node", str(max(int(gpus), 1)), "--no-python", COMMAND, "train", *sys.argv[1:]]
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        placed = call.options(num_cpus=cores, num_gpus=gpus, max_retries=0, scheduling_strategy=there)
        begun.append(placed.remote(torchrun))
    return max(ray.get(begun))


if __name__ == "__main__":
    sys.exit(main())
