"""The surrogate's input x = [S_t, P_t, D_t] (§4.2), affine in P: two layouts of one interface.

`Pooled`, for any number of containers: per device [cpu, ram, net, disk, core speed, rtt] and what P would put there,
Σ_c P[c,h] demand_c, apart for chains and for semantic branches (GOBI: together). `Slots`, the literal layout: the same
device table, then M slots of a one-hot decision (GOBI: none) and a row of P, filled with zeros; containers beyond the M
slots are not seen.

Scaled to about 0..1: work and bytes by what the device could do within the scenario's largest deadline, memory by the
device's own, rtt by 100 ms (and no further), core speed by the fleet's fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from splitplace.placement.surrogates.problem import Problem
from splitplace.records.view import NONE, Floats, Ints, View

STATE = 6
"""Columns of a device's own state."""
RTT_SCALE_S = 0.1


class Encoding(Protocol):
    """One moment's x as a function of P."""

    def x(self, p_CD: Floats) -> Floats:
        """The input for a placement."""
        ...

    def pull(self, dx: Floats) -> Floats:
        """D f / d P, shape (C, D), from d f / d x; zero for a container that x does not show."""
        ...

    def given(self, p_CD: Floats, free_C: Ints) -> "Encoding":
        """X as a function of the rows `free_C` alone, the others as they are in this P."""
        ...

    def among(self, devices_A: Ints) -> "Encoding":
        """Whose `varying`, `moving` and `pull_moving` are of these devices alone, and of P these columns."""
        ...

    def varying(self) -> Ints:
        """The entries of a flat x that P can change."""
        ...

    def moving(self, p_CD: Floats) -> Floats:
        """Those entries."""
        ...

    def pull_moving(self, d_M: Floats) -> Floats:
        """As `pull`, from the gradient with respect to those entries."""
        ...


class FeatureLayout(Protocol):
    """How x is laid out."""

    def width(self, devices: int) -> int:
        """Length of x; for the shared form, of one device's row."""
        ...

    def encode(self, view: View, problem: Problem, time_s: float) -> Encoding:
        """Everything of x but P; `time_s` is the largest deadline."""
        ...

    def renamed(self, x_BN: Floats, order_BD: Ints) -> Floats:
        """Flat inputs as they were if device `order[b, d]` stood in place d."""
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
    columns = (view.devices.servers_D * time_s, bandwidth_D * time_s, view.devices.memory_bytes_D)
    return np.maximum(np.stack(columns, axis=1).astype(np.float64), 1e-9)


@dataclass(frozen=True, eq=False)
class PooledEncoding:
    """See `Pooled`."""

    state_DS: Floats
    load_DK: Floats
    """Of containers that are not in P any more."""
    demand_CK: Floats
    """Zero in the columns of the other decision."""
    capacity_DK: Floats
    flat: bool
    devices_A: Ints
    """Those that may change."""

    def x(self, p_CD: Floats) -> Floats:
        """The table, shape (D, STATE + K); flattened for the flat form."""
        load_DK = self.load_DK + (p_CD.T @ self.demand_CK) / self.capacity_DK
        table = np.concatenate([self.state_DS, load_DK], axis=1)
        return table.ravel() if self.flat else table

    def pull(self, dx: Floats) -> Floats:
        """Through the sums over containers."""
        load_DK = dx.reshape(len(self.state_DS), -1)[:, self.state_DS.shape[1] :]
        result: Floats = self.demand_CK @ (load_DK / self.capacity_DK).T
        return result

    def among(self, devices_A: Ints) -> "PooledEncoding":
        """Of the loads, theirs."""
        return replace(self, devices_A=devices_A)

    def varying(self) -> Ints:
        """The load columns."""
        width = self.state_DS.shape[1] + self.capacity_DK.shape[1]
        columns = np.arange(len(self.state_DS) * width).reshape(-1, width)
        result: Ints = columns[self.devices_A, self.state_DS.shape[1] :].ravel()
        return result

    def moving(self, p_CD: Floats) -> Floats:
        """The loads."""
        some = self.devices_A
        return (self.load_DK[some] + (p_CD.T @ self.demand_CK) / self.capacity_DK[some]).ravel()

    def pull_moving(self, d_M: Floats) -> Floats:
        """Through the sums over containers."""
        capacity_AK = self.capacity_DK[self.devices_A]
        result: Floats = self.demand_CK @ (d_M.reshape(capacity_AK.shape) / capacity_AK).T
        return result

    def given(self, p_CD: Floats, free_C: Ints) -> "PooledEncoding":
        """The others' load is added up once."""
        others = np.ones(len(p_CD), np.bool_)
        others[free_C] = False
        load_DK = self.load_DK + (p_CD[others].T @ self.demand_CK[others]) / self.capacity_DK
        return replace(self, load_DK=load_DK, demand_CK=self.demand_CK[free_C])


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
        return PooledEncoding(device_state(view), np.zeros_like(room), demand, room, self.flat, np.arange(len(room)))

    def renamed(self, x_BN: Floats, order_BD: Ints) -> Floats:
        """The rows of the table change places."""
        return _renamed(x_BN, order_BD)


