"""Says, cut by cut, what a plan carries and what other cuts would cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splitplace.splitting.layerwise import extract, planner
from splitplace.splitting.layerwise.cutting import Proposal


@dataclass(frozen=True)
class Stage:
    """One fragment as the plan sees it; bytes and seconds of one micro-batch."""

    name: str
    device: str
    cost_s: float
    stage_s: float
    cut_tensors: tuple[str, ...]
    """What it hands on; the last one, the answer."""
    boundary_bytes: int
    weight_bytes: int
    peak_activation_bytes: int


def stages(proposal: Proposal) -> tuple[Stage, ...]:
    """The fragments of a plan, in order."""
    places, plan = proposal.places, proposal.plan
    found = []
    for i, host in enumerate(plan.hosts):
        before, after = plan.places[i], plan.places[i + 1]
        weights = places.weight_bytes_N[after] - places.weight_bytes_N[before]
        found.append(
            Stage(
                name=f"f{i}",
                device=host.name,
                cost_s=plan.compute_s[i],
                stage_s=plan.stage_s[i],
                cut_tensors=extract.boundary(proposal.network, np.flatnonzero(places.inside_Nn[after]).tolist()),
                boundary_bytes=round(float(places.boundary_bytes_N[after])),
                weight_bytes=round(float(weights)),
                peak_activation_bytes=round(float(places.memory_bytes_NN[before, after] - weights)),
            )
        )
    return tuple(found)


def explain(proposal: Proposal) -> tuple[str, ...]:
    """One line a cut: where it is, what crosses it, and the best that moving it alone could do."""
    lines = []
    cost = proposal.places.cost_s_N
    for i, stage in enumerate(stages(proposal)[:-1]):
        here = proposal.plan.places[i + 1]
        after = ", ".join(stage.cut_tensors)
        lines.append(
            f"cut {i + 1} hands on {after} ({stage.boundary_bytes / 1e6:.2f} MB a micro-batch), with "
            f"{cost[here] / cost[-1]:.1%} of the work before it; {_alternative(proposal, i + 1)}"
        )
    return tuple(lines)


def _alternative(proposal: Proposal, cut: int) -> str:
    """The best other place for one cut while all others stay."""
    places, plan = proposal.places, proposal.plan
    before, here, after = plan.places[cut - 1], plan.places[cut], plan.places[cut + 1]
    between = np.flatnonzero(places.before_NN[before] & places.before_NN[:, after])
    others = [int(place) for place in between if place != here and _fits(proposal, cut, int(place))]
    if not others:
        return "there is no other place for it between its neighbours"
    found = [(_value(proposal, _moved(plan.places, cut, place)), place) for place in others]
    value, place = min(found)
    change = places.boundary_bytes_N[place] - places.boundary_bytes_N[here]
    names = extract.boundary(proposal.network, np.flatnonzero(places.inside_Nn[place]).tolist())
    what = "latency" if proposal.objective == "latency" else "bottleneck"
    return (
        f"moved alone to {', '.join(names)}, the next best place, the {what} changes by "
        f"{value / proposal.value_s - 1:+.2%} and the bytes by {change / 1e6:+.2f} MB"
    )


def _fits(proposal: Proposal, cut: int, place: int) -> bool:
    plan, memory = proposal.plan, proposal.places.memory_bytes_NN
    first = memory[plan.places[cut - 1], place] <= plan.hosts[cut - 1].memory_bytes
    return bool(first and memory[place, plan.places[cut + 1]] <= plan.hosts[cut].memory_bytes)


def _moved(places: Sequence[int], cut: int, place: int) -> list[int]:
    return [*places[:cut], place, *places[cut + 1 :]]


def _value(proposal: Proposal, places: Sequence[int]) -> float:
    moved = planner.evaluate(proposal.places, places, proposal.plan.hosts)
    return moved.latency_s if proposal.objective == "latency" else moved.bottleneck_s
