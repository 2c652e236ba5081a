"""Every option of every command is given what it cannot take; both are found by walking the application.

Values are drawn by hypothesis, the same in every run: files of the right kind but damaged, of another kind, places that
cannot be, numbers and names that nothing takes. All other options have good values, so that a bad one is met where it
is read. What a call may answer is in conftest.py.
"""

import hashlib
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cyclopts import App
from cyclopts.argument import Argument
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from splitplace.cli import build
from splitplace.errors import SplitPlaceError

Place = Any
"""conftest.py has it."""

CALLS, FEW = 26, 1
"""Of each option: in all, and in the fast part of the suite."""

NET = "mistaken_net:Net"
WHOLE, CHAIN, REF = "own.mistaken_net-Net.full", "custom.model.layer-2", "catalog:own.mistaken_net-Net.full"

GOOD: dict[str, list[str]] = {
    "demo": [],
    "data fetch": ["own", "--path=images"],
    "train": ["--application=own", "--path=images", f"--model={NET}", "--epochs=1", "--samples=8"],
    "split": ["--source=model.onnx", "--fragments=2"],
    "export": ["--source=split", "--catalog=another"],
    "catalog ls": ["--catalog=catalog"],
    "catalog show": [f"--location={REF}"],
    "catalog verify": ["--catalog=catalog"],
    "catalog gc": ["--catalog=catalog"],
    "catalog demand": ["--catalog=catalog", f"--references={WHOLE}", "--out=d.json"],
    "profile": [f"--location={REF}"],
    "evaluate": [f"--location={REF}", "--images=x.npy", "--labels=y.npy"],
    "infer": [f"--location={REF}", "--input=x.npy"],
    "simulate": ["--policy=full+random", "--scenario=scenario.toml", "--demand=demand.json", "--intervals=1"],
    "simulate trace": ["--out=trace.parquet", "--vehicles=1", "--seconds=2"],
    "policy train": ["--scenario=scenario.toml", "--demand=demand.json", "--out=new", "--runs=2", "--intervals=2"],
    "policy show": ["states"],
    "fleet start": ["--devices=fleet.toml", "--catalog=catalog", f"--splits={WHOLE}", "--policy=full+random"],
    "fleet status": ["--data=fleet"],
    "fleet drain": ["--data=fleet"],
    "fleet stop": ["--data=fleet"],
    "fleet history": ["--data=fleet"],
    "fleet answer": ["0", "--data=fleet"],
    "fleet cancel": ["0", "--data=fleet"],
    "submit": ["own", "--input=x.npy", "--deadline=1", "--data=fleet"],
    "serve": ["catalog", "--devices=fleet.toml", "--policy=full+random", "--port=0"],
    "token add": ["ann", "--tokens=new-tokens.json"],
    "token ls": ["--tokens=tokens.json"],
    "token revoke": ["ann", "--tokens=tokens.json"],
}
"""A call of each command that works or comes to the work; of one that is not named, its name alone."""

BESIDE: dict[str, list[str]] = {
    "export --check-images": ["--source=run", "--catalog=another"],
    "export --calibration": ["--source=split", "--catalog=another", "--precision=float16"],
    "simulate --state": ["--policy=mab+random", "--scenario=measured-50", "--intervals=1"],
    "fleet start --state": ["--devices=fleet.toml", "--catalog=catalog", f"--splits={WHOLE}", "--policy=mab+random"],
    "infer --missing": [f"--location=catalog:{CHAIN}", "--input=f.npy"],
    "infer --input": [f"--location=catalog:{CHAIN}"],
    "split --random-weights": ["--source=mobilenetv2", "--fragments=2"],
    "split --size": ["--source=mobilenetv2", "--fragments=2", "--random-weights"],
}
"""What goes with an option where that is other than the good call."""
TREE = ["--application=own", "--path=images", "--strategy=semantic", "--full=run"]
BESIDE |= {f"train --{name}": TREE for name in ("tree", "cuts", "groups", "recipe", "overlap", "trunk")}
BESIDE["train --budget"] = [*TREE, "--cuts=auto"]
BESIDE["train --full"] = ["--application=own", "--path=images", "--strategy=compressed", "--ratio=0.5"]
BESIDE["train --ratio"] = ["--application=own", "--path=images", "--strategy=compressed", "--full=run"]

