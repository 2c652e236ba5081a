"""What a full model teaches: everything cut out of it is trained against its answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from splitplace.errors import UsageError
from splitplace.training.config import TrainingRequest
from splitplace.training.data.dataset import Dataset
from splitplace.training.loop.losses import Loss, hard_loss
from splitplace.training.preset import DistilRecipe
from splitplace.training.run import Run


def check_teacher(full: Run, data: Dataset) -> None:
    """Refuse a teacher that is no full model of these very images, training and held-out.

    Raises:
        UsageError: As said.
    """
    request = full.config.request
    if request.strategy != "full":
        raise UsageError(f"{full.path} is a run of strategy {request.strategy}, expected full")
    for part, theirs, ours in (
        ("held-out", request.data_sha256, data.sha256),
        ("training", request.train_sha256, data.train_sha256),  # or it may have seen what validates its students
    ):
        if theirs != ours:
            raise UsageError(
                f"{full.path} was trained on other data ({request.application}) than {data.application}: "
                f"got {part} images of sha256 {ours[:12]}, expected {theirs[:12]}; train a full model on these first"
            )


def check_stages(full: Run, cuts: Sequence[str]) -> None:
    """Refuse a teacher that was trained before splitplace found the stages that its network is now cut between.

    Raises:
        UsageError: As said.
    """
    (part,) = full.config.parts
    missing = [cut for cut in cuts if cut not in part.stages]
    if missing:
        raise UsageError(
            f"{full.path} has no stage {missing[0]} to cut before: it was trained by a splitplace that took the "
            "network for one stage; train it again, elsewhere or after removing the folder"
        )


def student_request(full: Run, data: Dataset, **asked: Any) -> TrainingRequest:
    """What is asked for where a model cut out of `full` is trained: what both share, and `asked`."""
    theirs = full.config.request
    return TrainingRequest(
        application=data.application,
        data_sha256=data.sha256,
        train_sha256=data.train_sha256,
        model=theirs.model,
        strides=theirs.strides,
        teacher_sha256=full.config.weights_sha256,
        **asked,
    )


def load_teacher(full: Run) -> nn.Sequential:
    """The full model's network, as a chain of stages."""
    network = full.load().fragments[0].module
    assert isinstance(network, nn.Sequential)
    return network


def distillation(teacher: nn.Sequential, recipe: DistilRecipe, weight_K: Tensor | None = None) -> Loss:
    """Cross-entropy + T² KL(teacher || student) at temperature T (Hinton et al. 2015, section 2)."""
    teacher.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def loss(image_BCHW: Tensor, logits_BK: Tensor, y_B: Tensor) -> Tensor:
        if next(teacher.parameters()).device != image_BCHW.device:
            teacher.to(image_BCHW.device)
        with torch.no_grad():
            target_BK = teacher(image_BCHW)
        return distil_loss(logits_BK, target_BK, y_B, recipe, weight_K)

    return loss


def distil_loss(
    logits_BK: Tensor, target_BK: Tensor, y_B: Tensor, recipe: DistilRecipe, weight_K: Tensor | None = None
) -> Tensor:
    """`distillation` where the teacher's logits are known already."""
    target_BK = (target_BK / recipe.temperature).log_softmax(1)
    answer_BK = (logits_BK / recipe.temperature).log_softmax(1)
    distil = nn.functional.kl_div(answer_BK, target_BK, reduction="batchmean", log_target=True)
    hard = hard_loss(logits_BK, y_B, recipe, weight_K)
    return (1 - recipe.distil_share) * hard + recipe.distil_share * recipe.temperature**2 * distil
