"""Small splits with real ONNX fragments, hand-written costs (test values, not measurements), and a scripted policy."""

import hashlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from splitplace import provenance
from splitplace.placement import history as book
from splitplace.placement.broker import fleet, health, loop, running
from splitplace.placement.broker.broker import Broker
from splitplace.placement.engines.local import LocalEngine
from splitplace.placement.placers.best_fit import BestFit
from splitplace.placement.policy import Composed, Policy, Taken
from splitplace.placement.protocol.fields import ANSWER
from splitplace.records.action import Decide, Place
from splitplace.records.demand import Demand, SplitDemand
from splitplace.records.device import Device
from splitplace.records.evaluation import Evaluation
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile
from splitplace.records.split import INPUT, Edge, Merge, Split

WIDTH, CLASSES = 16, 4
MICRO_BATCH = 4
FRAGMENT_BYTES = 1000
BASE_BYTES = 500
PATIENCE_S = 240.0


def dense(rng: np.random.Generator, src: str, dst: str, inputs: int, outputs: int, layers: int = 1) -> bytes:
    """An ONNX model: `layers` times a matrix product with a tanh."""
    nodes, weights, current = [], [], src
    for i in range(layers):
        rows, columns = (inputs if i == 0 else outputs), outputs
        last = dst if i == layers - 1 else f"{dst}.{i}"
        weight = (rng.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes += [
            helper.make_node("MatMul", [current, f"w{i}"], [f"{last}.product"]),
            helper.make_node("Tanh", [f"{last}.product"], [last]),
        ]
        current = last
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info(src, onnx.TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info(dst, onnx.TensorProto.FLOAT, ["batch", outputs])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model.SerializeToString()


class SplitFiles(NamedTuple):
    """A split and its ONNX files by fragment name."""

    split: Split
    models: dict[str, bytes]


def make_graph(
    application: str,
    strategy: str,
    variant: str,
    pieces: list[tuple[str, str, int, tuple[int, ...]]],
    *,
    seed: int = 0,
    width: int = WIDTH,
    layers: int = 1,
    spare: str | None = None,
) -> SplitFiles:
    """A split from rows of (fragment, the fragment it reads, or `input`; its outputs; the classes it predicts)."""
    rng = np.random.default_rng(seed)
    sizes = {INPUT: width} | {name: outputs for name, _, outputs, _ in pieces}
    tensor = {INPUT: "x"} | {name: f"{name}.out" for name, *_ in pieces}
    fragments, edges, models = [], [], {}
    for name, src, outputs, classes in pieces:
        models[name] = dense(rng, tensor[src], tensor[name], sizes[src], outputs, layers)
        fragments.append(
            Fragment(
                name=name,
                inputs=(TensorSpec(name=tensor[src], dtype="float32", shape=("batch", sizes[src])),),
                outputs=(TensorSpec(name=tensor[name], dtype="float32", shape=("batch", outputs)),),
                classes=classes,
                params=sizes[src] * outputs,
                flops_per_sample=2 * sizes[src] * outputs,
                weight_bytes=4 * sizes[src] * outputs,
                digest="sha256:" + hashlib.sha256(models[name]).hexdigest(),
            )
        )
        edges.append(Edge(src=src, dst=name, tensor=tensor[src], bytes_per_sample=4 * sizes[src]))
    order = tuple(c for name, *_, classes in pieces if name != spare for c in classes)
    sinks = [name for name, *_ in pieces if name not in {src for _, src, *_ in pieces}]
    split = Split(
        application=application,
        model="tiny",
        strategy=strategy,
        variant=variant,
        fragments=tuple(fragments),
        edges=tuple(edges),
        merge=Merge(kind="identity" if len(sinks) == 1 else "concat", class_order=order, spare=spare),
    )
    return SplitFiles(split, models)


def chain(application: str = "toy", *, width: int = WIDTH, layers: int = 1) -> SplitFiles:
    """Three fragments, one after another."""
    pieces = [("f0", INPUT, width, ()), ("f1", "f0", width, ()), ("f2", "f1", CLASSES, tuple(range(CLASSES)))]
    return make_graph(application, "layer", "3", pieces, seed=1, width=width, layers=layers)


def tree(application: str = "toy", *, width: int = WIDTH) -> SplitFiles:
    """The 2,2 tree of the conformance test: a shared trunk, two inner fragments, four leaves with mixed-up classes."""
    pieces = [
        ("trunk", INPUT, WIDTH, ()),
        ("inner0", "trunk", 8, ()),
        ("inner1", "trunk", 8, ()),
        ("leaf0", "inner0", 1, (2,)),
        ("leaf1", "inner0", 1, (0,)),
        ("leaf2", "inner1", 1, (3,)),
        ("leaf3", "inner1", 1, (1,)),
    ]
    return make_graph(application, "semantic", "2x2", pieces, seed=2, width=width)


def spared(application: str = "toy") -> SplitFiles:
    """A trunk, two branches, and a spare that knows all four classes."""
    pieces = [
        ("trunk", INPUT, WIDTH, ()),
        ("leaf0", "trunk", 2, (2, 0)),
        ("leaf1", "trunk", 2, (3, 1)),
        ("spare", "trunk", 4, (0, 1, 2, 3)),
    ]
    return make_graph(application, "semantic", "2-spare50", pieces, seed=4, spare="spare")


def forest(application: str = "toy", *, width: int = WIDTH, layers: int = 1) -> SplitFiles:
    """A tree whose trunk is replicated: three fragments take the task's input, four predict a class each."""
    pieces = [
        ("trunk0", INPUT, width, ()),
        ("trunk1", INPUT, width, ()),
        ("trunk2", INPUT, width, ()),
        ("leaf0", "trunk0", 1, (2,)),
        ("leaf1", "trunk0", 1, (0,)),
        ("leaf2", "trunk1", 1, (3,)),
        ("leaf3", "trunk2", 1, (1,)),
    ]
    return make_graph(application, "semantic", "1x3", pieces, seed=3, width=width, layers=layers)


def of_pictures(graph: SplitFiles, shape_CHW: tuple[int, int, int]) -> SplitFiles:
    """The same, of images: its roots take uint8 (n, C, H, W), C x H x W being the width, as values from 0 to 1."""
    fragments, models = [], dict(graph.models)
    for fragment in graph.split.fragments:
        if fragment.name in graph.split.roots:
            model = onnx.load_from_string(models[fragment.name])
            (x,) = model.graph.input
            x.CopyFrom(helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["batch", *shape_CHW]))
            front = [
                helper.make_node("Cast", ["x"], ["x.float"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Flatten", ["x.float"], ["x.flat"]),
                helper.make_node("Div", ["x.flat", "white"], ["x.row"]),
            ]
            behind = list(model.graph.node)
            behind[0].input[0] = "x.row"
            del model.graph.node[:]
            model.graph.node.extend(front + behind)
            model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "white"))
            models[fragment.name] = model.SerializeToString()
            spec = TensorSpec(name="x", dtype="uint8", shape=("batch", *shape_CHW))
            digest = "sha256:" + hashlib.sha256(models[fragment.name]).hexdigest()
            fragment = fragment.model_copy(update={"inputs": (spec,), "digest": digest})
        fragments.append(fragment)
    size = int(np.prod(shape_CHW))
    edges = (
        edge.model_copy(update={"bytes_per_sample": size}) if edge.src == INPUT else edge for edge in graph.split.edges
    )
    split = graph.split.model_copy(update={"fragments": tuple(fragments), "edges": tuple(edges)})
    return SplitFiles(Split.model_validate(split.model_dump()), models)


def digits(n: int, channels: int = 1) -> np.ndarray:
    """Numbers as a hand might have drawn them: black, grey at the edges; uint8 (n, channels, 28, 28)."""
    from PIL import Image, ImageDraw, ImageFont

    rng, font = np.random.default_rng(11), ImageFont.load_default(22)
    made = []
    for _ in range(n):
        image = Image.new("L", (28, 28))
        place = tuple(float(v) for v in rng.uniform(2, 12, 2) - (0, 4))
        ImageDraw.Draw(image).text(place, str(rng.integers(10)), fill=255, font=font)
        made.append(np.asarray(image.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BILINEAR)))
    return np.repeat(np.stack(made)[:, None], channels, axis=1)