NUMBERS = (
    "0", "-1", "nan", "inf", "-inf", "1e400", "1e300", "-0", "9" * 30, "9" * 5000, "9223372036854775808", "1.5",
    "1e3", "0x10",
    "١", "1_000", "", " ", "1 2", "one", "+1", "--1", "1e-400", "1e-320", "0,0", ",", "1,,2", "-1,2", "true", "None",
)  # fmt: skip
NAMES = (
    "", " ", "-", "--", "'", '"', "../x", "/", ".", "..", "A B", "ünïcödé", "名前", "UPPER", "x" * 65, "x" * 300,
    "x" * 5000,
    "a\nb", "a\tb", "a\0b", "\udcff", "a\x1b[31mb", ":", "x:", ":x", "x:y", "x:y:z", "os:system", "builtins:object",
    "+", "a+b",
    "mab+", "layer+nobody", "random+random+random", "mistaken_net:Net", "mistaken_net:Nobody", "nobody.at.all:Net",
    "=", "a=b",
    "x=x.npy", "x=", "=x.npy", "x=x.npy,x=x.npy", "~nobody", "~nobody/x", "$HOME", "*.npy", "[x]", "%s", "{0}",
    "http://localhost/x",
    "resnet18.nobody", "resnet18", "standard", "quick", "paper-50", "azure50:0", "azure50:x", "azure50:-1",
    "nobody:5", "measured",
    "upstream", "timm", "auto", "features", "cat/dog", "0/1", "0,1/0", "0/9", "/", "64MiB", "0MiB", "1e9GiB", "-1",
    "2,2", "2,0", "9,9,9,9",
    "mnist", "cifar100", "mobilenetv2", "layer", "daso", "[red]", "[/]",
)  # fmt: skip
PLACES = (
    "missing", "missing/deeper", "file/below", "images", "locked", "locked/x", "secret", "loop", "loop/x",
    "dangling", "dangling/x",
    "null", "zero", "pipe", "plug", "/proc/self/mem", "/proc/self/status", "/proc/nobody/x", "/proc/self/fd",
    "n" * 255, "n" * 300,
    "n/" * 3000, "a\nb", "a\0b", "\udcff", "", " ", "-", ".", "..", "~nobody", "C:\\x", "x:y", "file", "catalog",
    "split", "run",
    "model.onnx/x", "model.onnx", "x.npy", "fleet.toml", "demand.json", "states", "images/a/0.png", "new",
    "new/deeper/x", "link",
)  # fmt: skip
ENDINGS = ("", ".svg", ".png", ".npy", ".npz", ".json", ".toml", ".onnx", ".parquet", ".safetensors", ".PNG", ".jpg")
TEXTS = {
    "empty": b"", "null": b"null", "list": b"[]", "object": b"{}", "nan": b'{"a": NaN}', "huge": b'{"a": 1e999}',
    "bom": b"\xef\xbb\xbf{}", "utf16": '{"a": 1}'.encode("utf-16"), "latin1": b"n\xe4me = 'x'",
    "binary": bytes(range(256)),
    "deep-json": b"[" * 100_000, "deep-toml": b"a = " + b"[" * 100_000, "bad-toml": b"a = = 1",
    "date": b"name = 2020-01-01",
    "twice": b"a = 1\na = 2", "lines": b"cat\n\ndog\n", "nul": b"a\0b", "long": b"x" * 100_000,
}  # fmt: skip
JUNK = (None, True, -1, 2**70, 1e308, "", "x" * 300, "../x", "a\nb", [], {}, [[]], "١", 0, 0.5, "missing", 10**12)

KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "arrays": (("images", "labels", "input", "calibration", "check_images", "example_inputs"), r"\.np[yz]$"),
    "models": (("source", "input"), r"\.onnx$"),
    "catalogs": (("location", "catalog", "source", "demand", "work"), "^catalog-"),
    "runs": (("source", "full", "runs"), "^run-"),
    "splits": (("source",), "^split-"),
    "pictures": (("path", "tiny100", "input"), r"^pictures-|\.(png|jpg|gif|tiff|webp|parquet)$"),
    "fleets": (("fleet", "devices"), "^fleet-"),
    "scenarios": (("scenario",), "^scenario-"),
    "demands": (("demand",), "^demand-"),
    "presets": (("preset",), "^preset-"),
    "states": (("state", "path", "weights"), "^states-"),
    "texts": (
        ("class_names", "results", "preset", "scenario", "fleet", "devices", "demand", "weights", "tokens", "tls_cert"),
        "^text-",
    ),
}
"""The options that take each kind of files, and what the names of those that are damaged are like."""


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path into a JSON document."""
    yield here
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield from places(below, (*here, key))


def damaged(document: Any, most: int = 25) -> Iterator[Any]:
    """A document with one of its values replaced or left out: so many values, evenly chosen."""
    found = list(places(document))[1:]
    for number, place in enumerate(found[:: max(1, len(found) // most)]):
        changed = json.loads(json.dumps(document))
        above = changed
        for step in place[:-1]:
            above = above[step]
        if number % 3 == 2 and isinstance(above, dict):
            del above[place[-1]]
        else:
            above[place[-1]] = JUNK[number % len(JUNK)]
        yield changed


def toml(document: Mapping[str, Any]) -> str:
    """A document as TOML, as far as TOML has it: what is null is left out."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items() if v is not None) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(inline(entry) for entry in value if entry is not None) + "]"
        return json.dumps(value)

    return "\n".join(f"{json.dumps(key)} = {inline(value)}" for key, value in document.items() if value is not None)


