"""A view to follow by hand: one application, a chain of two layer fragments, two parallel semantic branches."""

from collections.abc import Callable

import numpy as np
import pytest

from splitplace.records.view import (
    Containers,
    Devices,
    Finished,
    Foresight,
    Fragments,
    Links,
    Splits,
    Tasks,
    View,
)

LAYER, SEMANTIC = 0, 1

MakeView = Callable[..., View]


def make_view(
    *,
    memory_bytes: tuple[float, ...] = (100.0, 100.0),
    used_bytes: tuple[float, ...] | None = None,
    up: tuple[bool, ...] | None = None,
    deadlines_s: tuple[float, ...] = (),
    split: tuple[int, ...] | None = None,
    containers: tuple[tuple[int, int, int], ...] = (),
    resident: tuple[tuple[int, int], ...] = (),
    shares_fragments: bool = True,
    finished: Finished | None = None,
    now_s: float = 0.0,
    energy_j: tuple[float, ...] | None = None,
    accuracy: tuple[tuple[float, float], ...] | None = None,
) -> View:
    """Fragments: 0, 1 the chain (10 and 5 s, 60 and 30 bytes), 2, 3 the branches (2 s, 20 bytes each)."""
    n_devices = len(memory_bytes)
    resident_FD = np.zeros((4, n_devices), bool)
    for fragment, device in resident:
        resident_FD[fragment, device] = True
    ones = np.ones(n_devices)
    tasks = len(deadlines_s)
    rows = np.array(containers, np.int64).reshape(-1, 3)
    return View(
        now_s=now_s,
        interval_s=300.0,
        longest_s=100.0,
        foresight=Foresight(np.array(accuracy)) if accuracy is not None else None,
        applications=("mnist",),
        devices=Devices(
            names=tuple(f"d{i}" for i in range(n_devices)),
            up_D=np.array(up if up is not None else [True] * n_devices),
            cores_D=np.ones(n_devices, np.int64),
            core_speed_D=ones,
            memory_bytes_D=np.array(memory_bytes),
            memory_used_bytes_D=np.array(used_bytes if used_bytes is not None else [0.0] * n_devices),
            cpu_D=0 * ones,
            net_D=0 * ones,
            disk_D=0 * ones,
            backlog_s_D=0 * ones,
            power_w_D11=np.tile(np.linspace(100.0, 200.0, 11), (n_devices, 1)),
            energy_j_D=np.array(energy_j if energy_j is not None else [0.0] * n_devices),
            resident_FD=resident_FD,
            shares_fragments=shares_fragments,
        ),
        links=Links(up_bytes_per_s_D=100 * ones, down_bytes_per_s_D=100 * ones, rtt_s_D=0.2 * ones),
        splits=Splits(
            references=("mnist.mobilenetv2.layer-2", "mnist.mobilenetv2.semantic-2"),
            application_S=np.array([0, 0]),
            strategies=("layer", "semantic"),
            first_S=np.array([0, 2]),
            count_S=np.array([2, 2]),
            top1_S=np.array([0.95, 0.9]),
        ),
        fragments=Fragments(
            split_F=np.array([0, 0, 1, 1]),
            micro_batch_F=np.array([4, 4, 4, 4]),
            latency_s_FD=np.array([10.0, 5.0, 2.0, 2.0])[:, None] * ones,
            memory_bytes_FD=np.array([60.0, 30.0, 20.0, 20.0])[:, None] * ones,
            weight_bytes_F=np.array([50, 20, 10, 10]),
            edge_src_X=np.array([-1, 0, -1, -1]),
            edge_dst_X=np.array([0, 1, 2, 3]),
            edge_bytes_X=np.array([50, 25, 50, 50]),
        ),
        tasks=Tasks(
            id_T=100 + np.arange(tasks),
            application_T=np.zeros(tasks, np.int64),
            n_T=np.full(tasks, 4),
            deadline_s_T=np.array(deadlines_s, np.float64),
            age_s_T=np.zeros(tasks),
            split_T=np.array(split if split is not None else [-1] * tasks, np.int64),
        ),
        containers=Containers(
            task_C=rows[:, 0],
            fragment_C=rows[:, 1],
            device_C=rows[:, 2],
            remaining_C=np.ones(len(rows)),
            ready_C=np.ones(len(rows), bool),
        ),
        finished=finished if finished is not None else Finished.none(),
    )


def make_finished(*rows: tuple[int, float, float, float, int]) -> Finished:
    """Rows of (split, deadline_s, response_s, accuracy, context), all of application 0."""
    split, deadline, response, accuracy, context = (list(column) for column in zip(*rows, strict=True))
    return Finished(
        id_E=np.arange(len(rows)),
        application_E=np.zeros(len(rows), np.int64),
        split_E=np.array(split),
        deadline_s_E=np.array(deadline, np.float64),
        response_s_E=np.array(response, np.float64),
        accuracy_E=np.array(accuracy, np.float64),
        tag_E=np.zeros(len(rows), np.int64),
        context_E=np.array(context),
    )


@pytest.fixture(scope="session")
def view() -> MakeView:
    """Builds views."""
    return make_view


@pytest.fixture(scope="session")
def left() -> Callable[..., Finished]:
    """Builds the tasks that left."""
    return make_finished