def demand_of(*graphs: SplitFiles, latency_s: float = 0.001, evaluated: bool = True) -> Demand:
    """Costs written by hand: every fragment takes the same time and memory on every device."""
    stamp = provenance.collect()
    kind = DeviceFingerprint(kind="test", cpu="none", architecture="none", cores=1, onnxruntime="none", threads=1)
    entries = tuple(
        SplitDemand(
            split=graph.split,
            micro_batch=MICRO_BATCH,
            profiles=tuple(
                Profile(
                    fragment=fragment.name,
                    digest=fragment.digest,
                    device=kind,
                    core_speed=1.0,
                    load_s=0.01,
                    runtime_base_bytes=BASE_BYTES,
                    memory=(MemoryIncrement(micro_batch=MICRO_BATCH, fragment_bytes=FRAGMENT_BYTES),),
                    latency=(
                        Latency(batch_size=MICRO_BATCH, median_s=latency_s, p10_s=latency_s, p90_s=latency_s, runs=1),
                    ),
                    input_bytes_per_sample=0,
                    output_bytes_per_sample=0,
                    provenance=stamp,
                )
                for fragment in graph.split.fragments
            ),
            evaluation=Evaluation(dataset="toy", sha256="0" * 64, n=100, top1=0.75, seed=0, source="a test value")
            if evaluated
            else None,
        )
        for graph in graphs
    )
    return Demand(splits=entries, provenance=stamp)


