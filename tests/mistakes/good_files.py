"""The files that good calls take: a data set, a network trained on it, cut, exported, measured; what goes with it."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.mistakes.calls import NET, WHOLE


def toml(document: Mapping[str, Any]) -> str:
    """A document as TOML, as far as TOML has it: what is null is left out."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items() if v is not None) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(inline(entry) for entry in value if entry is not None) + "]"
        return json.dumps(value)

    return "\n".join(f"{json.dumps(key)} = {inline(value)}" for key, value in document.items() if value is not None)


def make(here: Path) -> None:
    """All of them."""
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
        evaluated = sp.Evaluation(dataset="own", sha256="0" * 64, n=4, top1=0.5, seed=0, source="by hand")
        sp.CatalogWriter(Path("catalog")).attach(WHOLE, evaluated)
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
        if entry.name == "state.measured-50.mab.safetensors":
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
