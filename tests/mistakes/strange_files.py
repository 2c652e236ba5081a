"""Files of the right kind but damaged, of another kind, and places that cannot be."""

import hashlib
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.mistakes.bad_values import JUNK, TEXTS
from tests.mistakes.good_files import FLEET, SCENARIO, toml


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


def make_places(here: Path) -> None:
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

    from splitplace.placement import state_files

    loaded = state_files.read(good, "mab")
    document = json.loads(loaded.saved.model_dump_json())
    files = {}
    for number, changed in enumerate(damaged(document)):
        files[str(number)] = save(loaded.arrays, {state_files.KEY: json.dumps(changed)})
    odd = [{}, {"r": np.zeros(3)}, {"r": np.zeros((9, 9)), "q": np.zeros(1), "n": np.zeros(0)}]
    odd.append({"r": np.zeros(3), "q": np.zeros((2, 3, 2)), "n": np.full((2, 3, 2), -1)})
    for number, arrays in enumerate(odd):
        digest = hashlib.sha256(save(arrays)).hexdigest()
        files[f"arrays-{number}"] = state_files.to_bytes(
            loaded.saved.model_copy(update={"arrays_sha256": digest}), arrays
        )
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


def make(zoo: Path, here: Path) -> None:
    """All of them, most in a folder of their own, beside the good ones."""
    make_places(here)
    make_arrays(zoo)
    make_models(zoo, (here / "model.onnx").read_bytes())
    make_pictures(zoo, here / "images")
    make_folders(zoo, here)
    make_states(zoo, here / "states")
    make_documents(zoo, here)