def make_device(name: str, fragments: int = 8) -> Device:
    """A device with memory for so many fragments."""
    return Device(
        name=name,
        kind="test",
        cores=1,
        core_speed=1.0,
        memory_bytes=BASE_BYTES + fragments * FRAGMENT_BYTES,
        disk_bytes=10**9,
        disk_bytes_per_s=1e8,
        up_bytes_per_s=1e7,
        down_bytes_per_s=1e7,
        rtt_s=0.0,
        power_w=(1.0,) * 11,
    )


class ScriptedDecider:
    """A decider that takes the splits in turn, task after task of an application, and records what it is told."""

    name = "scripted"

    def __init__(self, *splits: int):
        self.splits = splits
        self.left: list[tuple[int, int, float, float, int]] = []

    def init(self, view):
        """How many tasks it has decided."""
        return 0

    def decide(self, state, view, rng):
        """The next splits in turn; the tag is the task."""
        tasks = [int(view.tasks.id_T[row]) for row in view.tasks.undecided]
        return [
            Decide(task, self.splits[(state + i) % len(self.splits)], tag=1000 + task) for i, task in enumerate(tasks)
        ]

    def update(self, state, feedback):
        """Counts decisions; keeps (task, split, response_s, accuracy, tag) of what left."""
        if isinstance(feedback, Taken):
            return state + len(feedback.decisions)
        done = feedback.finished
        self.left += zip(done.id_E, done.split_E, done.response_s_E, done.accuracy_E, done.tag_E, strict=True)
        return state


class NoRelay:
    """In place of a broker's relay: it hands nothing on."""

    endpoint = "tcp://127.0.0.1:9"

    def meet(self, device: str, endpoint: str = "") -> None:
        """Of no matter."""

    part = know = meet

    def close(self) -> None:
        """Nothing is open."""

    check = close


def policy(*splits: int, placer=None) -> Policy:
    """Scripted decisions; best-fit placement unless another placer is given."""
    return Composed(ScriptedDecider(*splits), placer or BestFit())


@pytest.fixture
def catalog(tmp_path: Path) -> Callable[..., Path]:
    """Writes the blobs of an OCI layout."""

    def write(*graphs: SplitFiles) -> Path:
        folder = tmp_path / "catalog" / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        for graph in graphs:
            for model in graph.models.values():
                (folder / hashlib.sha256(model).hexdigest()).write_bytes(model)
        return tmp_path / "catalog"

    return write


