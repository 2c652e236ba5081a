"""`start_fleet`: a live fleet in a process of its own, which outlives whoever started it."""

import logging
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from splitplace.api.asked import place, whole_number
from splitplace.api.fleet import POLICY, Fleet
from splitplace.api.fleet_engine import ENGINE, HERE, registry_of
from splitplace.api.fleet_settings import check_settings, load_devices
from splitplace.api.open_catalog import open_catalog
from splitplace.children import child_env, python_child
from splitplace.errors import NotReadyError, explained
from splitplace.placement.broker.ring import Inputs
from splitplace.placement.protocol.fields import Precedence, Wire
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.data_folder import DEFAULT, DataFolder
from splitplace.records.base import Count, PositiveCount, Record
from splitplace.records.device import FleetSpec

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
"""How often it is looked whether the fleet is up."""
LAST_BYTES = 4096
"""Of the log, where the reason for an end is looked for, or what was remarked at the start."""
WARNING = " WARNING "
"""Stands in its lines as `fleet_process.py` formats them, between the time and the remark."""


class FleetRequest(Record):
    """What the process of a fleet is told on its standard input."""

    devices: FleetSpec
    catalog: str
    data: str
    splits: tuple[str, ...]
    policy: str
    state: str | None
    interval_s: float | None
    retain_s: float | None
    seed: Count
    precedence: Precedence
    inputs: Inputs
    wire: Wire
    micro_batch: PositiveCount
    engine: str
    image: str
    listen: str
    registry: str | None

    def fleet(self) -> Fleet:
        """The fleet that is asked for, not started."""
        return Fleet(
            self.devices,
            self.catalog,
            splits=self.splits,
            policy=self.policy,
            data=self.data,
            state=self.state,
            interval_s=self.interval_s,
            retain_s=self.retain_s,
            seed=self.seed,
            precedence=self.precedence,
            inputs=self.inputs,
            wire=self.wire,
            micro_batch=self.micro_batch,
            engine=self.engine,
            image=self.image,
            listen=self.listen,
            registry=self.registry,
        )


@explained()
def start_fleet(
    devices: str | Path | FleetSpec,
    catalog: str | Path,
    *,
    splits: Sequence[str] = (),
    policy: str = POLICY,
    data: str | Path = DEFAULT,
    state: str | Path | None = None,
    interval_s: float | None = None,
    retain_s: float | None = None,
    seed: int = 0,
    precedence: Precedence = "pipelined",
    inputs: Inputs = "broadcast",
    wire: Wire = "raw",
    micro_batch: int = 64,
    engine: str = ENGINE,
    image: str = "",
    listen: str = HERE,
    registry: str | None = None,
) -> Client:
    """Start a `Fleet` in a process of its own, which outlives this one until it is stopped.

    Args:
        devices: A TOML file, or a shipped fleet: processes or containers as slow as their core_speed says, or what
            machines join as. From Python, also a `FleetSpec`.
        catalog: Folder of the catalog that holds the splits, or oci://HOST/REPOSITORY[:TAG][@DIGEST] of a registry.
        splits: References of those that may be chosen; by default all that were profiled.
        policy: joint; DECIDER+PLACER, as mab+least-loaded; or module:Class for one of your own.
        data: Folder for the socket, the log and the history; yours alone.
        state: Folder of trained states, as `policy train` writes it. A data folder that has seen a fleet goes on with
            what was learned there.
        interval_s: Seconds: decide and place once in so many, as the paper does; by default at once.
        retain_s: Seconds for which a result may be asked for again; by default as long as there is room.
        seed: Of the policy's randomness.
        precedence: By micro-batch (pipelined), or a fragment starts when the former has finished the task (strict).
        inputs: A task's images go to each fragment that takes them (broadcast), or to the first, whose device passes
            them on (ring).
        wire: A task's images travel as their pixels (raw), or each as a lossless PNG (encoded), which devices undo; it
            takes the extra images here and on each of them.
        micro_batch: Samples a device runs at once.
        engine: local, a process a device; podman, a container a device, limited to its memory; joined, machines that
            `fleet join`; ray, those and a cluster's nodes; or a package's.
        image: Of podman's images the one to run, as `splitplace image` makes them; by default one of this machine's own
            Python.
        listen: Address of this machine where machines that join find it.
        registry: oci://HOST/REPOSITORY where these pull fragments before they ask the broker; by default the catalog's.

    Returns:
        A client of it; it is up.

    Raises:
        UsageError: As of `Fleet`.
        SplitPlaceError: As of `Fleet`; or it did not come up, and the last line of its log says why.
    """
    check_settings(interval_s, retain_s, precedence, inputs, wire)
    request = FleetRequest(
        devices=load_devices(devices),
        catalog=str(open_catalog(catalog).path.absolute()),
        data=str(place("--data", data).absolute()),
        splits=(splits,) if isinstance(splits, str) and splits else tuple(splits),
        policy=policy,
        state=None if state is None else str(place("--state", state).absolute()),
        interval_s=None if interval_s is None else float(interval_s),
        retain_s=None if retain_s is None else float(retain_s),
        seed=whole_number("--seed", seed),
        precedence=precedence,
        inputs=inputs,
        wire=wire,
        micro_batch=whole_number("--micro-batch", micro_batch, 1),
        engine=engine,
        image=image,
        listen=listen,
        registry=registry or registry_of(engine, catalog),
    )
    fleet = request.fleet()  # what is wrong with the request is told before there is a process
    request = request.model_copy(update={"splits": tuple(entry.split.reference for entry in fleet.demand.splits)})
    folder = fleet.folder
    folder.prepare()
    folder.check_free()
    with folder.log.open("ab") as log:  # to its end: who starts a fleet here at this moment writes to it, too
        log.truncate(0)
        child = subprocess.Popen(
            python_child("splitplace.api.fleet_process"),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=child_env(**fleet.engine.environment()),
            start_new_session=True,  # this terminal's Ctrl-C and end are nothing to it
        )
    try:
        assert child.stdin is not None
        with suppress(BrokenPipeError), child.stdin:  # it died at once: its log tells why
            child.stdin.write(request.model_dump_json().encode())
        client = _when_up(folder, child)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    for remark in _said(folder):
        _log.warning("%s", remark)
    threading.Thread(target=child.wait, daemon=True).start()  # so that it leaves no zombie if it ends before us
    return client


def _said(folder: DataFolder) -> list[str]:
    """What the fleet warned of while it came up: its log is read by few."""
    return [line.split(WARNING, 1)[1] for line in _last_lines(folder) if WARNING in line]


def _last_lines(folder: DataFolder) -> list[str]:
    return folder.log.read_bytes()[-LAST_BYTES:].decode(errors="replace").strip().splitlines()


def _when_up(folder: DataFolder, child: "subprocess.Popen[bytes]") -> Client:
    while child.poll() is None:
        with suppress(NotReadyError):
            client = Client(folder.path)
            if client.pid == child.pid:
                return client
            client.close()  # of a fleet that somebody else has started meanwhile: ours says so, and ends
        time.sleep(LOOK_EVERY_S)
    lines = _last_lines(folder)
    reason = lines[-1].removeprefix("splitplace: ") if lines else f"it ended with {child.returncode}"
    raise NotReadyError(f"the fleet did not start: {reason}")
