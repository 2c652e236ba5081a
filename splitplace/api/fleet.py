"""`Fleet`: a live fleet that this process runs."""

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from splitplace.api.asked import place, whole_number
from splitplace.api.demand import demand as gather
from splitplace.api.ending import LOOK_EVERY_S, asked_to_end
from splitplace.api.fleet_engine import ENGINE, HERE, EngineChoice, registry_of
from splitplace.api.fleet_settings import check_settings, load_devices, profiled_splits, single_devices
from splitplace.api.open_catalog import open_catalog
from splitplace.catalog import Catalog
from splitplace.errors import NotReadyError, explained
from splitplace.inference.cpu_share import ShareMethod
from splitplace.inference.encoded_images import check_decodes
from splitplace.placement.broker.broker import Broker
from splitplace.placement.broker.ring import Inputs
from splitplace.placement.broker.setup import view_at_rest
from splitplace.placement.engines.emulated import emulated
from splitplace.placement.history import HistoryPage
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.plan import first_state
from splitplace.placement.policy import Policy
from splitplace.placement.protocol.fields import Array, Precedence, Wire
from splitplace.placement.registry import as_policy
from splitplace.placement.serve.data_folder import DEFAULT, DataFolder
from splitplace.placement.serve.door import Door
from splitplace.placement.serve.task_inputs import check_number
from splitplace.placement.states import from_folder, trainable
from splitplace.records.device import Device, FleetSpec
from splitplace.records.fleet_status import FleetStatus
from splitplace.records.split import Split
from splitplace.records.view import View

_log = logging.getLogger(__name__)

POLICY = "joint"


