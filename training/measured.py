"""What a finished training measured: accuracies, speed and sizes."""

from splitplace.splitting.modules import ModuleSplit
from splitplace.training.config import FragmentMetrics, RunMetrics
from splitplace.training.dataset import Dataset
from splitplace.training.evaluate import accuracy
from splitplace.training.fit import Fitted
from splitplace.training.network import as_network
from splitplace.training.preset import FullRecipe
from splitplace.training.run import Run


def measured(
    split: ModuleSplit, data: Dataset, recipe: FullRecipe, fitted: Fitted, wall_s: float, teacher: Run | None = None
) -> RunMetrics:
    """Evaluate a trained split on the held-out images, and on the validation images if the recipe kept some."""
    network = as_network(split)
    sizes = tuple(
        FragmentMetrics(name=f.name, params=sum(p.numel() for p in f.module.parameters()), classes=f.classes)
        for f in split.fragments
    )
    _, validation = data.training_rows(recipe.validation_share)
    return RunMetrics(
        accuracy=accuracy(network, data.x_test_NCHW, data.y_test_N),
        n=len(data.y_test_N),
        epochs=fitted.epochs,
        images_per_s=fitted.images_per_s,
        train_s=fitted.train_s,
        wall_s=wall_s,
        final_loss=fitted.final_loss,
        params=sum(size.params for size in sizes),
        fragments=sizes,
        teacher_accuracy=None if teacher is None else teacher.metrics.accuracy,
        validation_accuracy=(
            accuracy(network, data.x_train_NCHW[validation], data.y_train_N[validation]) if len(validation) else None
        ),
    )
