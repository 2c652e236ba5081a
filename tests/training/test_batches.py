import numpy as np
import torch

from splitplace.training.data.augment import Augment
from splitplace.training.data.batches import Batches


def images(n=10, size=6):
    """Images whose every pixel differs, labels that are their row."""
    x_NCHW = (np.arange(n * size * size) % 251).astype(np.uint8).reshape(n, 1, size, size)
    return x_NCHW, np.arange(n)


def augment(*transforms):
    """For images of this size."""
    return Augment(transforms, (1, 6, 6), mirror=True)


def test_an_epoch_serves_every_image_once():
    """Whole batches cover the data without repetition."""
    batches = Batches(*images(), batch_size=5, seed=1)
    assert sorted(int(y) for _, y_B in batches for y in y_B) == list(range(10))


def test_the_same_seed_gives_the_same_order_and_epochs_differ():
    """Order is a function of seed and epoch."""
    one, two = (Batches(*images(), batch_size=5, seed=1) for _ in range(2))
    first = [y_B.tolist() for _, y_B in one]
    assert first == [y_B.tolist() for _, y_B in two]
    assert first != [y_B.tolist() for _, y_B in one]


def test_images_keep_their_labels():
    """Without augmentation an image is the one its label says."""
    x_NCHW, y_N = images()
    for x_BCHW, y_B in Batches(x_NCHW, y_N, batch_size=3, seed=2):
        np.testing.assert_array_equal(x_BCHW.numpy(), x_NCHW[y_B.numpy()])


def test_mirroring_flips_whole_images_left_to_right():
    """Every image is itself or its mirror image, and both occur."""
    x_NCHW, y_N = images()
    kinds = set()
    for x_BCHW, y_B in Batches(x_NCHW, y_N, batch_size=10, seed=3, augment=augment("RandomHorizontalFlip()")):
        for image, y in zip(x_BCHW.numpy(), y_B.numpy(), strict=True):
            same, flipped = (np.array_equal(image, x_NCHW[y][..., ::s]) for s in (1, -1))
            assert same or flipped
            kinds.add(same)
    assert kinds == {True, False}


def test_shifting_moves_images_by_at_most_the_limit():
    """Every image equals its original moved by some offset within the limit, edges repeated; offsets vary."""
    x_NCHW, y_N = images()
    padded = np.pad(x_NCHW, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    found = set()
    shift = "RandomCrop(padding=2, padding_mode='edge')"
    for x_BCHW, y_B in Batches(x_NCHW, y_N, batch_size=10, seed=4, augment=augment(shift)):
        for image, y in zip(x_BCHW.numpy(), y_B.numpy(), strict=True):
            offsets = [
                (dy, dx)
                for dy in range(5)
                for dx in range(5)
                if np.array_equal(image, padded[y][:, dy : dy + 6, dx : dx + 6])
            ]
            assert offsets
            found.add(offsets[0])
    assert len(found) > 3


def test_fewer_images_than_a_batch_still_make_one():
    """A small data set is one batch, not none."""
    batches = Batches(*images(), batch_size=64, seed=0)
    assert [x.shape for x, _ in batches] == [torch.Size([10, 1, 6, 6])]


def test_images_that_lie_elsewhere_are_drawn_and_augmented_there():
    """Nothing comes back to the CPU on the way: torch's `meta` device has shapes alone, and mixes with no other."""
    batches = Batches(
        *images(), batch_size=5, seed=1, augment=augment("RandomCrop(padding=2)", "RandomHorizontalFlip()")
    )
    batches.to(torch.device("meta"))
    assert batches.size_bytes == 10 * 36 + 10 * 8
    for x_BCHW, y_B in batches:
        assert (x_BCHW.device.type, y_B.device.type) == ("meta", "meta")
        assert x_BCHW.shape == (5, 1, 6, 6) and x_BCHW.dtype == torch.uint8


def test_where_images_lie_changes_nothing():
    """Moved to the device they are on, they are served as before."""
    shift = ("RandomCrop(padding=2)", "RandomRotation(degrees=20)")
    here, moved = (Batches(*images(), batch_size=5, seed=1, augment=augment(*shift)) for _ in range(2))
    moved.to(torch.device("cpu"))
    for (x_BCHW, y_B), (other_BCHW, other_B) in zip(here, moved, strict=True):
        assert torch.equal(x_BCHW, other_BCHW) and torch.equal(y_B, other_B)
