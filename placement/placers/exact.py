"""An exact placer for small fleets: one mixed-integer program a plan, solved by HiGHS, with its bound.

    minimise    T + Σ_h L_h / D + Σ_r W w_r          the longest queue, then the mean queue; waiting is the last resort
    subject to  Σ_h x_ch = 1 - w_r                   for each container c of request r: one device, or the request waits
                Σ_c m_ch x_ch <= free memory of h    (each container its own copy)
                x_ch <= y_fh, Σ_f m_fh y_fh <= ...   (copies shared: a fragment is paid for once a device)
                L_h = (backlog_h + Σ_c s_ch x_ch) / cores_h <= T

It optimises what a plan can see, seconds of work a core; eq. 10 depends on what arrives later, and no plan is exact in
it. Needs scipy (the extra `sim`). Refuses more than 10 devices. A plan of many containers is optimal within 1e-4, or
the best after 100 branch-and-bound nodes; `solve` tells objective and bound. Idle loaded fragments are not evicted.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from splitplace.errors import InfeasibleError, SplitPlaceError
from splitplace.extras import needs
from splitplace.placement.policy import Feedback, PlacementRequest
from splitplace.placement.room import Room, claimed_bytes
from splitplace.records.action import Action, Place, Wait
from splitplace.records.view import View

MAX_DEVICES = 10
NODE_LIMIT = 100
"""Branch-and-bound nodes; a limit on seconds would make the answer depend on the machine."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A placement, what it costs, and what no placement can undercut."""

    actions: list[Action]
    objective_s: float
    bound_s: float


class Exact:
    """Stateless; draws nothing."""

    name: ClassVar[str] = "exact"

    def init(self, view: View) -> None:
        """Check the fleet's size.

        Raises:
            SplitPlaceError: More devices than can be solved while a task waits.
        """
        needs("placer 'exact'", "sim", packages=("scipy",))
        devices = len(view.devices.names)
        if devices > MAX_DEVICES:
            raise InfeasibleError(f"placer 'exact' takes up to {MAX_DEVICES} devices, got {devices}")

    def update(self, state: Any, feedback: Feedback) -> None:
        """Learns nothing."""

    def place(self, state: Any, view: View, requests: list[PlacementRequest], rng: np.random.Generator) -> list[Action]:
        """The best found; requests that do not fit wait as a whole."""
        return self.solve(view, requests).actions if requests else []

    def solve(self, view: View, requests: list[PlacementRequest]) -> Solution:
        """One program."""
        from scipy import sparse
        from scipy.optimize import Bounds, LinearConstraint, milp

        program = _Program(view, requests)
        rows, low, high = program.constraints()
        matrix = sparse.csr_array(np.array(rows))
        integrality = np.ones(program.width)
        integrality[program.t] = 0
        result = milp(
            program.costs(),
            constraints=LinearConstraint(matrix, np.array(low), np.array(high)),
            bounds=Bounds(np.zeros(program.width), program.upper()),
            integrality=integrality,
            options={"node_limit": NODE_LIMIT, "mip_rel_gap": 1e-4},
        )
        if result.x is None:
            raise SplitPlaceError(f"HiGHS found no placement within {NODE_LIMIT} nodes: {result.message}")
        # scipy reports no bound when presolve alone solves it: then the optimum is its own.
        bound = result.fun if result.mip_dual_bound is None else result.mip_dual_bound
        fixed = program.fixed
        return Solution(program.actions(result.x), float(result.fun) + fixed, float(bound) + fixed)


