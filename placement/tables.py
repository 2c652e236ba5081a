"""The static half of every view: splits and fragments as arrays, from a demand and the devices."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from splitplace.records.demand import Demand, EncodedInput
from splitplace.records.device import Device
from splitplace.records.split import INPUT
from splitplace.records.view import NONE, Floats, Fragments, Links, Splits


def applications(demand: Demand) -> tuple[str, ...]:
    """The applications on offer, in order of first appearance: the index that the tables use."""
    return tuple(dict.fromkeys(entry.split.application for entry in demand.splits))


def fragment_rows(demand: Demand) -> dict[tuple[str, str], int]:
    """The row of each (split reference, fragment name) in `Fragments`."""
    pairs = [(entry.split.reference, fragment.name) for entry in demand.splits for fragment in entry.split.fragments]
    return {pair: row for row, pair in enumerate(pairs)}


def splits_table(demand: Demand) -> Splits:
    """One row a split, in the order of the demand."""
    index = {name: i for i, name in enumerate(applications(demand))}
    counts = np.array([len(entry.split.fragments) for entry in demand.splits], np.int64)
    return Splits(
        references=tuple(entry.split.reference for entry in demand.splits),
        application_S=np.array([index[entry.split.application] for entry in demand.splits], np.int64),
        strategies=tuple(entry.split.strategy for entry in demand.splits),
        first_S=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        count_S=counts,
        top1_S=np.array([entry.evaluation.top1 if entry.evaluation else np.nan for entry in demand.splits]),
    )


def fragments_table(demand: Demand, devices: tuple[Device, ...], threads_D: Sequence[int] | None = None) -> Fragments:
    """One row a fragment, all splits one after another; costs on each device by `SplitDemand`'s rule.

    Args:
        demand: The splits.
        devices: Single devices, D of them.
        threads_D: How many cores of each compute a fragment; all, if not given, as a live device does.
    """
    threads_D = threads_D or [device.cores for device in devices]
    rows = fragment_rows(demand)
    pairs = [
        (split_row, entry, fragment)
        for split_row, entry in enumerate(demand.splits)
        for fragment in entry.split.fragments
    ]
    edges = [
        (
            NONE if edge.src == INPUT else rows[entry.split.reference, edge.src],
            rows[entry.split.reference, edge.dst],
            edge.bytes_per_sample,
        )
        for entry in demand.splits
        for edge in entry.split.edges
    ]
    src, dst, size = np.array(edges, np.int64).T
    return Fragments(
        split_F=np.array([split_row for split_row, _, _ in pairs], np.int64),
        micro_batch_F=np.array([entry.micro_batch for _, entry, _ in pairs], np.int64),
        latency_s_FD=np.array(
            [[entry.latency_s(f.name, *on) for on in zip(devices, threads_D, strict=True)] for _, entry, f in pairs]
        ),
        memory_bytes_FD=np.array(
            [[entry.fragment_bytes(f.name, device) for device in devices] for _, entry, f in pairs], np.float64
        ),
        weight_bytes_F=np.array([fragment.weight_bytes for _, _, fragment in pairs], np.int64),
        edge_src_X=src,
        edge_dst_X=dst,
        edge_bytes_X=size,
    )


def with_encoded_inputs(
    fragments: Fragments,
    splits: Splits,
    applications: Sequence[str],
    encoded: Mapping[str, EncodedInput],
    core_speed_D: Floats,
) -> Fragments:
    """Inputs travel encoded: fewer bytes, and every fragment that reads one decodes it first, batch by batch.

    Decoding is work of the fragment, on one core; so every rule for service holds for it.

    Args:
        fragments: As inputs travel raw.
        splits: That they are of.
        applications: By row.
        encoded: What an input takes, by application; of those that are not in it inputs stay raw.
        core_speed_D: Of the devices.
    """
    f = fragments
    size_X, latency_s_FD = f.edge_bytes_X.copy(), f.latency_s_FD.copy()
    application_F = splits.application_S[f.split_F]
    reads_F = np.zeros(len(f.split_F), np.bool_)
    reads_F[f.edge_dst_X[f.edge_src_X == NONE]] = True
    for row, application in enumerate(applications):
        if application not in encoded:
            continue
        size_X[(f.edge_src_X == NONE) & (application_F[f.edge_dst_X] == row)] = encoded[application].bytes_per_sample
        mine_F = reads_F & (application_F == row)
        latency_s_FD[mine_F] += encoded[application].decode_s * f.micro_batch_F[mine_F, None] / core_speed_D
    return replace(f, edge_bytes_X=size_X, latency_s_FD=latency_s_FD)


def links_table(devices: tuple[Device, ...]) -> Links:
    """Each device's link, as its record states it."""
    return Links(
        up_bytes_per_s_D=np.array([device.up_bytes_per_s for device in devices]),
        down_bytes_per_s_D=np.array([device.down_bytes_per_s for device in devices]),
        rtt_s_D=np.array([device.rtt_s for device in devices]),
    )
