"""How right answers are class by class, and which classes are taken for which: one rule for RUNs and evaluations."""

import numpy as np
import numpy.typing as npt

from splitplace.records.base import Count, Fraction, Record

MAX_CONFUSED = 200
"""Classes of which confusions are kept: the square of their number stands in the record."""
MAX_BY_CLASS = 50_000
"""Classes of which each one's accuracy is kept: twice ImageNet-21k's, and about a megabyte of JSON."""

Ints = npt.NDArray[np.int64]


class ByClass(Record):
    """Of held-out images, beside the accuracy over all of them.

    `accuracy_by_class[c]` is the share of the images of class c that were answered right (none where there are none);
    of more than `MAX_BY_CLASS` classes, it is empty. `confusion[c][k]` is how many images of class c were taken for
    class k; of more than `MAX_CONFUSED` classes, it is empty.
    """

    accuracy_by_class: tuple[Fraction | None, ...] = ()
    confusion: tuple[tuple[Count, ...], ...] = ()


def by_class(answer_N: Ints, label_N: Ints, n_classes: int) -> ByClass:
    """Count answers by their right classes.

    Args:
        answer_N: The class that each image was taken for, 0 to K-1.
        label_N: The right ones, 0 to K-1.
        n_classes: K.
    """
    accuracy_by_class: tuple[float | None, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    if n_classes <= MAX_BY_CLASS:
        images_K = np.bincount(label_N, minlength=n_classes).tolist()
        right_K = np.bincount(label_N[answer_N == label_N], minlength=n_classes).tolist()
        accuracy_by_class = tuple(right / n if n else None for right, n in zip(right_K, images_K, strict=True))
    if n_classes <= MAX_CONFUSED:
        count_KK = np.bincount(label_N * n_classes + answer_N, minlength=n_classes**2).reshape(n_classes, n_classes)
        confusion = tuple(map(tuple, count_KK.tolist()))
    return ByClass(accuracy_by_class=accuracy_by_class, confusion=confusion)
