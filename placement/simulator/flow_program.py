"""The linear program of `capacity.py`, by columns and rows, and HiGHS's answer to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.errors import OverloadedError, SplitPlaceError
from splitplace.placement.simulator.costs import Costs
from splitplace.placement.simulator.holding import batch_s, held_s_FG
from splitplace.placement.simulator.mix import MeanTask, drawn, recorded
from splitplace.placement.simulator.recorded import read_trace
from splitplace.placement.simulator.scenario import Scenario
from splitplace.records.device import Device
from splitplace.records.view import NONE, Floats, Ints

MAX_COLUMNS = 200_000
TRIES, ORDER = 5, 100.0


@dataclass(eq=False)
class FlowProgram:
    """Built and solved by `solve`."""

    scenario: Scenario
    devices: tuple[Device, ...]
    costs: Costs
    columns: dict[tuple[Any, ...], int] = field(default_factory=dict)
    """T, ("y", fragment, group), ("w", source, target, group)."""
    rows: list[tuple[str, float, dict[int, float]]] = field(default_factory=list)
    """Resources: kind, how much there is, how much a unit of a column takes of it."""

    @cached_property
    def mean(self) -> MeanTask:
        """What a task takes on average."""
        workload, applications = self.scenario.workload, self.costs.applications
        if workload.trace is None:
            return drawn(workload, applications)
        _, application_N, n_N, _ = read_trace(Path(workload.trace), applications)
        return recorded(application_N, n_N, len(applications))

    @cached_property
    def group_D(self) -> Ints:  # noqa: N802 - shape suffix
        """Devices of one group differ in nothing that is asked for here."""
        f = self.costs.fragments
        known: dict[tuple[Any, ...], int] = {}
        group = []
        for d, device in enumerate(self.devices):
            key = (device.cores, device.core_speed, device.up_bytes_per_s, device.down_bytes_per_s, self._room(d))
            tables = (f.latency_s_FD[:, d], f.memory_bytes_FD[:, d], self.costs.load_s_FD[:, d])
            group.append(known.setdefault((*key, *(table.tobytes() for table in tables)), len(known)))
        return np.array(group, np.int64)

    def _room(self, d: int) -> float:
        swap = self.scenario.swap.fraction if self.scenario.swap else 0.0
        return (self.devices[d].memory_bytes - float(self.costs.runtime_base_bytes_D[d])) * (1 + swap)

    def solve(self) -> tuple[Floats, Floats]:
        """The best value of every column, in tasks a second, and how much of the limit each row is, together 1.

        Raises:
            SplitPlaceError: Too many different devices, or HiGHS gave up.
        """
        self._flows()
        # HiGHS's tolerances are absolute: the rate that is found becomes the unit, until it is of order one.
        scale = self._scale()
        for _ in range(TRIES):
            found = self._solve(scale)
            if 1 / ORDER <= found.x[0] <= ORDER:
                break
            scale *= max(float(found.x[0]), 1e-9)
        price = -found.ineqlin.marginals[: len(self.rows)]
        best: Floats = np.maximum(found.x * scale, 0.0)
        part: Floats = np.clip(price / max(float(found.x[0]), 1e-300), 0.0, 1.0)
        return best, part

    def _solve(self, scale: float) -> Any:
        from scipy.optimize import linprog

        a_ub, a_eq = self._matrices(scale)
        cost = np.zeros(len(self.columns))
        cost[0] = -1.0
        count = len(self.rows)
        limits = np.concatenate([np.ones(count), np.zeros(a_ub.shape[0] - count)])
        found = linprog(cost, A_ub=a_ub, b_ub=limits, A_eq=a_eq, b_eq=np.zeros(a_eq.shape[0]), method="highs")
        if found.status != 0:
            raise SplitPlaceError(f"HiGHS found no capacity of the fleet: {found.message}")
        return found

    # ---- columns and rows

    def _column(self, *key: Any) -> int:
        return self.columns.setdefault(key, len(self.columns))

    def _flows(self) -> None:
        """Who may run where, what may stay, and what it takes of which resource."""
        costs, scenario = self.costs, self.scenario
        f, groups = costs.fragments, int(self.group_D.max()) + 1
        self._column("T")
        first_G = [int(np.argmax(self.group_D == g)) for g in range(groups)]
        count_G = np.bincount(self.group_D)
        if len(f.split_F) * groups > MAX_COLUMNS:
            raise OverloadedError(
                f"{groups} different kinds of device and {len(f.split_F)} fragments: more than the capacity of a fleet "
                "is solved for; state a rate"
            )
        share_up = 1.0
        if scenario.failures is not None:
            share_up = scenario.failures.mtbf_s / (scenario.failures.mtbf_s + scenario.failures.mttr_s)
        takes: dict[tuple[str, int], dict[int, float]] = {}
        asked = [a for a, share in enumerate(self.mean.share_A.tolist()) if share > 0]
        for split in (s for s in range(len(costs.splits.references)) if costs.splits.application_S[s] in asked):
            self._split(split, first_G, takes)
        for g, (d, alike) in enumerate(zip(first_G, count_G.tolist(), strict=True)):
            device, there = self.devices[d], alike * share_up
            amounts = {
                "cores": scenario.servers(device) * there,
                "uplinks": device.up_bytes_per_s * there,
                "downlinks": device.down_bytes_per_s * there,
                "memory": max(self._room(d), 0.0) * there,
            }
            self.rows += [(kind, amount, takes[kind, g]) for kind, amount in amounts.items() if takes.get((kind, g))]
        if scenario.broker_bytes_per_s is not None:
            for kind in ("broker_out", "broker_in"):
                if takes.get((kind, NONE)):
                    self.rows.append((kind, scenario.broker_bytes_per_s, takes[kind, NONE]))

    def _split(self, split: int, first_G: list[int], takes: dict[tuple[str, int], dict[int, float]]) -> None:
        costs, f = self.costs, self.costs.fragments
        application, rows = int(costs.splits.application_S[split]), costs.splits.fragments(split)
        n = float(self.mean.n_A[application])

        def take(kind: str, group: int, column: int, amount: float) -> None:
            if amount:
                row = takes.setdefault((kind, group), {})
                row[column] = row.get(column, 0.0) + amount

        held_FG = held_s_FG(self.scenario, self.devices, costs, self.mean, split, first_G)
        for local, row in enumerate(rows):
            batches = self.mean.batches(application, int(f.micro_batch_F[row]))
            for g, d in enumerate(first_G):
                if f.memory_bytes_FD[row, d] <= self._room(d):
                    y = self._column("y", row, g)
                    take("cores", g, y, batches * batch_s(self.scenario, self.devices, costs, row, d))
                    take("memory", g, y, float(f.memory_bytes_FD[row, d]) * float(held_FG[local, g]))
        for src, dst, size in self._edges(split):
            sent = n * size
            for g in range(len(first_G)):
                ends = [("y", rows[local], g) if local != NONE else None for local in (src, dst)]
                for end, link, card in zip(ends, ("uplinks", "downlinks"), ("broker_in", "broker_out"), strict=True):
                    if end in self.columns:
                        take(link, g, self.columns[end], sent)
                        if None in ends:
                            take(card, NONE, self.columns[end], sent)
                if all(end in self.columns for end in ends):
                    w = self._column("w", rows[src], rows[dst], g)
                    take("uplinks", g, w, -sent)
                    take("downlinks", g, w, -sent)

    def _edges(self, split: int) -> Iterator[tuple[int, int, float]]:
        """Source, target and bytes a sample; in a ring, each root but the first has its input from the one before."""
        graph = self.costs.graphs[split]
        roots = graph.roots if self.scenario.inputs == "ring" else ()
        for e, (src, dst, size) in enumerate(graph.edges):
            before = graph.edges[roots[roots.index(e) - 1]][1] if e in roots[1:] else src
            yield before, dst, size

    # ---- the program in numbers of order one

    def _scale(self) -> float:
        """Tasks a second that the scarcest kind of resource could do, roughly: the unit of all columns."""
        rates: dict[str, float] = {}
        for kind, amount, taken in self.rows:
            rates[kind] = rates.get(kind, 0.0) + amount / min(value for value in taken.values() if value > 0)
        return min(rates.values())

    def _matrices(self, scale: float) -> tuple[Any, Any]:
        from scipy import sparse

        less: list[dict[int, float]] = [
            {column: scale * taken / amount for column, taken in row.items()} for _, amount, row in self.rows
        ]
        for key, w in self.columns.items():
            if key[0] == "w":
                less += [{w: 1.0, self.columns["y", row, key[3]]: -1.0} for row in key[1:3]]
        equal: list[dict[int, float]] = []
        costs, per_row = self.costs, dict[int, dict[int, float]]()
        for key, column in self.columns.items():
            if key[0] == "y":
                per_row.setdefault(key[1], {})[column] = 1.0
        for application, share in enumerate(self.mean.share_A.tolist()):
            served: dict[int, float] = {0: -share}
            for split in np.flatnonzero(costs.splits.application_S == application).tolist():
                first, *others = costs.splits.fragments(split)
                served |= per_row.get(first, {})
                for row in others:
                    here = per_row.get(row, {})
                    equal.append(here | dict.fromkeys(per_row.get(first, {}), -1.0))
            if share > 0:
                equal.append(served)

        def matrix(rows: list[dict[int, float]]) -> Any:
            at = [(r, column, value) for r, row in enumerate(rows) for column, value in row.items()]
            r, columns, values = zip(*at, strict=True)
            return sparse.csr_matrix((values, (r, columns)), shape=(len(rows), len(self.columns)))

        return matrix(less), matrix(equal)