@dataclass(frozen=True, eq=False)
class SlotsEncoding:
    """See `Slots`."""

    state_DS: Floats
    decision_MG: Floats
    rows_MD: Floats
    """Rows of P that are given; zero in those of `slot_C` and in empty slots."""
    slot_C: Ints
    """Of each container; -1 for one that found none."""
    devices_A: Ints
    """Those that may change."""

    def x(self, p_CD: Floats) -> Floats:
        """State, then a decision and a row of P for each slot."""
        rows_MD, has = self.rows_MD.copy(), self.slot_C != NONE
        rows_MD[self.slot_C[has]] = p_CD[has]
        return np.concatenate([self.state_DS.ravel(), np.concatenate([self.decision_MG, rows_MD], axis=1).ravel()])

    def pull(self, dx: Floats) -> Floats:
        """The slots' rows."""
        rows_MD = dx[self.state_DS.size :].reshape(len(self.decision_MG), -1)[:, self.decision_MG.shape[1] :]
        return np.where((self.slot_C != NONE)[:, None], rows_MD[self.slot_C], 0.0)

    def among(self, devices_A: Ints) -> "SlotsEncoding":
        """Of the rows, their columns."""
        return replace(self, devices_A=devices_A)

    def varying(self) -> Ints:
        """The rows of the slots of `slot_C`."""
        slots, width = len(self.decision_MG), self.decision_MG.shape[1] + self.rows_MD.shape[1]
        columns = self.state_DS.size + np.arange(slots * width).reshape(slots, width)
        place_A = self.decision_MG.shape[1] + self.devices_A
        result: Ints = columns[self.slot_C[self.slot_C != NONE, None], place_A].ravel()
        return result

    def moving(self, p_CD: Floats) -> Floats:
        """The rows of P that have slots."""
        result: Floats = p_CD[self.slot_C != NONE].ravel()
        return result

    def pull_moving(self, d_M: Floats) -> Floats:
        """Back to the rows of P."""
        has = self.slot_C != NONE
        pulled = np.zeros((len(self.slot_C), len(self.devices_A)))
        pulled[has] = d_M.reshape(-1, len(self.devices_A))
        return pulled

    def given(self, p_CD: Floats, free_C: Ints) -> "SlotsEncoding":
        """The others' rows are filled in."""
        rows_MD, slot_C = self.rows_MD.copy(), self.slot_C.copy()
        slot_C[free_C] = NONE
        rows_MD[slot_C[slot_C != NONE]] = p_CD[slot_C != NONE]
        return replace(self, rows_MD=rows_MD, slot_C=self.slot_C[free_C])


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
        # The newest containers have slots: they are the ones to place.
        slot_C = np.arange(len(problem)) - max(len(problem) - self.slots, 0)
        slot_C[slot_C < 0] = NONE
        decision_MG = np.zeros((self.slots, 2 if self.decisions else 0))
        if self.decisions:
            semantic = problem.semantic_C[slot_C != NONE]
            decision_MG[: len(semantic)] = np.stack([~semantic, semantic], axis=1)
        rows_MD = np.zeros((self.slots, len(view.devices.names)))
        return SlotsEncoding(device_state(view), decision_MG, rows_MD, slot_C, np.arange(rows_MD.shape[1]))

    def renamed(self, x_BN: Floats, order_BD: Ints) -> Floats:
        """The rows of the device table change places, and the columns of P."""
        batch, devices = order_BD.shape
        state, slots = x_BN[:, : STATE * devices], x_BN[:, STATE * devices :].reshape(batch, self.slots, -1)
        decision, p_BMD = slots[:, :, :-devices], slots[:, :, -devices:]
        p_BMD = np.take_along_axis(p_BMD, order_BD[:, None, :], axis=2)
        moved = np.concatenate([decision, p_BMD], axis=2).reshape(batch, -1)
        return np.concatenate([_renamed(state, order_BD), moved], axis=1)


def _renamed(table_BN: Floats, order_BD: Ints) -> Floats:
    table = table_BN.reshape(*order_BD.shape, -1)
    moved: Floats = np.take_along_axis(table, order_BD[:, :, None], axis=1).reshape(table_BN.shape)
    return moved


def alike(view: View) -> list[Ints]:
    """Groups of devices that differ in nothing but their name: any of them may stand for any other."""
    d, links, f = view.devices, view.links, view.fragments
    columns = (
        d.cores_D,
        d.servers_D,
        d.core_speed_D,
        d.memory_bytes_D,
        *d.power_w_D11.T,
        links.up_bytes_per_s_D,
        links.down_bytes_per_s_D,
        links.rtt_s_D,
        *f.latency_s_FD,
        *f.memory_bytes_FD,
    )
    kind_D = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()
    return [np.flatnonzero(kind_D == kind) for kind in range(kind_D.max() + 1)]


def renamed_at_random(layout: FeatureLayout, x_BN: Floats, groups: Sequence[Ints], rng: np.random.Generator) -> Floats:
    """The same inputs, each with the devices of every group in another order.

    Which of several devices alike does what makes no difference; a flat FCN does not know until it is shown.
    """
    order_BD = np.tile(np.arange(sum(map(len, groups))), (len(x_BN), 1))
    for group in groups:
        order_BD[:, group] = rng.permuted(order_BD[:, group], axis=1)
    return layout.renamed(x_BN, order_BD)
