"""The surrogate's input x = [S_t, P_t, D_t] (§4.2), affine in P: two layouts of one interface.

`Pooled`, for any number of containers: per device [cpu, ram, net, disk, core speed, rtt] and what P would put there,
Σ_c P[c,h] demand_c, apart for chains and for semantic branches (GOBI: together). `Slots`, the literal layout: the same
device table, then M slots of a one-hot decision (GOBI: none) and a row of P, filled with zeros; containers beyond the M
slots are not seen.

Scaled to about 0..1: work and bytes by what the device could do within the scenario's largest deadline, memory by the
device's own, rtt by 100 ms (and no further), core speed by the fleet's fastest.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from splitplace.placement.learning.problem import Problem
from splitplace.records.view import Floats, View

STATE = 6
"""Columns of a device's own state."""
RTT_SCALE_S = 0.1


class Encoding(Protocol):
    """One moment's x as a function of P."""

    def x(self, p_CD: Floats) -> Floats:
        """The input for a placement."""
        ...

    def pull(self, dx: Floats) -> Floats:
        """d f / d P, shape (C, D), from d f / d x."""
        ...


class Layout(Protocol):
    """How x is laid out."""

    def width(self, devices: int) -> int:
        """Length of x; for the shared form, of one device's row."""
        ...

    def encode(self, view: View, problem: Problem, time_s: float) -> Encoding:
        """Everything of x but P; `time_s` is the largest deadline."""
        ...


def device_state(view: View) -> Floats:
    """S_t of each device, shape (D, STATE)."""
    devices = view.devices
    columns = (
        devices.cpu_D,
        np.clip(devices.memory_used_bytes_D / np.maximum(devices.memory_bytes_D, 1.0), 0.0, 1.0),
        devices.net_D,
        devices.disk_D,
        devices.core_speed_D / devices.core_speed_D.max(),
        np.minimum(view.links.rtt_s_D / RTT_SCALE_S, 1.0),
    )
    return np.stack(columns, axis=1)


def capacity(view: View, time_s: float) -> Floats:
    """What a device could take of each demand within `time_s`, shape (D, DEMANDS); memory is taken as it is."""
    bandwidth_D = np.minimum(view.links.up_bytes_per_s_D, view.links.down_bytes_per_s_D)
    columns = (view.devices.cores_D * time_s, bandwidth_D * time_s, view.devices.memory_bytes_D)
    return np.maximum(np.stack(columns, axis=1).astype(np.float64), 1e-9)


@dataclass(frozen=True, eq=False)
class PooledEncoding:
    """See `Pooled`."""

    state_DS: Floats
    demand_CK: Floats
    """Zero in the columns of the other decision."""
    capacity_DK: Floats
    flat: bool

    def x(self, p_CD: Floats) -> Floats:
        """The table, shape (D, STATE + K); flattened for the flat form."""
        table = np.concatenate([self.state_DS, (p_CD.T @ self.demand_CK) / self.capacity_DK], axis=1)
        return table.ravel() if self.flat else table

    def pull(self, dx: Floats) -> Floats:
        """Through the sums over containers."""
        d_DK = dx.reshape(len(self.state_DS), -1)[:, self.state_DS.shape[1] :]
        result: Floats = self.demand_CK @ (d_DK / self.capacity_DK).T
        return result


@dataclass(frozen=True)
class Pooled:
    """Sums over containers, a row a device."""

    decisions: bool = True
    flat: bool = True

    def width(self, devices: int) -> int:
        """Of the flattened table, or of one row."""
        row = STATE + 3 * (2 if self.decisions else 1)
        return row * devices if self.flat else row

    def encode(self, view: View, problem: Problem, time_s: float) -> PooledEncoding:
        """Everything but P."""
        demand, room = problem.demand_CK, capacity(view, time_s)
        if self.decisions:
            semantic = problem.semantic_C[:, None]
            demand = np.concatenate([np.where(semantic, 0.0, demand), np.where(semantic, demand, 0.0)], axis=1)
            room = np.concatenate([room, room], axis=1)
        return PooledEncoding(device_state(view), demand, room, self.flat)


@dataclass(frozen=True, eq=False)
class SlotsEncoding:
    """See `Slots`."""

    state_DS: Floats
    seen: int
    """Of the containers, the last so many: the newest are the ones to place."""
    decision_MG: Floats

    def x(self, p_CD: Floats) -> Floats:
        """State, then a decision and a row of P for each slot."""
        slots, devices = len(self.decision_MG), len(self.state_DS)
        rows = np.zeros((slots, devices))
        rows[: self.seen] = p_CD[len(p_CD) - self.seen :]
        return np.concatenate([self.state_DS.ravel(), np.concatenate([self.decision_MG, rows], axis=1).ravel()])

    def pull(self, dx: Floats) -> Floats:
        """The slots' rows; nothing for containers without one."""
        tail = dx[self.state_DS.size :].reshape(len(self.decision_MG), -1)[:, self.decision_MG.shape[1] :]
        result: Floats = tail[: self.seen]
        return result


@dataclass(frozen=True)
class Slots:
    """The literal layout: M container slots."""

    decisions: bool = True
    slots: int = 32

    def width(self, devices: int) -> int:
        """Of the whole vector."""
        return STATE * devices + self.slots * (devices + (2 if self.decisions else 0))

    def encode(self, view: View, problem: Problem, time_s: float) -> SlotsEncoding:
        """Everything but P."""
        seen = min(len(problem), self.slots)
        decision_MG = np.zeros((self.slots, 2 if self.decisions else 0))
        if self.decisions:
            semantic = problem.semantic_C[len(problem) - seen :]
            decision_MG[:seen] = np.stack([~semantic, semantic], axis=1)
        return SlotsEncoding(device_state(view), seen, decision_MG)
