"""The demo's chapters between training and the report; what one hands to the next are artifacts, records and files."""

import shutil
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import splitplace as sp
from splitplace.demo.requests import DemoRequest, draw
from splitplace.errors import IntegrityError, SplitPlaceError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.measure.evaluation import evaluate
from splitplace.placement import tables
from splitplace.placement.broker.meter import DeviceReport
from splitplace.placement.deciders.estimate import unloaded_response_s
from splitplace.placement.history import Event
from splitplace.placement.metrics import Usage, of_tasks, summarise
from splitplace.placement.outcome import TaskOutcome, TaskResult
from splitplace.placement.serve.data_folder import DataFolder
from splitplace.progress import Progress
from splitplace.records.demand import Demand
from splitplace.records.device import Device, FleetSpec
from splitplace.records.evaluation import Evaluation
from splitplace.records.metrics import Metrics
from splitplace.training.data.dataset import Dataset
from splitplace.training.run import Run

APPLICATION, MODEL = "fashionmnist", "mobilenetv2"
KIND = "local"
"""The kind of device that a profile taken on this machine stands for; the demo's fleet is of this kind."""
MICRO_BATCH = 32
LAYER_FRAGMENTS = 3
IMAGES_A_TASK = 256
LOAD = 0.7
"""Mean gap between tasks, as a multiple of the layer split's estimated response."""
FLEET = Path(__file__).with_name("fleet.toml")


@dataclass(frozen=True)
class Shipped:
    """References of the three splits in the catalog."""

    full: str
    layer: str
    semantic: str

    @property
    def all(self) -> tuple[str, str, str]:
        """All three."""
        return self.full, self.layer, self.semantic


def images() -> Dataset:
    """Real Fashion-MNIST, by whichever known way works here."""
    return sp.fetch(APPLICATION)


def train(data: Dataset, runs: Path, seed: int) -> tuple[Run, Run]:
    """The whole model, and the two-branch semantic split made from it; runs that are there are reused."""
    full = sp.train(data, model=MODEL, seed=seed, out=runs / "full")
    return full, sp.train(data, strategy="semantic", tree=(2,), full=full, seed=seed, out=runs / "semantic-2")


def ship(catalog: Path, full: Run, semantic: Run, data: Dataset) -> Shipped:
    """Export the whole model, cut it layer by layer, export the semantic split; all three are in the catalog then."""
    whole = sp.export(full, catalog)
    # The smallest bottleneck, whatever bytes it moves: these three devices are processes of one machine.
    layer = sp.split(
        whole.location, fragments=LAYER_FRAGMENTS, images=data.x_test_NCHW[:64], micro_batch=MICRO_BATCH, slack=0.0
    )
    exported = (whole, sp.export(layer, catalog), sp.export(semantic, catalog))
    return Shipped(*(done.reference for done in exported))


def profile(catalog: Path, references: tuple[str, ...], progress: Progress) -> None:
    """Measure every fragment in a process of its own; what is measured already stays."""
    for reference in references:
        sp.profile(f"{catalog}:{reference}", kind=KIND, quick=True, progress=progress)


def judge(catalog: CatalogWriter, shipped: Shipped, data: Dataset, progress: Progress) -> dict[str, Evaluation]:
    """Held-out accuracy of all three splits.

    Raises:
        IntegrityError: The layer split answered another class than the unsplit model for some image.
    """
    answers: dict[str, npt.NDArray[np.int64]] = {}
    evaluations: dict[str, Evaluation] = {}
    for reference in shipped.all:
        split = catalog.split(reference)

        def load(fragment: str, reference: str = reference) -> bytes:
            return catalog.load(catalog.split(reference), fragment)

        evaluations[reference], answers[reference] = evaluate(
            split,
            load,
            data.x_test_NCHW,
            data.y_test_N,
            dataset=data.application,
            sha256=data.sha256,
            seed=0,
            source=data.source,
            threads=2,
            progress=progress,
        )
        catalog.attach(reference, evaluations[reference])
    differ = int((answers[shipped.layer] != answers[shipped.full]).sum())
    if differ:
        raise IntegrityError(
            f"{shipped.layer} answers {differ} of {len(data.y_test_N)} images unlike the unsplit model"
        )
    return evaluations


