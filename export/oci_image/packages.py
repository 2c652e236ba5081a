"""What an image runs: installed packages that a device needs, and of this program what its entry points import."""

import ast
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from splitplace.children import child_env, python_code
from splitplace.errors import MissingExtraError, NotReadyError
from splitplace.export.oci_image.layer import Content, Files

FOLDER = "opt/splitplace"
"""On the image's PYTHONPATH, so that a base of any layout will do."""
STANDALONE, DEVICE = "splitplace.placement.standalone", "splitplace.placement.device.__main__"
"""What an image runs: a model by itself, or a device of a fleet."""
ENTRIES = (f"{STANDALONE}.__main__", DEVICE)
LOADED = (
    *ENTRIES,
    f"{STANDALONE}.app",
    f"{STANDALONE}.models_folder",
    "splitplace.placement.http.server",
    "uvicorn.lifespan.off",
    "uvicorn.loops.asyncio",
)
"""And what those load when they run."""
PACKAGES = ("numpy", "onnxruntime", "pyzmq", "pydantic", "psutil", "starlette", "uvicorn", "httptools")
"""By whom those modules are run; each brings what it needs itself."""
_LEFT_OUT = frozenset({"__pycache__", "tests"})
_BESIDE = frozenset({".onnx"})
"""Of files beside our modules those that a device reads; what else lies there may be somebody's own."""
_RECORDS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
"""Of the place where a package is installed here."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def package_files() -> Files:
    """The packages, without their tests, by their path in an image.

    Raises:
        MissingExtraError: One is not installed.
        NotReadyError: One was not installed by pip, and nobody knows which files are its own.
    """
    found: dict[str, Content] = {}
    for package in _closure(PACKAGES):
        for path, source in _files_of(package):
            found[f"{FOLDER}/{path}"] = source
    return found


def _closure(names: Iterable[str]) -> list[Distribution]:
    """These and all that they require, without extras; sorted by name."""
    found: dict[str, Distribution] = {}
    left = list(names)
    while left:
        name = left.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        package = _installed(name)
        if package is None:
            if name in PACKAGES:
                raise MissingExtraError(f"no package {name} to put into an image: pip install 'splitplace[serve]'")
            continue  # required on other systems alone
        found[key] = package
        for stated in package.requires or ():
            requirement, _, marker = stated.partition(";")
            if "extra" not in marker and (match := _NAME.match(requirement)):
                left.append(match[0])
    return [found[key] for key in sorted(found)]


def _installed(name: str) -> Distribution | None:
    """A package as a process that starts now finds it."""
    return next(iter(Distribution.discover(name=name, path=list(_search_path()))), None)


@cache
def _search_path() -> tuple[str, ...]:
    """Of a process that starts now: what is imported here may have put folders before it, as Ray does with a psutil."""
    code = python_code("import json, sys; json.dump(sys.path, sys.stdout)")
    return tuple(json.loads(subprocess.run(code, env=child_env(), capture_output=True, check=True).stdout))


def _files_of(package: Distribution) -> Iterator[tuple[str, Path]]:
    if package.files is None:
        raise NotReadyError(
            f"nobody knows the files of {package.name}, which pip did not install: work in a virtual environment"
        )
    for file in package.files:
        parts = PurePosixPath(file).parts
        if ".." in parts or _LEFT_OUT & set(parts) or file.suffix in (".pyc", ".pyi"):
            continue
        if parts[0].endswith(".dist-info") and parts[-1] in _RECORDS:
            continue
        yield str(PurePosixPath(file)), Path(str(file.locate()))


def program_files() -> Files:
    """Of this program the modules that the entry points import, at once or later, and what those read beside them."""
    found: dict[str, Content] = {}
    for name, source in sorted(_modules(ENTRIES).items()):
        path = name.replace(".", "/")
        if source.name == "__init__.py":
            found[f"{FOLDER}/{path}/__init__.py"] = source
            for beside in sorted(source.parent.iterdir()):
                if beside.is_file() and beside.suffix in _BESIDE:
                    found[f"{FOLDER}/{path}/{beside.name}"] = beside
        else:
            found[f"{FOLDER}/{path}.py"] = source
    own = _installed("splitplace")
    assert own is not None  # whose module this is
    # The rest of it is as the tool wrote it that installed this program; the version is all that is asked for.
    about = f"Metadata-Version: 2.1\nName: splitplace\nVersion: {own.version}\n"
    found[f"{FOLDER}/splitplace-{own.version}.dist-info/METADATA"] = about.encode()
    return found


def _modules(entries: Iterable[str]) -> dict[str, Path]:
    """These modules and all of ours that they lead to, with their files."""
    found: dict[str, Path] = {}
    left = list(entries)
    while left:
        name = left.pop()
        if name in found or (source := _source(name)) is None:
            continue
        found[name] = source
        left += [name.rpartition(".")[0]] if "." in name else []
        left += _imports(ast.parse(source.read_bytes()))
    return found


def _source(name: str) -> Path | None:
    """A module's file; None where the name is of something in a module."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _imports(tree: ast.AST) -> list[str]:
    """What may be a module of ours of all that is imported, wherever it stands, but for type checkers alone."""
    found: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            found += _imports(node)
    return [name for name in found if name.partition(".")[0] == "splitplace"]
