from dataclasses import replace

import numpy as np
import pytest
import torch

from splitplace.training.loop.losses import class_weights, cross_entropy
from splitplace.training.preset import load_preset
from splitplace.training.recipes.distil import distil_loss

QUICK = load_preset("quick")
BALANCED = QUICK.full.changed(class_weights="balanced")


@pytest.fixture
def uneven(data):
    """Sixty images of class 0, ten, five and five of the others."""
    y_N = np.repeat(np.arange(4), [60, 10, 5, 5])
    return replace(data, x_train_NCHW=data.x_train_NCHW[: len(y_N)], y_train_N=y_N)


def test_all_classes_together_weigh_the_same(uneven):
    """N / (K n_c); of the images that are trained on, without those for validation."""
    count_K = torch.tensor([60.0, 10, 5, 5])
    torch.testing.assert_close(class_weights(uneven, BALANCED) * count_K, torch.full((4,), 20.0))
    rows, _ = uneven.training_rows(0.2)
    kept = BALANCED.changed(validation_share=0.2)
    kept_K = torch.bincount(torch.from_numpy(uneven.y_train_N[rows]))
    torch.testing.assert_close(class_weights(uneven, kept) * kept_K, torch.full((4,), len(rows) / 4))


def test_without_them_each_image_weighs_the_same(uneven):
    """The default: to the bit the plain cross-entropy."""
    assert class_weights(uneven, QUICK.full) is None
    logits_BK, y_B = torch.randn(8, 4), torch.arange(8) % 4
    plain = torch.nn.functional.cross_entropy(logits_BK, y_B)
    assert torch.equal(cross_entropy(QUICK.full, None)(logits_BK, logits_BK, y_B), plain)


def test_a_rare_class_counts_for_more(uneven):
    """The mean over images, each by its class's weight; in what a student learns from labels, too."""
    weight_K, logits_BK, y_B = class_weights(uneven, BALANCED), torch.randn(8, 4), torch.arange(8) % 4
    each_B = torch.nn.functional.cross_entropy(logits_BK, y_B, reduction="none")
    expected = (each_B * weight_K[y_B]).sum() / weight_K[y_B].sum()
    torch.testing.assert_close(cross_entropy(BALANCED, weight_K)(logits_BK, logits_BK, y_B), expected)
    student = QUICK.semantic.changed(class_weights="balanced", distil_share=0.0)
    torch.testing.assert_close(distil_loss(logits_BK, logits_BK, y_B, student, weight_K), expected)
