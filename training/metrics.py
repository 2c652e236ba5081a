"""What a training measured, as it stands in a RUN folder."""

from splitplace.records.base import Count, Fraction, Name, NonNegative, PositiveCount, Record
from splitplace.records.by_class import ByClass


class FragmentMetrics(Record):
    """A fragment's size; `classes` are those it predicts. FLOPs: 2 a multiplication and addition of dense layers."""

    name: Name
    params: Count
    flops_per_sample: Count = 0
    classes: tuple[Count, ...] = ()


class RunMetrics(ByClass):
    """What a run measured. `accuracy` is on the held-out images, which nothing was fitted to or chosen by.

    `train_s` is of all training steps, `wall_s` of the process that ended the run: after a kill, less than the whole.
    `settled_images` is how many training images running statistics were taken anew of, after few steps.
    `validation_accuracy` is on the validation images, if the recipe kept some: what choices are made by.
    `accuracy_missing[k - 1]` is the mean accuracy, over all classes, with every k of the leaves absent, where a spare
    stands in if there is one. Of trees: `outbid`, the share of images whose class is the largest of its own branch's,
    and that another branch wins; `calibrated_accuracy`, with one scale and shift a branch fitted on the validation
    images: what is above `accuracy` was lost by logits of branches that do not compare. Of SplitNet:
    `off_group_energy`, the share of weight energy between groups before slicing (mean over layers), and
    `sliced_accuracy`, of what slicing left, before stage 2.
    """

    accuracy: Fraction
    n: PositiveCount
    epochs: PositiveCount
    images_per_s: NonNegative
    train_s: NonNegative
    wall_s: NonNegative
    final_loss: float
    params: Count
    flops_per_sample: Count = 0
    fragments: tuple[FragmentMetrics, ...]
    accuracy_missing: tuple[Fraction, ...] = ()
    off_group_energy: Fraction | None = None
    sliced_accuracy: Fraction | None = None
    teacher_accuracy: Fraction | None = None
    validation_accuracy: Fraction | None = None
    settled_images: Count = 0
    outbid: Fraction | None = None
    calibrated_accuracy: Fraction | None = None