def make_good(here: Path) -> None:
    """A data set, a network trained on it, cut, exported, measured; and what goes with it."""
    import torch
    from onnx import TensorProto, helper, numpy_helper, save
    from PIL import Image
    from torch import nn

    import splitplace as sp
    from splitplace.placement import states
    from splitplace.placement.broker.journal import Journal

    net = ModuleType("mistaken_net")

    class Net(nn.Sequential):
        def __init__(self, num_classes: int, in_chans: int):
            layers = (nn.Conv2d(in_chans, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            super().__init__(*layers, nn.Linear(4, num_classes))

    Net.__module__, Net.__qualname__ = "mistaken_net", "Net"
    net.Net = Net
    sys.modules["mistaken_net"] = net
    rng = np.random.default_rng(0)
    for name in "ab":
        (here / "images" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(here / "images" / name / f"{i}.png")
    w = [numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32), f"w{i}") for i in range(3)]
    nodes = [helper.make_node("MatMul", ["x" if i == 0 else f"r{i - 1}", f"w{i}"], [f"m{i}"]) for i in range(3)]
    nodes += [helper.make_node("Relu", [f"m{i}"], ["y" if i == 2 else f"r{i}"]) for i in range(3)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    nodes = [nodes[i] for i in (0, 3, 1, 4, 2, 5)]
    graph = helper.make_graph(nodes, "g", [x], [y], w)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), here / "model.onnx")
    before = Path.cwd()
    os.chdir(here)
    try:
        torch.manual_seed(0)
        run = sp.train("own", path="images", model=NET, epochs=1, samples=8, out="run")
        shutil.rmtree(Path("run", "logs"))
        sp.split("model.onnx", fragments=2, out="split")
        sp.export(run, "catalog")
        sp.export("split", "catalog")
        measured = sp.Profile.model_validate_json(json.dumps(profile_of(sp.Catalog(Path("catalog")).split(WHOLE))))
        sp.CatalogWriter(Path("catalog")).attach(WHOLE, measured)
        sp.demand("catalog", [WHOLE], out="demand.json")
    finally:
        os.chdir(before)
    np.save(here / "x.npy", rng.integers(0, 255, (40, 3, 8, 8)).astype(np.uint8))
    np.save(here / "f.npy", rng.standard_normal((40, 4)).astype(np.float32))
    np.save(here / "y.npy", np.arange(40) % 2)
    (here / "scenario.toml").write_text(toml(SCENARIO))
    (here / "fleet.toml").write_text(toml(FLEET))
    (here / "names.txt").write_text("a\nb\nc\nd\n")
    (here / "states").mkdir()
    for entry in states.SHIPPED.iterdir():
        if entry.name.startswith("state.measured-50.mab"):
            (here / "states" / entry.name.removeprefix("state.measured-50.")).write_bytes(entry.read_bytes())
    sp.add_token(here / "tokens.json", "ann")
    (here / "fleet").mkdir(mode=0o700)
    (here / "fleet" / "broker.pid").write_text("1\n")
    Journal(here / "fleet" / "journal.sqlite").close()
    preset = Path(sp.__file__).parents[1] / "training" / "presets" / "quick.toml"
    (here / "preset.toml").write_bytes(preset.read_bytes())
    shutil.copy(here / "run" / "model.safetensors", here / "weights.safetensors")