class _Program:
    """Columns: x by container and device, y by fragment and device (if shared), w by request, T."""

    def __init__(self, view: View, requests: list[PlacementRequest]):
        self.view, self.requests = view, requests
        self.containers = [(r, fragment) for r, request in enumerate(requests) for fragment in request.fragments]
        self.devices = len(view.devices.names)
        self.shared = view.devices.shares_fragments
        self.fragments = sorted({fragment for _, fragment in self.containers})
        self.y = len(self.containers) * self.devices
        self.w = self.y + (len(self.fragments) * self.devices if self.shared else 0)
        self.t = self.w + len(requests)
        self.width = self.t + 1
        n_R = [int(view.tasks.n_T[request.task]) for request in requests]
        cores_D = view.devices.servers_D.astype(np.float64)
        self.service_CD = np.array([view.fragments.service_s(f, n_R[r]) for r, f in self.containers]) / cores_D
        self.backlog_D = view.devices.backlog_s_D / cores_D
        self.fixed = float(self.backlog_D.mean())
        room = Room(view)
        self.fits_CD = np.array([room.fits(fragment) for _, fragment in self.containers])
        # More than all work one after another on the slowest: no placement is worse than waiting.
        self.wait_s = 2 * float(self.service_CD.max(axis=1).sum() + self.backlog_D.max()) + 1.0

    def costs(self) -> Any:
        """Of each column; the backlog that is there anyway is left to `fixed`."""
        c = np.zeros(self.width)
        c[: self.y] = (self.service_CD / self.devices).ravel()
        c[self.w : self.t] = self.wait_s
        c[self.t] = 1.0
        return c

    def upper(self) -> Any:
        """Of each column."""
        upper = np.ones(self.width)
        free = np.where(self.view.devices.up_D, 1.0, 0.0)
        upper[: self.y] = (self.fits_CD * free).ravel() if not self.shared else np.tile(free, len(self.containers))
        upper[self.t] = np.inf
        return upper

    def constraints(self) -> tuple[list[Any], list[float], list[float]]:
        """Rows, lower and upper ends."""
        rows: list[Any] = []
        low: list[float] = []
        high: list[float] = []

        def add(row: Any, lower: float, upper: float) -> None:
            rows.append(row)
            low.append(lower)
            high.append(upper)

        view, count = self.view, self.devices
        memory_FD, free_D = view.fragments.memory_bytes_FD, view.devices.memory_free_bytes_D
        scale_D = np.maximum(view.devices.memory_bytes_D, 1.0)  # rows of order one: HiGHS's tolerances are absolute
        for c, (r, _) in enumerate(self.containers):
            row = np.zeros(self.width)
            row[c * count : (c + 1) * count] = 1.0
            row[self.w + r] = 1.0
            add(row, 1.0, 1.0)
        for d in range(count):
            row, load = np.zeros(self.width), np.zeros(self.width)
            for c, (_, fragment) in enumerate(self.containers):
                row[c * count + d] = 0.0 if self.shared else memory_FD[fragment, d] / scale_D[d]
                load[c * count + d] = self.service_CD[c, d]
                if self.shared:
                    f = self.fragments.index(fragment)
                    link = np.zeros(self.width)
                    link[c * count + d], link[self.y + f * count + d] = 1.0, -1.0
                    add(link, -np.inf, 0.0)
            if self.shared:
                for f, fragment in enumerate(self.fragments):
                    here = bool(view.devices.resident_FD[fragment, d])
                    row[self.y + f * count + d] = claimed_bytes(memory_FD[fragment, d], here) / scale_D[d]
            # A hair under the limit, so that a solution within HiGHS's tolerance is within the device's memory.
            add(row, -np.inf, max(free_D[d] / scale_D[d] - 1e-9, 0.0) if view.devices.up_D[d] else 0.0)
            load[self.t] = -1.0
            add(load, -np.inf, -float(self.backlog_D[d]))
        return rows, low, high

    def actions(self, x: Any) -> list[Action]:
        """The solution carried into actions, checked against the same ledger as every placer's."""
        room, actions = Room(self.view), list[Action]()
        for c, (r, fragment) in enumerate(self.containers):
            task = int(self.view.tasks.id_T[self.requests[r].task])
            if x[self.w + r] > 0.5:
                actions.append(Wait(task, fragment))
                continue
            device = int(np.argmax(x[c * self.devices : (c + 1) * self.devices]))
            actions += [*room.take(fragment, device), Place(task, fragment, device)]
        return actions