@pytest.fixture
def start(catalog, monkeypatch) -> Callable[..., Broker]:
    """Makes a broker of local devices for these graphs; it begins with all of them, however slow the machine."""
    monkeypatch.setattr(fleet, "JOIN_S", fleet.START_TIMEOUT_S)

    def make(*graphs: SplitFiles, devices, demand=None, decide=(0,), placer=None, **options) -> Broker:
        demand = demand or demand_of(*graphs)
        chosen = options.pop("policy", None) or policy(*decide, placer=placer)
        engine = options.pop("engine", None) or LocalEngine()
        return Broker(devices, demand, catalog(*graphs), chosen, engine, **options)

    return make


@pytest.fixture
def undisturbed(monkeypatch) -> None:
    """No device is doubted however slow the machine, nor any report missed: attempts end by what a test does alone."""
    monkeypatch.setattr(health, "DOUBT_AFTER", 10**9)
    monkeypatch.setattr(loop, "STUCK_S", 1e9)
    monkeypatch.setattr(running, "REPORTS_S", 1e9)


@pytest.fixture
def turn_clock(monkeypatch) -> Callable[[float], None]:
    """Moves the clock of every broker on by so many seconds, at once."""
    turned, now_s = [0.0], fleet.LiveFleet.now_s
    monkeypatch.setattr(fleet.LiveFleet, "now_s", lambda self: now_s(self) + turned[0])

    def turn(seconds: float) -> None:
        turned[0] += seconds

    return turn


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds; fails if it never does."""

    def wait(holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end_s, "it never came about"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def kill_at_first_answer() -> Callable[[Broker, Callable[[], str]], None]:
    """Kills a device in the broker's own thread as it learns of the first answer: much of the task is still to run."""

    def arm(broker: Broker, choose: Callable[[], str]) -> None:
        history, killed = broker._running().history, threading.Event()
        append = history.append

        def appended(*events: book.Event) -> None:
            append(*events)
            answered = any(isinstance(event, book.Send) and event.dst == ANSWER for event in events)
            if answered and not killed.is_set():
                killed.set()
                os.kill(broker.engine.pid(choose()), signal.SIGKILL)

        history.append = appended

    return arm


@pytest.fixture(scope="session")
def toy():
    """The builders above, for tests that need another graph, demand or device."""

    class Builders:
        chain, tree, forest, spared, make_graph, demand_of, make_device, policy, dense = map(
            staticmethod, (chain, tree, forest, spared, make_graph, demand_of, make_device, policy, dense)
        )
        of_pictures, digits = map(staticmethod, (of_pictures, digits))
        fragment_bytes, base_bytes, micro_batch, width = FRAGMENT_BYTES, BASE_BYTES, MICRO_BATCH, WIDTH

    return Builders


@pytest.fixture
def images() -> Callable[[int], np.ndarray]:
    """Random inputs (n, WIDTH)."""
    return lambda n, width=WIDTH: np.random.default_rng(7).standard_normal((n, width)).astype(np.float32)


@pytest.fixture
def left_behind(alive) -> Callable[[list[int]], list[int]]:
    """Which of these processes still exist after a grace period; and no cgroup of ours with a dead owner."""
    return lambda pids: [pid for pid in pids if pid != os.getpid() and alive(pid)]


def broker_bytes(broker):
    """Counts the bytes of tensors that the broker sends from now on, by device."""
    counted, send = Counter(), broker._running().fleet.send

    def counting(name, message, values=()):
        counted[name] += sum(value.nbytes for value in values)
        send(name, message, values)

    broker._running().fleet.send = counting
    return counted


class InTurn(BestFit):
    """Fragment i goes to the i-th device in turn, whole requests at a time."""

    def place(self, state, view, requests, rng):
        """One action a fragment."""
        return [
            Place(int(view.tasks.id_T[request.task]), fragment, i % len(view.devices.names))
            for request in requests
            for i, fragment in enumerate(request.fragments)
        ]