DEVICE = {
    "name": "d", "kind": "k", "count": 2, "cores": 2, "core_speed": 1.0, "memory_bytes": 4 * 10**9,
    "disk_bytes": 10**10,
    "disk_bytes_per_s": 1e8, "up_bytes_per_s": 1e8, "down_bytes_per_s": 1e8, "rtt_s": 0.001, "power_w": [1.0] * 11,
    "cost_usd_per_h": 0.1, "labels": {"mips": "4000"},
}  # fmt: skip
FLEET = {"name": "f", "devices": [DEVICE, DEVICE | {"name": "e"}]}
SCENARIO = {
    "name": "s", "fleet": "fleet.toml", "intervals": 2, "interval_s": 10.0, "startup_s": 1.0, "retry": "interval",
    "weights": "shared", "events": [{"time_s": 1.0, "device": "e-0", "kind": "leave"}], "network": [{"time_s": 2.0}],
    "constrain": {"memory": 0.9}, "swap": {"fraction": 0.5, "slowdown": 2.0},
    "failures": {"mtbf_s": 9.0, "mttr_s": 1.0},
    "workload": {
        "rate": 1.0, "batch": [10, 20], "deadline_relative": [0.5, 2.0], "mix": {"own": 1.0},
        "phases": [{"start": 1, "rate_factor": 2.0, "mix": {"own": 1.0}}],
    },
}  # fmt: skip


def profile_of(split: Any) -> dict[str, Any]:
    """A profile of a split's one fragment."""
    from splitplace import provenance
    from splitplace.export.measure.profiler import fingerprint

    sizes = (1, 8, 32, 64)
    return {
        "fragment": split.fragments[0].name, "digest": split.fragments[0].digest, "core_speed": 1.0, "load_s": 0.01,
        "device": fingerprint("here").model_dump(mode="json"), "runtime_base_bytes": 10**7,
        "memory": [{"micro_batch": n, "fragment_bytes": 1000 * n} for n in sizes],
        "latency": [{"batch_size": n, "median_s": n, "p10_s": n, "p90_s": n, "runs": 3} for n in sizes],
        "input_bytes_per_sample": 192, "output_bytes_per_sample": 8,
        "provenance": provenance.collect().model_dump(mode="json"),
    }  # fmt: skip


def make_strange(here: Path) -> None:
    """Places that cannot be read or written, as far as the user of this process cannot."""
    (here / "file").write_bytes(b"")
    (here / "secret").write_bytes(b"secret")
    (here / "secret").chmod(0)
    (here / "locked").mkdir(mode=0o500)
    links = {"loop": "loop", "dangling": "nobody", "null": "/dev/null", "zero": "/dev/zero", "link": "images"}
    for name, target in links.items():
        (here / name).symlink_to(target)


