"""Who asks for how much: shares of the applications, and images a task, as means over a workload's tasks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from splitplace.errors import ContractError
from splitplace.placement.simulator.scenario import Workload
from splitplace.records.task import micro_batches
from splitplace.records.view import Floats, Ints


def weights(mix: dict[str, float], applications: tuple[str, ...]) -> Floats:
    """Probability of each application, shape A.

    Raises:
        SplitPlaceError: The mix names none of the applications.
    """
    asked = np.array([mix.get(name, 0.0) if mix else 1.0 for name in applications])
    if asked.sum() <= 0:
        raise ContractError(
            f"the workload's mix asks for {', '.join(mix)}, the demand offers {', '.join(applications)}: "
            "name at least one of them with a weight above 0"
        )
    share_A: Floats = asked / asked.sum()
    return share_A


@dataclass(frozen=True, eq=False)
class MeanTask:
    """What a task is on average.

    Args:
        share_A: Of the tasks, by application.
        n_A: Images a task of it.
        batches: Of an application, at a micro-batch: micro-batches a task, the mean of ceil(n / micro_batch).
    """

    share_A: Floats
    n_A: Floats
    batches: Callable[[int, int], float]


def drawn(workload: Workload, applications: tuple[str, ...]) -> MeanTask:
    """Of a workload that draws its tasks, before any phase of it; exact."""
    low, high = workload.batch

    def batches(application: int, micro_batch: int) -> float:
        return (_batches_up_to(high, micro_batch) - _batches_up_to(low - 1, micro_batch)) / (high - low + 1)

    return MeanTask(weights(workload.mix, applications), np.full(len(applications), (low + high) / 2), batches)


def recorded(application_N: Ints, n_N: Ints, applications: int) -> MeanTask:
    """Of tasks that are known, at least one."""
    count_A = np.bincount(application_N, minlength=applications)
    n_A = np.bincount(application_N, n_N, applications) / np.maximum(count_A, 1)

    def batches(application: int, micro_batch: int) -> float:
        return float(micro_batches(n_N[application_N == application], micro_batch).mean())

    return MeanTask(count_A / len(n_N), n_A, batches)


def _batches_up_to(n: int, micro_batch: int) -> int:
    """The sum of ceil(i / micro_batch) over i = 1 .. n."""
    whole, rest = divmod(n, micro_batch)
    return micro_batch * whole * (whole + 1) // 2 + rest * (whole + 1)
