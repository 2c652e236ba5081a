"""A live fleet in a program: two emulated devices, a chain on them, and tasks from both sides of its door."""

import numpy as np
from own_fleet import device

import splitplace as sp

if __name__ == "__main__":
    cut = sp.split("mobilenetv3_small_100", random_weights=True, size=64, fragments=2, application="noise")
    sp.export(cut, "catalog")
    sp.profile("catalog", quick=True)
    devices = (device("fast", 1, 1.0, 2 * 10**9), device("slow", 1, 0.5, 2 * 10**9))
    images = np.random.default_rng(0).integers(0, 256, (32, 3, 64, 64), np.uint8)
    labels = np.zeros(32, np.int64)  # without an evaluation, a task brings its labels
    with sp.Fleet(devices, "catalog", policy="layer+least-loaded", data="fleet") as fleet:
        tasks = [fleet.submit("noise", images, 300.0, labels) for _ in range(2)]
        with sp.Client("fleet") as client:  # as any other process of this user may
            tasks += [client.submit("noise", images, 300.0, labels) for _ in range(2)]
            for task in tasks:
                result = task.result(timeout=300)
                print(f"{result.outcome.response_s:.2f} s, {result.logits.shape}")
