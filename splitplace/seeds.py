"""One seed derives every named generator, so that a run is a function of its seed."""

import hashlib

import numpy as np


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names` under `seed`; the same on every machine and in every process."""
    label = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for the stream called `names` under `seed`."""
    return np.random.default_rng(derive(seed, *names))
