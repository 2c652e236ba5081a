"""Layers: one form only, whatever the files are like on this disk, and what they hold."""

import gzip
import importlib.util
import io
import marshal
import os
import subprocess
import sys
import tarfile

from splitplace.export.oci_image.bytecode import bytecode_of
from splitplace.export.oci_image.layer import ExecutableFile, FileLink, ScratchFolder, write_layer
from splitplace.export.oci_image.machine_python import machine_python, python_name, shared_libraries
from splitplace.export.oci_image.models import fragment_files, graph_files
from splitplace.export.oci_image.packages import ENTRIES, FOLDER, LOADED, package_files, program_files
from tests.export.oci_image.conftest import digest_of


def pack(files):
    """A layer and its bytes."""
    target = io.BytesIO()
    return write_layer(files, target, "a test"), target.getvalue()


def entries(data):
    """What tar reads."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {entry.name: (entry, (tar.extractfile(entry).read() if entry.isfile() else b"")) for entry in tar}


def test_files_have_one_form(tmp_path):
    """Sorted, of time 0, of nobody, with one mode: as tar reads them; their folders stand before them."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "a").chmod(0o600)
    files = {
        "z/run": ExecutableFile(tmp_path / "a"),
        "z/a": tmp_path / "a",
        "b": b"bytes",
        "link": FileLink("z/a"),
        "tmp": ScratchFolder(),
        "deep/er/" + "n" * 200: b"",
    }
    _, data = pack(files)
    found = entries(data)
    assert list(found) == sorted([*files, "z", "deep", "deep/er"])
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry, _ in found.values()} == {
        (0, 0, 0, "", "")
    }
    assert [oct(found[name][0].mode) for name in ("z/run", "z/a", "b", "z", "tmp")] == [
        "0o755",
        "0o644",
        "0o644",
        "0o755",
        "0o1777",
    ]
    assert (found["z/a"][1], found["b"][1], found["link"][0].linkname) == (b"a", b"bytes", "z/a")


def test_the_same_files_are_the_same_bytes(tmp_path):
    """Whatever their times and modes are and in what order they come; other content is another digest."""
    files = {f"f{i}": tmp_path / f"f{i}" for i in range(3)}
    for path in files.values():
        path.write_bytes(path.name.encode())
    layer, data = pack(files)
    assert (layer.digest, layer.size) == (digest_of(data), len(data))
    assert layer.diff_id == digest_of(gzip.decompress(data))
    os.utime(files["f0"], (1, 2))
    files["f1"].chmod(0o777)
    assert pack(dict(reversed(files.items()))) == (layer, data)
    files["f2"].write_bytes(b"f3")
    assert pack(files)[0].digest != layer.digest


def test_a_fragments_layer_is_its_own_bytes(graph):
    """At /models as a model repository has it: the model as it is, its contract, its configuration, nothing else."""
    files = fragment_files(graph.split, "leaf1", graph.models["leaf1"])
    folder = "models/toy.tiny.semantic-2x2.leaf1"
    assert set(files) == {f"{folder}/1/model.onnx", f"{folder}/fragment.json", f"{folder}/config.pbtxt"}
    _, data = pack(files)
    assert entries(data)[f"{folder}/1/model.onnx"][1] == graph.models["leaf1"]
    assert list(graph_files(graph.split)) == ["models/split.json"]


def test_the_program_in_an_image_is_all_that_it_imports():
    """Every module of ours that the entry points load in a fresh process, and no room that a device has no use for."""
    code = f"import sys, {', '.join(ENTRIES)}; print(*(m for m in sys.modules if m.startswith('splitplace')))"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    found = {path.removeprefix(f"{FOLDER}/") for path in program_files()}
    for name in done.stdout.split():
        path = name.replace(".", "/")
        assert found & {f"{path}.py", f"{path}/__init__.py"}, name
    assert "splitplace/inference/probe.onnx" in found
    for room in (
        "training",
        "splitting",
        "export",
        "benchmarks",
        "cli",
        "api",
        "placement/broker",
        "placement/simulator",
    ):
        assert not any(path.startswith(f"splitplace/{room}") for path in found), room


def test_packages_are_whole_and_of_no_place():
    """What the server and the device import is there; nothing of where it is installed here, no test, no bytecode."""
    found = package_files()
    for module in ("numpy", "onnxruntime", "zmq", "pydantic", "psutil", "starlette", "uvicorn", "httptools", "anyio"):
        assert f"{FOLDER}/{module}/__init__.py" in found, module
    for path in found:
        assert path.startswith(f"{FOLDER}/") and ".." not in path
        assert not path.endswith((".pyc", "RECORD", "direct_url.json")) and "/tests/" not in path, path
    assert not any("/torch/" in path or "/sympy/" in path for path in found)


def test_this_machines_python_has_all_that_it_loads():
    """By the loader's own word: nothing that the interpreter or a module of its library loads is outside."""
    found = machine_python({})
    assert f"usr/local/bin/{python_name()}" in found and f"usr/local/lib/{python_name()}/os.py" in found
    programs = [
        getattr(source, "path", source) for path, source in found.items() if path.endswith(".so") or "/bin/" in path
    ]
    needed = shared_libraries([path for path in programs if not isinstance(path, FileLink)])
    names = {path.rpartition("/")[2] for path in found}
    assert needed and {path.name for path in needed} <= names
    assert not any("site-packages" in path or "__pycache__" in path for path in found)


def test_what_a_start_imports_is_compiled():
    """Each module of ours that a server loads, as Python would compile it, of no time and no place here."""
    sources = program_files()
    found = bytecode_of(sources, LOADED)
    assert {f"{FOLDER}/{name.replace('.', '/')}.py" for name in LOADED if name.startswith("splitplace")} <= set(found)
    for place, data in found.items():
        assert data[:4] == importlib.util.MAGIC_NUMBER and data[4:8] == b"\1\0\0\0", place
        code = marshal.loads(data[16:])  # noqa: S302 - made here, a moment ago
        assert code.co_filename == f"/{place}"
        assert code.co_code == compile(sources[place].read_bytes(), "", "exec", dont_inherit=True).co_code
