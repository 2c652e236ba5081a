"""What the front door's bench serves: one small model for each size of body, which looks at every byte of it.

It answers the largest byte of each quarter: next to no work, so that what is measured is the way to it and back. Its
cost is stated, not measured: nothing is decided by it.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitplace import provenance
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.records.evaluation import Evaluation
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.preprocessing import ImageRule, Normalisation, Preprocessing
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile
from splitplace.records.split import INPUT, Edge, Merge, Split
from splitplace.splitting.artifact import SplitArtifact, digest

Image = NDArray[np.uint8]

SHAPES = {"small": (1, 32, 32), "1 MB": (1, 1000, 1000), "10 MB": (10, 1000, 1000)}
"""(channels, height, width) of one image of uint8, by what its size is called."""
QUARTERS = 4
CLASSES = ("first", "second", "third", "fourth")
"""Of the quarters."""
FLEET = """
name = "served"

[[devices]]
name = "device"
kind = "stated"
cores = 1
core_speed = 1.0
memory_bytes = 8_000_000_000
disk_bytes = 10_000_000_000
disk_bytes_per_s = 1e9
up_bytes_per_s = 1e9
down_bytes_per_s = 1e9
rtt_s = 0.0
power_w = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
labels = { cpu_share = "1.0" }
"""


def application(size: str) -> str:
    """What the model for bodies of a size is called."""
    return size.replace(" ", "").lower()


def image(size: str, seed: int) -> Image:
    """One image, (1, channels, height, width)."""
    return np.random.default_rng([seed, len(size)]).integers(0, 256, (1, *SHAPES[size]), np.uint8)


def answer(images: Image) -> NDArray[np.float32]:
    """What the model says of them, (n, 4)."""
    found: NDArray[np.float32] = images.reshape(len(images), QUARTERS, -1).max(axis=2).astype(np.float32)
    return found


def build(size: str) -> SplitArtifact:
    """The model for bodies of a size, as a split of one fragment."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Reshape", ["image", "quarters"], ["flat"]),
        helper.make_node("ReduceMax", ["flat"], ["largest"], axes=[2], keepdims=0),
        helper.make_node("Cast", ["largest"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "largest",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SHAPES[size]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", QUARTERS])],
        [numpy_helper.from_array(np.array([0, QUARTERS, -1], np.int64), "quarters")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    size_bytes = int(np.prod(SHAPES[size]))
    fragment = Fragment(
        name="full",
        inputs=(TensorSpec(name="image", dtype="uint8", shape=("batch", *SHAPES[size])),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", QUARTERS)),),
        classes=tuple(range(QUARTERS)),
        params=0,
        flops_per_sample=size_bytes,
        weight_bytes=0,
        digest=digest(model),
    )
    split = Split(
        application=application(size),
        model="largest",
        strategy="full",
        fragments=(fragment,),
        edges=(Edge(src=INPUT, dst="full", tensor="image", bytes_per_sample=size_bytes),),
        merge=Merge(kind="identity", class_order=tuple(range(QUARTERS))),
        class_names=CLASSES,
        preprocessing=_grey(size),
    )
    return SplitArtifact(split, {"full": model})


def _grey(size: str) -> Preprocessing | None:
    """How an image file becomes its input; none where it has more channels than an image has."""
    channels, height, width = SHAPES[size]
    if channels != 1:
        return None
    rule = ImageRule(channels=1, height=height, width=width)
    return Preprocessing(before=rule, inside=Normalisation(scale=1.0, mean_C=(0.0,), std_C=(1.0,)))


def write(folder: Path, seed: int) -> None:
    """A catalog with all of them and their stated costs, and the devices' file."""
    writer, stamp = CatalogWriter(folder / "catalog"), provenance.collect(seed)
    kind = DeviceFingerprint(kind="stated", cpu="any", architecture="any", cores=1, onnxruntime="any", threads=1)
    for size in SHAPES:
        artifact = build(size)
        (fragment,) = artifact.split.fragments
        size_bytes = fragment.flops_per_sample
        writer.write(artifact)
        profile = Profile(
            fragment=fragment.name,
            digest=fragment.digest,
            device=kind,
            core_speed=1.0,
            load_s=0.01,
            runtime_base_bytes=10**8,
            memory=(MemoryIncrement(micro_batch=1, fragment_bytes=10**6 + 3 * size_bytes),),
            latency=(Latency(batch_size=1, median_s=1e-3, p10_s=1e-3, p90_s=1e-3, runs=1),),
            input_bytes_per_sample=size_bytes,
            output_bytes_per_sample=4 * QUARTERS,
            provenance=stamp,
        )
        writer.attach(artifact.split.reference, profile)
        stated = hashlib.sha256(size.encode()).hexdigest()
        evaluation = Evaluation(dataset="none", sha256=stated, n=1, top1=1.0, seed=seed, source="stated")
        writer.attach(artifact.split.reference, evaluation)
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