class Fleet:
    """A live fleet that this process runs, as a context manager: its devices, its broker, and the door for clients.

    Inside, `Client`s of any process of this user find it by its data folder; nothing of it is left outside but what
    the folder keeps.

    Args:
        devices: A FLEET.toml, a shipped fleet's name, a `FleetSpec`, or devices. With the engine `local` each is a
            process of this machine, as slow as its `core_speed` states; or its share of the cores is what its label
            `cpu_share` says. With `joined` and `ray` they are what machines may join as, and as fast as those are.
        catalog: The catalog, its folder, or oci://HOST/REPOSITORY[:TAG][@DIGEST], that holds the splits.
        splits: References of those that may be chosen; by default all that were profiled, with a remark on the others.
        policy: DECIDER+PLACER, "module:Class", or a policy.
        data: Folder for the socket, the log and the history; this user's alone.
        state: Folder of trained states, as `train_policy` writes it for these devices and splits. A data folder in
            which a fleet has run goes on with what was learned there.
        interval_s: Decide and place once an interval of so many seconds, 0.1 to 86,400, what came in meanwhile
            together, as the paper does; at once, as it comes in, if not stated.
        seed: Of the policy's randomness.
        precedence: `pipelined` by micro-batch, or `strict`: a fragment starts when the former has finished the task.
        inputs: `broadcast`, a task's input goes from the broker to each fragment that takes it; or `ring`, to the
            first, whose device passes it on to the next, unless the task takes an answer of some branches.
        wire: A task's images travel as their pixels (`raw`), or (`encoded`) each as a lossless PNG where it is uint8
            of one or three channels, which each device that takes it decodes: for links that are slower than that.
            It takes Pillow (the extra `images`) here and on each device.
        micro_batch: Samples a device runs at once.
        cpu_share_method: How the shares are kept; `auto` takes a cgroup quota where allowed.
        task_timeout_s: A task without an answer for so long fails.
        retain_s: Seconds for which a result may be asked for again; if not stated, as long as there is room.
            There is for the newest 10,000, of up to 256 MiB.
        engine: What runs the devices: `local`, processes; `podman`, containers with limits of memory and of the cores'
            time; `joined`, machines that join with a token; `ray`, those and the nodes of a Ray cluster; or one that a
            package offers.
        image: Of podman's images the one to run, as `build_images` makes them; by default one is made of this machine's
            own Python.
        listen: Address of this machine where machines that join find it.
        registry: `oci://HOST/REPOSITORY` that has the splits as well: machines that join pull fragments there,
            by digest and as whoever they are logged in as, and from the broker where it cannot be reached. If not
            stated, it is that of the catalog, where this is `oci://`.

    Raises:
        UsageError: Unknown names, no such file, numbers out of range.
        SplitPlaceError: A catalog whose splits were not profiled, or fit none of the devices; or a state that is
            damaged, or was trained for other devices, splits or policies.
    """

    @explained()
    def __init__(
        self,
        devices: str | Path | FleetSpec | Sequence[Device],
        catalog: str | Path | Catalog,
        *,
        splits: Sequence[str] = (),
        policy: str | Policy = POLICY,
        data: str | Path = DEFAULT,
        state: str | Path | None = None,
        interval_s: float | None = None,
        seed: int = 0,
        precedence: Precedence = "pipelined",
        inputs: Inputs = "broadcast",
        wire: Wire = "raw",
        micro_batch: int = 64,
        cpu_share_method: ShareMethod = "auto",
        task_timeout_s: float = 300.0,
        retain_s: float | None = None,
        engine: str = ENGINE,
        image: str = "",
        listen: str = HERE,
        registry: str | None = None,
    ):
        check_settings(interval_s, retain_s, precedence, inputs, wire)
        seed = whole_number("--seed", seed)
        if wire == "encoded":
            check_decodes()
        self._wire: Wire = wire
        self.engine = EngineChoice(engine, image, listen, registry or registry_of(engine, catalog))
        self.devices = single_devices(load_devices(devices))
        self.policy = as_policy(policy)
        self.catalog = open_catalog(catalog)
        self.demand = gather(self.catalog, splits or profiled_splits(self.catalog), micro_batch=micro_batch)
        self.folder = DataFolder(place("--data", data))
        self._seed, self._precedence, self._inputs, self._method = seed, precedence, inputs, cpu_share_method
        self._task_timeout_s, self._interval_s, self._retain_s = task_timeout_s, interval_s, retain_s
        self._untrained: str | None = None
        self._states = None if state is None else self._trained(place("--state", state))
        self._stopping = threading.Event()
        self._inside = ExitStack()
        self._broker: Broker | None = None

    @explained()
    def __enter__(self) -> Self:
        """Bring it up.

        Raises:
            NotReadyError: A fleet runs in the data folder already, or a device did not come up.
            UsageError: The folder is not this user's alone.
        """
        with ExitStack() as inside:
            self.folder.prepare()
            inside.enter_context(self.folder.claimed())
            if self._untrained:
                _log.warning("%s", self._untrained)
            engine = inside.enter_context(
                self.engine.open(self.devices, self.demand, self.catalog.path, self.folder.path)
            )
            devices, shares = emulated(self.devices) if engine.same_machine else (self.devices, {})
            broker = Broker(
                devices,
                self.demand,
                self.catalog.path,
                self.policy,
                engine,
                seed=self._seed,
                cpu_shares=shares,
                cpu_share_method=self._method,
                precedence=self._precedence,
                inputs=self._inputs,
                wire=self._wire,
                journal=self.folder.history,
                data=self.folder.path,
                task_timeout_s=self._task_timeout_s,
                interval_s=self._interval_s,
                retain_s=self._retain_s,
                states=self._states,
                stated=self.devices,
            )
            door = Door(broker, self._offered(), self.folder, self.stop)
            inside.callback(door.finish)
            inside.enter_context(broker)
            inside.callback(door.close)
            door.open()
            self._broker, self._inside = broker, inside.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._broker is None or not self._broker.elsewhere:  # who was forked leaves: nothing of it is its own
            try:
                self._inside.__exit__(kind, error, at)
            finally:
                self._stopping.clear()  # it may be entered again, and serve

    @property
    def broker(self) -> Broker:
        """What decides, places and answers; only within the context."""
        if self._broker is None:
            raise NotReadyError("the fleet was not started: use it in a with statement")
        return self._broker

    @explained()
    def submit(
        self,
        application: str,
        images: Array,
        deadline_s: float,
        labels: Array | None = None,
        *,
        key: str | None = None,
        late: bool = False,
        degrade: bool = False,
        volatile: bool = False,
    ) -> TaskFuture:
        """As `Client.submit`, of arrays, without a socket between."""
        return self.broker.submit(
            application, images, deadline_s, labels, key=key, late=late, degrade=degrade, volatile=volatile
        )

    @explained()
    def submit_at_once(
        self,
        application: str,
        images: Array,
        deadline_s: float,
        labels: Array | None = None,
        *,
        late: bool = False,
        degrade: bool = False,
    ) -> TaskFuture | None:
        """As `submit` of a volatile task, for who cannot wait, as an event loop; None where the disk is waited for."""
        return self.broker.submit_at_once(application, images, deadline_s, labels, late=late, degrade=degrade)

    def applications(self) -> dict[str, Split]:
        """As `Client.applications`."""
        return {split.application: split for split in self._offered()}

    def answer(self, task_id: int) -> TaskFuture:
        """As `Client.answer`."""
        return self.broker.answer(check_number(task_id))

    def cancel(self, task_id: int) -> bool:
        """As `Client.cancel`."""
        return self.broker.cancel(check_number(task_id))

    def status(self) -> FleetStatus:
        """Devices and tasks at this moment."""
        return self.broker.status()

    def history(self, after: int = 0) -> HistoryPage:
        """As `Client.history`."""
        return self.broker.history(check_number(after, "event"))

    def invite(self, device: str, valid_s: float = 3600.0) -> str:
        """As `Client.invite`."""
        return self.broker.invite(device, valid_s)

    def revoke(self, device: str) -> None:
        """As `Client.revoke`."""
        self.broker.revoke(device)

    def drain(self) -> None:
        """Take no more tasks; returns when all have ended."""
        self.broker.drain()

    def stop(self) -> None:
        """Have `serve` return; from any thread."""
        self._stopping.set()

    def serve(self) -> None:
        """Wait until a client asks for the end, or the broker has failed; in the main thread a signal asks, too.

        SIGTERM, Ctrl-C, and that the terminal has gone (SIGHUP).

        Raises:
            NotReadyError: The data folder was removed: nobody finds this fleet any more.
        """
        with asked_to_end(self.stop):
            while not self._stopping.wait(LOOK_EVERY_S) and not self.broker.ended:
                self.folder.check_claim()

    def _trained(self, folder: Path) -> Any:
        """What the policy starts from: the states in a folder, which must be for these devices and splits."""
        found: list[str] = []

        def load(view: View) -> Any:
            states, names = from_folder(self.policy, folder, view)
            found.extend(names)
            return states

        states = first_state(
            self.policy, view_at_rest(self.demand, self.devices, self._task_timeout_s, self._wire), load
        )
        if anew := [part for part in trainable(self.policy) if part not in found]:
            self._untrained = f"{' and '.join(anew)} starts untrained: {folder} holds no state of it"
        return states

    def _offered(self) -> list[Split]:
        """The first split of each application, with what a demand leaves out."""
        first = {entry.split.application: entry.split.reference for entry in reversed(self.demand.splits)}
        return [self.catalog.split(reference) for reference in first.values()]
