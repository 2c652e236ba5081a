"""Layers: one form only, whatever the files are like on this disk, and what they hold."""

import gzip
import importlib.metadata
import importlib.util
import io
import logging
import marshal
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from splitplace.errors import SplitPlaceError
from splitplace.export.oci_image import machine_python as machine
from splitplace.export.oci_image import packages
from splitplace.export.oci_image.bytecode import bytecode_of
from splitplace.export.oci_image.contents import ImageContents
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


def test_what_is_imported_here_changes_no_package(tmp_path, monkeypatch):
    """A folder before all others on this process's path, as Ray's with a psutil of its own: a device runs ours."""
    before = package_files(), program_files()
    for name in ("psutil", "splitplace"):
        about = tmp_path / f"{name}-99.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99\n")
        (about / "RECORD").write_text(f"{name}/__init__.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.metadata.version("psutil") == importlib.metadata.version("splitplace") == "99"
    assert (package_files(), program_files()) == before


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


def python_library(folder: Path, prefix: str, *stray: str) -> Path:
    """A standard library as it is installed at a prefix, with what else somebody left there."""
    folder.mkdir()
    (folder / "os.py").write_text("name = 'posix'")
    (folder / "_sysconfigdata__linux_here.py").write_text(f"build_time_vars = {{'prefix': {prefix!r}}}")
    for name in stray:
        (folder / name).write_text("secret")
    return folder


def packed_python(folder: Path) -> str:
    """The digest of a layer of it."""
    return pack(machine._library(folder, python_name()))[0].digest


def test_where_python_is_installed_is_in_no_layer(tmp_path):
    """Two prefixes, one with stray files beside its modules: the same digest."""
    one = python_library(tmp_path / "one", "/home/one/python")
    two = python_library(tmp_path / "two", "/home/two/python", ".env", "os.py.orig", "notes.txt")
    assert packed_python(one) == packed_python(two)


def test_what_zoneinfo_asks_of_the_build_is_there(tmp_path):
    """In a Python whose other build variables are left out, as its own module has it, without a folder of this one."""
    found = machine_python({})
    (module,) = [content for place, content in found.items() if "/_sysconfigdata" in place]
    told: dict[str, dict[str, str]] = {}
    exec(module, told)  # noqa: S102 - made here, a moment ago
    assert told["build_time_vars"]["TZPATH"] and sys.base_prefix not in module.decode()


def test_stray_files_beside_our_modules_are_left_out(tmp_path, monkeypatch):
    """What a device reads there is taken; what an editor or a user left is not."""
    for name in ("__init__.py", "probe.onnx", ".env", "errors.py.orig", "token.json", "core"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(packages, "_modules", lambda entries: {"splitplace": tmp_path / "__init__.py"})
    found = {path.removeprefix(f"{FOLDER}/") for path in program_files() if "dist-info" not in path}
    assert found == {"splitplace/__init__.py", "splitplace/probe.onnx"}


def test_of_our_metadata_the_version_alone():
    """Else another build tool would make another digest."""
    (about,) = [content for path, content in program_files().items() if path.endswith("/METADATA")]
    assert [line.partition(":")[0] for line in about.decode().splitlines()] == ["Metadata-Version", "Name", "Version"]


def test_a_source_that_cannot_be_read_is_named(tmp_path):
    """And not called a layer that cannot be written."""
    with pytest.raises(SplitPlaceError, match=rf"cannot read {tmp_path}/gone, .*: No such file"):
        pack({"a": tmp_path / "gone"})


def ldd_says(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """In place of the loader's own."""
    program = folder / "ldd"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(f"\t{line}" for line in lines) + "\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


LOADER = "/lib64/ld-linux-x86-64.so.2 (0x00007f0000000000)"


def test_a_library_in_a_folder_with_a_blank(tmp_path, monkeypatch):
    """Is loaded as any other, by its name or by its path."""
    one, two = "/home/my user/lib/libz.so.1", "/opt/a b/libq.so"
    ldd_says(tmp_path, monkeypatch, f"libz.so.1 => {one} (0x00007f01)", f"{two} (0x00007f02)", LOADER)
    assert {str(path) for path in shared_libraries([])} == {one, two, "/lib64/ld-linux-x86-64.so.2"}


def test_a_library_that_is_not_found_is_told(tmp_path, monkeypatch, caplog):
    """By name: what loads it does not run here either, and need not be what an image runs."""
    ldd_says(tmp_path, monkeypatch, "libcudart.so.12 => not found", LOADER)
    with caplog.at_level(logging.WARNING):
        shared_libraries([])
    assert [record.getMessage().partition(" is ")[0] for record in caplog.records] == ["library libcudart.so.12"]


def test_the_key_is_of_what_makes_the_image_too(tmp_path):
    """Its environment and configuration stand in none of its files: with them the device's image is another."""
    contents = ImageContents({"a": b""}, {}, {})
    (tmp_path / "image_writer.py").write_text("env = 1")
    before = contents.key(tmp_path)
    assert contents.key(tmp_path) == before
    (tmp_path / "image_writer.py").write_text("env = 2")
    assert contents.key(tmp_path) != before