def make_arrays(zoo: Path) -> None:
    """Arrays that fit nothing, and files that are none."""
    good = np.zeros((40, 3, 8, 8), np.uint8)
    arrays = {
        "float": good.astype(np.float32), "double": good.astype(np.float64), "shape": good[:, :1],
        "flat": np.zeros(40, np.uint8),
        "scalar": np.array(3), "none": good[:0], "one": good[:1], "bool": good.astype(bool),
        "complex": good.astype(complex),
        "text": np.array(["a", "b"]), "record": np.zeros(40, [("a", "i4"), ("b", "f4")]),
        "big-endian": np.arange(40).astype(">i8"),
        "fortran": np.asfortranarray(good), "negative": -np.arange(40), "far": np.arange(40) + 2**62,
        "nan": np.full((40, 4), np.nan, "f4"),
        "inf": np.full((40, 4), np.inf, "f4"), "half": np.zeros((40, 4), "f2"), "zero-wide": np.zeros((40, 0), "f4"),
        "time": np.zeros(40, "M8[s]"),
        "labels-float": np.zeros(40), "labels-many": np.full(40, 9), "labels-unsigned": np.zeros(40, np.uint64),
        "wide": np.zeros((40, 4, 1, 1, 1, 1), "f4"),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(zoo / f"{name}.npy", array)
    whole = (zoo / "float.npy").read_bytes()
    for name, data in {"cut": whole[:200], "cut-head": whole[:20], "magic": whole[:6], **TEXTS}.items():
        (zoo / f"{name}.npy").write_bytes(data)
        (zoo / f"{name}.npz").write_bytes(data)
    np.save(zoo / "pickle.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (zoo / "pickled.npy").write_bytes(pickle.dumps(list(range(9))))
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000, 1000), }"
    heads = {"claims": head, "odd-head": b"{'descr': '<f4', 'shape': ", "evil-head": b"__import__('os').abort()"}
    for name, text in heads.items():
        text += b" " * (64 - (10 + len(text) + 1) % 64) + b"\n"
        (zoo / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    np.savez(zoo / "several.npz", x=good, y=np.zeros(3))
    np.savez(zoo / "unequal.npz", **{"image": good, "x": np.zeros((3, 4), "f4")})
    shutil.copy(zoo / "several.npz", zoo / "archive.npy")
    shutil.copy(zoo / "float.npy", zoo / "array.npz")
    with zipfile.ZipFile(zoo / "names.npz", "w") as archive:
        for name in ("../x.npy", "a/b.npy", ".npy", "ü.npy", "x" * 300 + ".npy", "plain"):
            archive.writestr(name, whole)
    with zipfile.ZipFile(zoo / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", whole[:128] + bytes(10**7))
    with zipfile.ZipFile(zoo / "bare.npz", "w"):
        pass


def make_models(zoo: Path, good: bytes) -> None:
    """Files that are no models, and models that can be none."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(good)

    def variant(name: str, **changes: Any) -> None:
        other = onnx.ModelProto()
        other.CopyFrom(model)
        changes["to"](other)
        (zoo / f"{name}.onnx").write_bytes(other.SerializeToString())

    for name, data in {"cut": good[:150], "cut-more": good[:20], **TEXTS}.items():
        (zoo / f"{name}.onnx").write_bytes(data)
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "t")
    (zoo / "tensor.onnx").write_bytes(tensor.SerializeToString())
    (zoo / "graph.onnx").write_bytes(model.graph.SerializeToString())

    def rename(to: str) -> Any:
        def change(other: onnx.ModelProto) -> None:
            other.graph.input[0].name = other.graph.node[0].input[0] = to

        return change

    names = {"newline": "a\nb", "slash": "../x", "unicode": "名前", "unnamed": "", "long": "x" * 5000, "quote": "'\""}
    for name, to in names.items():
        variant(f"input-{name}", to=rename(to))
    variant("old", to=lambda m: setattr(m.opset_import[0], "version", 7))
    variant("future", to=lambda m: setattr(m.opset_import[0], "version", 9999))
    variant("ir", to=lambda m: setattr(m, "ir_version", 999))
    variant("no-opset", to=lambda m: m.ClearField("opset_import"))
    variant("no-nodes", to=lambda m: m.graph.ClearField("node"))
    variant("no-input", to=lambda m: m.graph.ClearField("input"))
    variant("no-output", to=lambda m: m.graph.ClearField("output"))
    variant("no-weights", to=lambda m: m.graph.ClearField("initializer"))
    variant("no-shape", to=lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"))
    variant("no-type", to=lambda m: m.graph.input[0].ClearField("type"))
    variant("odd-type", to=lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 99))
    variant("text-input", to=lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING))
    variant("huge", to=lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2**62))
    variant("negative", to=lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", -4))
    variant("cycle", to=lambda m: m.graph.node[0].input.__setitem__(0, "y"))
    variant("unknown", to=lambda m: setattr(m.graph.node[1], "op_type", "Nobody"))
    variant("foreign", to=lambda m: setattr(m.graph.node[1], "domain", "nobody.at.all"))
    variant("twice", to=lambda m: m.graph.node.append(m.graph.node[0]))
    variant("short", to=lambda m: setattr(m.graph.initializer[0], "raw_data", b"xx"))
    variant("big-weight", to=lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**40))
    variant("bad-name", to=lambda m: m.graph.initializer[0].ClearField("name"))
    outside = {"outside": "../../y.npy", "gone": "nobody.bin", "proc": "/proc/self/mem", "blank": ""}
    for name, location in outside.items():

        def external(m: onnx.ModelProto, location: str = location) -> None:
            weight = m.graph.initializer[0]
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            weight.external_data.add(key="location", value=location)
            weight.external_data.add(key="length", value="one")

        variant(f"external-{name}", to=external)
    operators = {"Loop": ["", "", "x"], "If": ["x"], "Scan": ["x"], "NonZero": ["x"], "Reshape": ["x", "x"]}
    for operator, inputs in operators.items():
        node = helper.make_node(operator, inputs, ["m0"])
        variant(f"with-{operator}", to=lambda m, node=node: m.graph.node[0].CopyFrom(node))


def make_pictures(zoo: Path, images: Path) -> None:
    """Images that are none, and folders and tables of images that are no data set."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    png = (images / "a" / "0.png").read_bytes()
    size = struct.pack(">II", 60_000, 60_000) + b"\x08\x02\x00\x00\x00"
    bomb = png[:16] + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + png[33:]
    Image.fromarray(np.zeros((4, 4), np.float32)).save(zoo / "float.tiff")
    data = {"cut": png[:60], "cut-more": png[:9], "bomb": bomb, "bits": png[:50] + b"\xff\xff" + png[52:], **TEXTS}
    for name, content in data.items():
        (zoo / f"{name}.png").write_bytes(content)
    for name in ("empty", "binary"):
        for ending in ("jpg", "gif", "tiff", "webp", "parquet", "safetensors"):
            (zoo / f"{name}.{ending}").write_bytes(TEXTS[name])
    folders: dict[str, dict[str, bytes]] = {
        "pictures-none": {}, "pictures-one-class": {"a/0.png": png},
        "pictures-train": {"train/a/0.png": png, "train/b/0.png": png},
        "pictures-no-image": {"a/0.png": png, "b/0.txt": b"x"},
        "pictures-broken": {"a/0.png": png, "a/1.png": png[:60], "b/0.png": png, "b/1.png": b""},
        "pictures-bomb": {"a/0.png": png, "b/0.png": bomb}, "pictures-single": {"a/0.png": png, "b/0.png": png},
        "pictures-other-test": {"train/a/0.png": png, "train/b/0.png": png, "test/c/0.png": png},
        "pictures-folder": {"a/0.png/x": png, "b/0.png": png}, "pictures-flat": {"0.png": png, "1.png": png},
        "pictures-idx": {"train-images-idx3-ubyte": b"\0\0\x08\x03", "train-labels-idx1-ubyte": b""},
        "pictures-cifar": {"cifar-100-python/train": pickle.dumps({"a": 1}), "cifar-100-python/test": b""},
    }  # fmt: skip
    for folder, files in folders.items():
        (zoo / folder).mkdir()
        for name, content in files.items():
            (zoo / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (zoo / folder / name).write_bytes(content)
    tables = {
        "no-rows": {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())},
        "columns": {"a": [1], "b": [2]}, "numbers": {"image": [1, 2], "label": [0, 1]},
        "nulls": {"image": [None, None], "label": [0, 1]},
        "text": {"image": ["a", "b"], "label": [0, 1]}, "labels": {"image": [png, png], "label": [0.5, 1.5]},
        "far": {"image": [png, png], "label": [0, 2**40]}, "negative": {"image": [png, png], "label": [-5, 1]},
        "one": {"image": [png, png], "label": [0, 0]}, "broken": {"image": [png, b"x"] * 4, "label": [0, 1] * 4},
        "mobility": {"time_s": [0.0, 1.0], "device": ["d", "d"], "rtt_s": [-1.0, None], "bytes_per_s": [1.0, 1.0]},
    }  # fmt: skip
    for name, table in tables.items():
        pq.write_table(pa.table(table), zoo / f"table-{name}.parquet")


def make_folders(zoo: Path, here: Path) -> None:
    """RUN, SPLIT and catalog folders and saved states with a document damaged, and with files gone, cut or replaced."""
    documents = {"run": ("config.json", "metrics.json"), "split": ("split.json",), "catalog": ("index.json",)}
    documents["states"] = ()
    for folder, names in documents.items():
        for name in names:
            document = json.loads((here / folder / name).read_text())
            for number, changed in enumerate(damaged(document)):
                place = zoo / f"{folder}-{name}-{number}"
                shutil.copytree(here / folder, place)
                (place / name).write_text(json.dumps(changed))
    for folder in documents:
        files = sorted(file for file in (here / folder).rglob("*") if file.is_file() and file.name != ".lock")
        for number, file in enumerate(files):
            for how in ("gone", "cut", "folder", "loop", "garbage"):
                place = zoo / f"{folder}-{how}-{number}"
                shutil.copytree(here / folder, place)
                target = place / file.relative_to(here / folder)
                target.unlink()
                if how == "cut":
                    target.write_bytes(file.read_bytes()[:-7])
                elif how == "folder":
                    target.mkdir()
                elif how == "loop":
                    target.symlink_to(target.name)
                elif how == "garbage":
                    target.write_bytes(TEXTS["binary"])


def make_states(zoo: Path, good: Path) -> None:
    """States that say something odd of themselves, and arrays that are not those that the part has."""
    from safetensors.numpy import save

    from splitplace.placement import states

    loaded = states.read(good, "mab")
    document = json.loads(loaded.saved.model_dump_json())
    files = {}
    for number, changed in enumerate(damaged(document)):
        files[str(number)] = save(loaded.arrays, {states.KEY: json.dumps(changed)})
    odd = [{}, {"r": np.zeros(3)}, {"r": np.zeros((9, 9)), "q": np.zeros(1), "n": np.zeros(0)}]
    odd.append({"r": np.zeros(3), "q": np.zeros((2, 3, 2)), "n": np.full((2, 3, 2), -1)})
    for number, arrays in enumerate(odd):
        digest = hashlib.sha256(save(arrays)).hexdigest()
        files[f"arrays-{number}"] = states.to_bytes(loaded.saved.model_copy(update={"arrays_sha256": digest}), arrays)
    for name, content in files.items():
        (zoo / f"states-{name}").mkdir()
        (zoo / f"states-{name}" / "mab.safetensors").write_bytes(content)


def make_documents(zoo: Path, here: Path) -> None:
    """Fleets, scenarios, demands and presets with one value damaged."""
    import tomllib

    preset = tomllib.loads((here / "preset.toml").read_text())
    for kind, document in {"fleet": FLEET, "scenario": SCENARIO, "preset": preset}.items():
        for number, changed in enumerate(damaged(document, 60)):
            (zoo / f"{kind}-{number}.toml").write_text(toml(changed))
    for number, changed in enumerate(damaged(json.loads((here / "demand.json").read_text()), 60)):
        (zoo / f"demand-{number}.json").write_text(json.dumps(changed))
    more = {
        "trace-gone": {"workload": {"trace": "nobody.csv", "deadline_relative": [1.0, 2.0]}},
        "trace-folder": {"workload": {"trace": "images", "deadline_relative": [1.0, 2.0]}},
        "trace-binary": {"workload": {"trace": "zoo/binary.parquet", "deadline_relative": [1.0, 2.0]}},
        "trace-columns": {"workload": {"trace": "zoo/table-columns.parquet", "deadline_relative": [1.0, 2.0]}},
        "trace-text": {"workload": {"trace": "zoo/lines.npy", "deadline_relative": [1.0, 2.0]}},
        "mobility": {"mobility": "zoo/table-mobility.parquet", "network": []},
        "mobility-gone": {"mobility": "nobody", "network": []}, "mobility-nul": {"mobility": "a\0b", "network": []},
        "fleet-long": {"fleet": "x" * 5000}, "fleet-nul": {"fleet": "a\0b"}, "fleet-folder": {"fleet": "images"},
        "rate-huge": {"workload": SCENARIO["workload"] | {"rate": 1e300}},
        "rate-tiny": {"workload": SCENARIO["workload"] | {"rate": 1e-320}},
        "batch-huge": {"workload": SCENARIO["workload"] | {"batch": [2**40, 2**62]}},
        "interval-tiny": {"interval_s": 1e-320},
        "interval-huge": {"interval_s": 1e300}, "memory-tiny": {"constrain": {"memory": 1e-9}},
        "cores-odd": {"constrain": {"cores": 0.3}},
    }  # fmt: skip
    for name, changes in more.items():
        (zoo / f"scenario-{name}.toml").write_text(toml(SCENARIO | changes))
    for name, data in TEXTS.items():
        for ending in ("json", "toml", "txt"):
            (zoo / f"text-{name}.{ending}").write_bytes(data)


def make(root: Path) -> None:
    """Everything."""
    here, zoo = root / "here", root / "here" / "zoo"
    for folder in (zoo, root / "tmp"):
        folder.mkdir(parents=True)
    make_good(here)
    make_strange(here)
    make_arrays(zoo)
    make_models(zoo, (here / "model.onnx").read_bytes())
    make_pictures(zoo, here / "images")
    make_folders(zoo, here)
    make_states(zoo, here / "states")
    make_documents(zoo, here)


def commands(app: App, name: str = "") -> Iterator[tuple[str, App]]:
    """Every command that does something, by name."""
    if app.default_command is not None:
        yield name, app
    for word in app:
        if not word.startswith("-"):
            yield from commands(app[word], f"{name} {word}".strip())


def spelled(argument: Argument, value: str) -> str:
    """A value as this argument takes it: by its name, or alone where it has its place only."""
    alone = argument.is_positional_only() or argument.is_var_positional()
    return value if alone else f"{argument.names[0]}={value}"


ARGUMENTS = {
    (name, argument.field_info.name): argument
    for name, app in commands(build())
    for argument in app.assemble_argument_collection()
}
"""Every argument of every command."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, stand_up: Callable[..., Place]) -> Place:
    """The folder, with the stand-ins for work."""
    return stand_up(tmp_path_factory.mktemp("mistakes"), make)


def values(place: Place, name: str) -> list[st.SearchStrategy[str]]:
    """What an option of this name is given: of its own kind first."""
    found = sorted(entry.name for entry in (place.here / "zoo").iterdir())
    kinds = [kind for kind, (options, _) in KINDS.items() if name in options]
    own = [[f"zoo/{file}" for file in found if re.search(KINDS[kind][1], file)] for kind in kinds]
    if "catalogs" in kinds:
        catalogs = ["catalog", *(f"zoo/{file}" for file in found if file.startswith("catalog-"))]
        own.append([f"{catalog}:{reference}" for catalog in catalogs for reference in (WHOLE, CHAIN)])
        own.append([f"catalog:{name}" for name in NAMES])
    ended = [place + ending for place in PLACES for ending in ENDINGS]
    anything = [PLACES, ended, NAMES, NUMBERS, [f"zoo/{file}" for file in found]]
    return [st.sampled_from(values) for values in own * 2 + anything] + [st.text(max_size=12)]


def fuzz(place: Place, name: str, option: str, calls: int) -> None:
    """So many calls of a command, one of its options bad in each; the first that breaks the promise fails."""
    argument = ARGUMENTS[name, option]
    good = BESIDE.get(f"{name} {option}", GOOD.get(name, []))
    good = [token for token in good if not token.startswith(f"{argument.names[0] if argument.names else '--'}=")]
    if argument.is_positional_only() or argument.is_var_positional():
        good = [token for token in good if token.startswith("--")]

    @settings(
        max_examples=calls, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(value=st.one_of(values(place, option)), json=st.booleans())
    def check(value: str, json: bool) -> None:
        answer = place.call(*name.split(), *good, spelled(argument, value), *(["--json"] * json))
        assert not answer.faults, f"{answer}\n" + "\n".join(answer.faults)

    check()


@pytest.mark.parametrize("name", sorted({name for name, _ in ARGUMENTS}))
def test_the_good_call_of_every_command_comes_to_its_work(place: Place, name: str) -> None:
    """Else a bad value would be hidden by another."""
    answer = place.call(*name.split(), *GOOD.get(name, []))
    assert answer.worked, answer


@pytest.mark.parametrize(("name", "option"), ARGUMENTS, ids=lambda value: value.replace(" ", "-"))
def test_a_bad_value_is_one_line(place: Place, name: str, option: str) -> None:
    """Some of each option."""
    fuzz(place, name, option, FEW)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), ARGUMENTS, ids=lambda value: value.replace(" ", "-"))
def test_no_bad_value_is_more_than_one_line(place: Place, name: str, option: str) -> None:
    """Many of each."""
    fuzz(place, name, option, CALLS)


WRITTEN = [
    (name, option)
    for name, option in ARGUMENTS
    if option in ("out", "results", "plot", "trace_dir", "work") or (name, option) == ("export", "catalog")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), WRITTEN, ids=lambda value: value.replace(" ", "-"))
def test_what_cannot_be_written_is_refused_before_the_work(place: Place, name: str, option: str) -> None:
    """Under a file, under a link to itself, where no files are, by a name that is too long."""
    spelling = ARGUMENTS[name, option].names[0]
    good = [token for token in GOOD.get(name, []) if not token.startswith(f"{spelling}=")]
    for value in ("file/below.svg", "loop/below.svg", "/proc/nobody/below.svg", "n" * 300 + ".svg"):
        answer = place.call(*name.split(), *good, f"{spelling}={value}")
        assert (answer.code, answer.worked, answer.faults) == (2, False, []), answer
        assert "cannot be written" in answer.err, answer


def test_so_many_calls() -> None:
    """What the slow part does in all."""
    assert len(ARGUMENTS) * CALLS >= 5_000


def _says_much() -> None:
    print("one\ntwo", file=sys.stderr)
    sys.exit(1)


def _leaves() -> None:
    Path("left").write_text("")
    raise SplitPlaceError("no")


def _exits() -> None:
    sys.exit(3)


def _goes_on() -> None:
    while True:
        len("")


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (lambda: 1 // 0, "ZeroDivisionError"),
        (_says_much, "2 lines on stderr"),
        (_leaves, "left or changed here/left"),
        (_exits, "exit 3"),
        pytest.param(_goes_on, "still goes on", marks=pytest.mark.slow),
        (lambda: print("hm", file=sys.stderr), "something on stderr"),
        (lambda: print("\udcff"), "UnicodeEncodeError"),
        (lambda: [None][os.write(2, b"a library's word\n") * 0], "something on stderr"),
    ],
)
def test_a_broken_command_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch, broken: Callable[[], Any], fault: str
) -> None:
    """The check itself can fail."""
    monkeypatch.setitem(sys.modules, "broken_commands", SimpleNamespace(broken=broken))
    monkeypatch.setattr("splitplace.cli.COMMANDS", (("broken", "broken_commands:broken", "Broken."),))
    assert fault in " ".join(place.call("broken").faults)
