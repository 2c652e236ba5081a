"""Tiny made-up images: every class a bright square in a place of its own, under noise from a stated seed."""

import numpy as np
import pytest
import torch
from PIL import Image

from splitplace.training.data.dataset import Dataset


def squares(n_classes: int = 4, n_train: int = 96, n_test: int = 32, size: int = 28, channels: int = 1) -> Dataset:
    """Images whose class is the corner or edge where the square is."""
    rng = np.random.default_rng(20260101)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y_N = np.arange(n) % n_classes
        x_NCHW = rng.integers(0, 60, (n, channels, size, size), dtype=np.uint8)
        for image, c in zip(x_NCHW, y_N, strict=True):
            row, column = divmod(int(c), 3)
            image[:, 2 + 8 * row : 8 + 8 * row, 2 + 8 * column : 8 + 8 * column] += 180
        return x_NCHW, y_N.astype(np.int64)

    names = tuple(f"square{c}" for c in range(n_classes))
    return Dataset("squares", *part(n_train), *part(n_test), names, "drawn in the test")


@pytest.fixture(scope="session")
def data() -> Dataset:
    """Four classes of squares."""
    return squares()


@pytest.fixture(scope="session")
def make_squares():
    """The function that draws them."""
    return squares


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks gain nothing from threads, and lose much where other processes run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """An image folder of two classes, dark and bright, from a stated seed."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(11)
    for c, name in enumerate(("bright", "dark")):
        (root / name).mkdir()
        for i in range(20):
            pixels = rng.integers(0, 100, (28, 28), dtype=np.uint8) + (120 if c == 0 else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root
