"""What a state was trained for, in numbers: costs and accuracies of the splits, links and devices of the fleet.

Names say little: a demand may have the same splits at ten times the compute, a fleet the same hosts behind other links,
and what was learned there is worth nothing here. Memory is left out, for it is a limit that every placer keeps by
itself; so are the devices' names.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Self

import numpy as np

from splitplace.records.base import Count, Record
from splitplace.records.view import Floats, View

NEAR = 0.1
"""Relative: a profile that is measured again, on the same machine, is the same one."""
NEAR_TOP1 = 0.01
NEAR_RTT_S = 1e-3

Row = tuple[float, ...]


class TrainedFor(Record):
    """See above; stands in the header of every saved state."""

    applications: tuple[str, ...]
    splits: tuple[str, ...]
    edges: tuple[tuple[int, int, int], ...]
    """Of all splits: the fragment that sends (-1: the input), the one that receives, bytes a sample."""
    micro_batches: tuple[Count, ...]
    """Of each fragment."""
    weight_bytes: tuple[Count, ...]
    core_s: tuple[Row, ...]
    """Seconds of a micro-batch of each fragment on a device, were its cores of speed 1; a row for each kind that
    differs."""
    top1: tuple[float | None, ...]
    """Of each split; none without an evaluation."""
    links: tuple[Row, ...]
    """Bytes/s up and down and seconds of round trip, of every kind of device that differs."""
    devices: Count
    fleet: str
    """Digest of the devices, one after another: cores, speed, link and power."""

    @classmethod
    def of(cls, view: View) -> Self:
        """What somebody who learns in this environment learns for; static tables only are read."""
        f, links, d = view.fragments, view.links, view.devices
        link_D3 = np.stack([links.up_bytes_per_s_D, links.down_bytes_per_s_D, links.rtt_s_D], axis=1)
        devices = np.concatenate([d.cores_D[:, None], d.core_speed_D[:, None], link_D3, d.power_w_D11], axis=1)
        return cls(
            applications=view.applications,
            splits=view.splits.references,
            edges=tuple(zip(f.edge_src_X.tolist(), f.edge_dst_X.tolist(), f.edge_bytes_X.tolist(), strict=True)),
            micro_batches=tuple(f.micro_batch_F.tolist()),
            weight_bytes=tuple(f.weight_bytes_F.tolist()),
            core_s=_distinct((f.latency_s_FD * d.core_speed_D).T),
            top1=tuple(None if np.isnan(top1) else top1 for top1 in view.splits.top1_S.tolist()),
            links=_distinct(link_D3),
            devices=len(d.names),
            fleet="sha256:" + hashlib.sha256(json.dumps([_short(row) for row in devices]).encode()).hexdigest(),
        )

    def differs(self, here: "TrainedFor") -> str | None:
        """What of the splits or the links is other here than it was, in words; None if nothing is."""
        if (self.applications, self.splits) != (here.applications, here.splits):
            words = dict.fromkeys(here.splits, "was not there") | dict.fromkeys(self.splits, "is not here")
            strange = [f"{name} {words[name]}" for name in sorted(set(self.splits) ^ set(here.splits))]
            return f"splits ({', '.join(strange[:2]) or 'in another order'})"
        for name in ("edges", "micro_batches"):
            if getattr(self, name) != getattr(here, name):
                return f"splits (other {name.replace('_', '-')} of the same names)"
        if not np.allclose(self.weight_bytes, here.weight_bytes, rtol=NEAR, atol=0.0):
            return "sizes of weights"
        if far := _far(here.core_s, self.core_s):
            return f"costs of the splits ({_said(*far, 's a micro-batch')})"
        before_S, now_S = (np.array([np.nan if p is None else p for p in it.top1]) for it in (self, here))
        other_S = ~np.isclose(before_S, now_S, rtol=0.0, atol=NEAR_TOP1, equal_nan=True)
        if other_S.any():
            row = int(np.argmax(other_S))
            return f"accuracies ({self.splits[row]}: {before_S[row]:.3g}, here {now_S[row]:.3g})"
        if far := _far(here.links, self.links, np.array([0.0, 0.0, NEAR_RTT_S])):
            return f"links ({_said(*far, 'bytes/s up and down and s of round trip')})"
        return None


def _distinct(rows: Floats) -> tuple[Row, ...]:
    """The rows that differ, in the order in which they come first."""
    return tuple(dict.fromkeys(tuple(_short(row)) for row in rows))


def _short(row: Floats) -> list[float]:
    """To six digits: sums in another order are the same."""
    return [float(f"{value:.6g}") for value in row.tolist()]


def _far(here: Iterable[Row], known: tuple[Row, ...], atol: Floats | float = 0.0) -> tuple[Row, Row] | None:
    """A row here that is near none of the known, and the first of those; None if there is none."""
    known_KN = np.array(known)
    for row in here:
        near_KN = np.abs(known_KN - row) <= NEAR * np.abs(known_KN) + atol
        if not near_KN.all(axis=1).any():
            return row, known[0]
    return None


def _said(here: Row, known: Row, unit: str) -> str:
    """The number that differs most of two rows."""
    at = int(np.argmax(np.abs(np.array(here) - known) / np.maximum(np.abs(known), 1e-12)))
    return f"{known[at]:.3g}, here {here[at]:.3g} {unit}"
