"""Whether branches' logits compare: what is told of trees that were put out of tune by hand."""

import torch

from splitplace.training.loop.calibration import calibration, outbid
from splitplace.training.loop.evaluate import share_right

LEAVES = ((0, 3), (1, 2))


def tuned(n=2000):
    """Logits that are right most of the time, and the classes; from a stated seed."""
    rng = torch.Generator().manual_seed(7)
    y_N = torch.randint(4, (n,), generator=rng)
    return 2.5 * torch.nn.functional.one_hot(y_N, 4) + torch.randn(n, 4, generator=rng), y_N


def test_what_was_put_out_of_tune_is_put_right():
    """One branch's logits scaled and shifted: its map is found again, and with it the accuracy."""
    logits_NK, y_N = tuned()
    spoiled_NK = logits_NK.clone()
    spoiled_NK[:, [1, 2]] = 3 * spoiled_NK[:, [1, 2]] + 4
    scale_K, shift_K = calibration(spoiled_NK[:1000], y_N[:1000], LEAVES)
    assert scale_K[0] == scale_K[3] and scale_K[1] == scale_K[2] and shift_K[0] == shift_K[3]
    assert abs(float(scale_K[0] / scale_K[1]) - 3) < 0.5
    before, after = share_right(spoiled_NK, y_N), share_right(spoiled_NK * scale_K + shift_K, y_N)
    assert before < 0.75 < 0.95 * share_right(logits_NK, y_N) < after


def test_what_compares_is_left_alone():
    """Scales are alike and shifts small: nothing is won or lost."""
    logits_NK, y_N = tuned()
    scale_K, shift_K = calibration(logits_NK[:1000], y_N[:1000], LEAVES)
    after = share_right(logits_NK * scale_K + shift_K, y_N)
    assert abs(after - share_right(logits_NK, y_N)) < 0.01


def test_outbid_is_right_in_its_branch_and_wrong_in_all():
    """Four images by hand: right; outbid by the other branch; wrong in its own branch; wrong in both ways."""
    logits_NK = torch.tensor([[5.0, 1, 0, 0], [2.0, 0, 3, 1], [1.0, 0, 0, 2], [0.0, 1, 4, 3]])
    assert outbid(logits_NK, torch.tensor([0, 0, 0, 1]), LEAVES) == 0.25