def layer_response_s(demand: Demand, fleet: tuple[Device, ...], n: int) -> float:
    """What the layer split should take for n images on this fleet when it is idle: the paper's R before any task."""
    splits = tables.splits_table(demand)
    row = splits.strategies.index("layer")
    return unloaded_response_s(splits, tables.fragments_table(demand, fleet), tables.links_table(fleet), row, n)


@dataclass(frozen=True)
class Played:
    """What came of the stream under one policy."""

    policy: str
    outcomes: tuple[TaskOutcome, ...]
    """In the order of arrival."""
    reports: tuple[DeviceReport, ...]
    events: tuple[Event, ...]
    metrics: Metrics
    layer_s: float
    """What the layer split was estimated to take: deadlines are multiples of it."""


def play(
    policy: str,
    catalog: CatalogWriter,
    shipped: Shipped,
    data: Dataset,
    folder: Path,
    seed: int,
    n_tasks: int,
    progress: Progress,
    layer_s: float | None = None,
) -> Played:
    """Bring up three devices, send the stream, take the fleet down; `folder` keeps its history.

    The seed makes the stream, in multiples of `layer_s`: of the devices as they are found now, if it is not given. The
    same of both: the same tasks at the same times, with the same deadlines.

    Raises:
        SplitPlaceError: A device did not come up, or a task got no answer, which says why.
    """
    DataFolder(folder).check_free()
    if (folder / "broker.pid").exists():  # of an earlier demo: this one has learned nothing yet
        shutil.rmtree(folder)
    with sp.Fleet(
        FleetSpec.from_toml(FLEET),
        catalog.path,
        splits=(shipped.layer, shipped.semantic),
        policy=policy,
        data=folder,
        seed=seed,
        micro_batch=MICRO_BATCH,
    ) as fleet:
        broker = fleet.broker
        layer_s = layer_s or layer_response_s(fleet.demand, broker.devices, IMAGES_A_TASK)
        stream = draw(seed, n_tasks, IMAGES_A_TASK, len(data.y_test_N), LOAD * layer_s, layer_s)
        outcomes = _send(fleet, stream, data, progress)
        usage = Usage(
            decision_s=np.array(broker.decision_s),
            ram_utilisation=broker.ram_utilisation,
            wall_s=broker.wall_s,
            failed_plans=broker.failed_plans,
        )
        reports = broker.reports()
    return Played(
        policy=policy,
        outcomes=outcomes,
        reports=reports,
        events=broker.events,
        metrics=summarise(of_tasks(outcomes, (data.application,)), (data.application,), usage),
        layer_s=layer_s,
    )


def _send(fleet: sp.Fleet, stream: list[DemoRequest], data: Dataset, progress: Progress) -> tuple[TaskOutcome, ...]:
    """Each task at its time; waits for all answers."""
    start = time.monotonic()
    futures: list[Future[TaskResult]] = []
    for request in stream:
        time.sleep(max(start + request.at_s - time.monotonic(), 0.0))
        images, labels = data.x_test_NCHW[request.images], data.y_test_N[request.images]
        future = fleet.submit(data.application, images, request.deadline_s, labels, late=True)
        futures.append(future)
        progress("stream of tasks", sum(sent.done() for sent in futures) / len(stream))
    outcomes = tuple(future.result().outcome for future in futures)  # the broker bounds each wait
    failed = next((outcome for outcome in outcomes if outcome.error), None)
    if failed:
        raise SplitPlaceError(f"task {failed.id} got no answer: {failed.error}")
    return outcomes
