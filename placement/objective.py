"""What the paper's two modules are rewarded by: eq. 3, 4 for decisions, eq. 10 for placements; the bounds are here."""

from collections.abc import Sequence

import numpy as np

from splitplace.errors import NotReadyError
from splitplace.records.split import Strategy
from splitplace.records.view import Finished, Floats, View

ARMS: tuple[Strategy, Strategy] = ("layer", "semantic")
CONTEXTS = ("high", "low")
"""The SLA settings of §4.1.2, as `Decide.context` counts them."""


def rewards(view: View, left: Finished, sla_weight: float = 0.5) -> Floats:
    """W 1(r <= sla) + (1 - w) p of each task that left, shape E: the summand of eq. 3 and 4 with w = 1/2.

    Raises:
        SplitPlaceError: A task left with an accuracy that is no number: its split has no evaluation.
    """
    if not np.isfinite(left.accuracy_E).all():
        row = int(np.flatnonzero(~np.isfinite(left.accuracy_E))[0])
        raise NotReadyError(
            f"task {left.id_E[row]} left with no accuracy: {view.splits.references[int(left.split_E[row])]} has no "
            "evaluation to learn from; evaluate it, or choose a policy that does not learn"
        )
    met = (left.response_s_E <= left.deadline_s_E).astype(np.float64)
    result: Floats = sla_weight * met + (1 - sla_weight) * left.accuracy_E
    return result


def cell_sums(view: View, left: Finished, sla_weight: float = 0.5) -> tuple[Floats, Floats]:
    """Numerators and counts of eq. 3 (row 0) and eq. 4 (row 1) by arm, two arrays of shape (2, 2).

    A task decided as neither layer nor semantic is in no cell.
    """
    return by_cell(view, left, rewards(view, left, sla_weight))


def by_cell(view: View, left: Finished, values_E: Floats) -> tuple[Floats, Floats]:
    """The same sums of any values of the tasks that left, and the counts."""
    total_cd, count_cd = np.zeros((len(CONTEXTS), len(ARMS))), np.zeros((len(CONTEXTS), len(ARMS)))
    arm_S = np.array([ARMS.index(name) if name in ARMS else -1 for name in view.splits.strategies], np.int64)
    arm_E = arm_S[left.split_E]
    played = arm_E >= 0
    cell = left.context_E[played], arm_E[played]
    np.add.at(total_cd, cell, values_E[played])
    np.add.at(count_cd, cell, 1.0)
    return total_cd, count_cd


def cell_means(total_cd: Floats, count_cd: Floats) -> Floats:
    """O^{c,d} of eq. 3, 4; NaN for a cell that saw no task (the paper's 0/0)."""
    means: Floats = np.divide(total_cd, count_cd, out=np.full(total_cd.shape, np.nan), where=count_cd > 0)
    return means


def mean_reward(cells_cd: Floats) -> float:
    """O^MAB, the mean over cells (§4.1.2); cells without a task are left out, NaN if none saw any."""
    seen = cells_cd[~np.isnan(cells_cd)]
    return float(seen.mean()) if len(seen) else float("nan")


def normalised_power(energy_j: float, seconds: float, power_w_D11: Floats) -> float:
    """AEC of an interval: where the fleet's mean draw lies between all idle (0) and all busy (1); clipped to that."""
    idle_w, full_w = float(power_w_D11[:, 0].sum()), float(power_w_D11[:, -1].sum())
    if full_w <= idle_w:
        return 0.0  # a flat power curve: no placement changes the energy
    return float(np.clip((energy_j / seconds - idle_w) / (full_w - idle_w), 0.0, 1.0))


def normalised_response(response_s_E: Floats, longest_s: float) -> float:
    """ART of an interval over the largest deadline, each response clipped to it: 0 to 1."""
    return float(np.minimum(response_s_E / longest_s, 1.0).mean())


def placement_objective(o_mab: float, aec: float, art: float, alpha: float, beta: float) -> float:
    """O^P = O^MAB - α AEC - β ART (eq. 10), to be maximised; with normalised AEC and ART it lies in -1..1."""
    return o_mab - alpha * aec - beta * art


def overdue_s(view: View) -> Floats:
    """Ages of the tasks that are still there past their deadline, decided or not: as if they left now, nothing right.

    Eq. 10 as printed sees leaving tasks only: a placement that piles everything on one device, so that nothing but a
    few quick tasks ever leaves, would be the best of all, and one that starts nothing would cost nothing.
    """
    ages_s: Floats = view.tasks.age_s_T[view.tasks.age_s_T > view.tasks.deadline_s_T]
    return ages_s


def observed_objective(
    view: View, left: Sequence[Finished], energy_j: float, seconds: float, alpha: float = 0.5, beta: float = 0.5
) -> float | None:
    """O^P of a span of time, over the tasks that left in it and those overdue at its end.

    Its O^MAB is the mean reward of these tasks, one formula whoever decides. The paper's, a mean over cells of context
    and arm (`mean_reward`), has no cell for a model that is compressed or whole, and counts a rare cell as much as a
    full one, so that two deciders would be scored by two measures.

    Args:
        view: At its end.
        left: The tasks that left in it.
        energy_j: What the fleet drew in it.
        seconds: Its length.
        alpha: Weight of energy.
        beta: Weight of response time.

    Returns:
        None where there is no such task: such a span has neither O^MAB nor ART.
    """
    late_s = overdue_s(view)
    reward = np.concatenate([*(rewards(view, finished) for finished in left), np.zeros(len(late_s))])
    if len(reward) == 0:
        return None
    response_s = np.concatenate([*(finished.response_s_E for finished in left), late_s])
    aec = normalised_power(energy_j, seconds, view.devices.power_w_D11)
    art = normalised_response(response_s, view.longest_s)
    return placement_objective(float(reward.mean()), aec, art, alpha, beta)
