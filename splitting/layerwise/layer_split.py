"""A layer-wise split with the plan that it follows: what each fragment costs where, and how good the cuts are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from splitplace.records.base import Count, Digest, Name, NonNegative, Record
from splitplace.report.picture import check_picture
from splitplace.splitting.artifact import SplitArtifact
from splitplace.splitting.layerwise import explain
from splitplace.splitting.layerwise.cutting import Proposal
from splitplace.splitting.layerwise.lattice import Lattice
from splitplace.splitting.layerwise.planner import Objective
from splitplace.splitting.layerwise.recompose import Recomposition

Costs = Literal["analytic", "measured"]


class PlannedFragment(Record):
    """One fragment as the plan sees it: seconds and bytes of one micro-batch, on the device it was planned for."""

    name: Name
    device: str
    cost_s: NonNegative
    stage_s: NonNegative
    """The longest of receiving, computing and sending."""
    cut_tensors: tuple[str, ...]
    """What it hands on; of the last one, the answer."""
    boundary_bytes: Count
    params: Count
    flops: Count
    """Of one sample."""
    weight_bytes: Count
    peak_activation_bytes: Count
    memory_bytes: Count
    """Weights and activations, as estimated."""
    digest: Digest
    memory_measured_bytes: int | None = None
    """What it adds to a process; only with measured costs."""
    memory_error: float | None = None
    """By what share the estimate is off."""


@dataclass(frozen=True, eq=False)
class LayerSplit(SplitArtifact):
    """A verified layer-wise split: its graph and ONNX files, and the plan that it follows."""

    weights: str
    """Where the weights came from."""
    objective: Objective
    slack: float
    costs: Costs
    micro_batch: int
    fragments: tuple[PlannedFragment, ...]
    recomposition: Recomposition
    """How close the fragments together came to the whole."""
    proposal: Proposal

    @property
    def bottleneck_s(self) -> float:
        """Seconds between two micro-batches of a full pipeline."""
        return self.proposal.plan.bottleneck_s

    @property
    def latency_s(self) -> float:
        """Seconds of one micro-batch from end to end, transfers included."""
        return self.proposal.plan.latency_s

    @property
    def lower_bound_s(self) -> float:
        """No plan can be below this: computed without the search."""
        return self.proposal.lower_bound_s

    @property
    def gap(self) -> float:
        """By how much the plan could at most be beaten, as a share of the lower bound."""
        return self.proposal.gap

    @property
    def exact(self) -> bool:
        """Whether the search went over all cuts of the graph and all ways to use the devices."""
        return self.proposal.exact

    def explain(self) -> tuple[str, ...]:
        """One line a cut: where it is, what crosses it, and the best that moving it alone could do."""
        return explain.explain(self.proposal)

    def plot(self, path: str | Path) -> Path:
        """Draw cost and bytes along the network, with the cuts.

        Args:
            path: A .png, .svg or .pdf.

        Returns:
            The absolute path of the picture.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UsageError: Another ending.
        """
        place = Path(path).absolute()
        check_picture(place)
        from splitplace.report.cuts import draw_cuts

        # Blocks in an order that runs through every cut of the plan.
        places, plan = self.proposal.places, self.proposal.plan
        inside = places.inside_Nn[list(plan.places)]
        order = np.argsort(-inside.sum(axis=0), kind="stable")
        prefixes = np.zeros((len(order) + 1, len(order)), bool)
        for i, block in enumerate(order):
            prefixes[i + 1] = prefixes[i]
            prefixes[i + 1, block] = True
        walk = Lattice(places.work, prefixes, complete=False)
        draw_cuts(
            place,
            places.work.cost_s[order].tolist(),
            walk.boundary_bytes_N[1:].tolist(),
            inside.sum(axis=1)[1:-1].tolist(),
            f"{self.split.reference}: {len(plan.hosts)} fragments, gap {self.gap:.2%}",
        )
        return place


def planned(artifact: SplitArtifact, stage: explain.Stage, memory: Mapping[str, Any]) -> PlannedFragment:
    """What a plan says of a fragment, with what was measured of its memory, if anything."""
    fragment = artifact.split.by_name[stage.name]
    return PlannedFragment(
        name=stage.name,
        device=stage.device,
        cost_s=stage.cost_s,
        stage_s=stage.stage_s,
        cut_tensors=stage.cut_tensors,
        boundary_bytes=stage.boundary_bytes,
        params=fragment.params,
        flops=fragment.flops_per_sample,
        weight_bytes=fragment.weight_bytes,
        peak_activation_bytes=stage.peak_activation_bytes,
        memory_bytes=stage.weight_bytes + stage.peak_activation_bytes,
        digest=fragment.digest,
        **memory,
    )
