"""A live fleet in a program: two emulated devices of this machine, a chain on them, answers as futures."""

from pathlib import Path

import numpy as np
from own_fleet import device

import splitplace as sp

if __name__ == "__main__":
    cut = sp.split("mobilenetv3_small_100", random_weights=True, size=64, fragments=2, application="noise")
    sp.export(cut, "catalog")
    sp.profile("catalog", quick=True)
    devices = (device("fast", 1, 1.0, 2 * 10**9), device("slow", 1, 0.5, 2 * 10**9))
    policy = sp.parse_policy("layer+least-loaded")
    images = np.random.default_rng(0).integers(0, 256, (32, 3, 64, 64), np.uint8)
    labels = np.zeros(32, np.int64)  # without an evaluation, a task brings its labels
    with sp.Broker(devices, sp.demand("catalog"), Path("catalog"), policy, sp.LocalEngine()) as broker:
        tasks = [broker.submit("noise", images, deadline_s=30.0, labels=labels) for _ in range(4)]
        for task in tasks:
            result = task.result(timeout=120)
            print(f"{result.outcome.response_s:.2f} s, {result.logits.shape}")
