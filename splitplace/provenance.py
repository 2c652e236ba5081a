"""Collects a `Provenance`: what is needed to ask for a figure again."""

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from splitplace.records.provenance import Machine, Provenance

COMMIT_VARIABLE = "SPLITPLACE_COMMIT"
"""Says the commit of a copy that was taken somewhere without its history."""
_ROOMS = ("", ".placement", ".benchmarks", ".splitting", ".training", ".export")
"""Packages that may lie in folders of their own."""
_RESULTS = ("benchmarks/results", "benchmarks/RESULTS.md")
"""What measurements write: no code, and no input of another measurement."""
_READ = frozenset({".toml", ".json", ".parquet", ".safetensors"})
_LIBRARIES = (
    "numpy",
    "onnxruntime",
    "onnx",
    "torch",
    "torchvision",
    "timm",
    "pytorch-lightning",
    "torch-pruning",
    "pyzmq",
)


def collect(seed: int | None = None) -> Provenance:
    """The provenance of a figure measured now, on this machine, from this code."""
    return Provenance(
        splitplace=version("splitplace"),
        commit=commit(),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        versions={"python": platform.python_version()} | _versions(),
        machine=machine(),
        seed=seed,
    )


@cache
def machine() -> Machine:
    """This computer."""
    return Machine(
        cpu=_cpu(),
        architecture=platform.machine(),
        cores=len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    return named.get("model name") or named.get("Model") or platform.machine()


@cache
def _versions() -> dict[str, str]:
    """Installed versions, read from metadata: importing torch to ask for its version would cost seconds."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str:
    """Of this checkout, as `Provenance.commit` has it."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return os.environ.get(COMMIT_VARIABLE) or "unknown"
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", ".", *(f":!{path}" for path in _RESULTS))
        return head + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]  # `git` by name: where it lives differs by system
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


@cache
def code_digest() -> str:
    """SHA-256 of this package's modules, and of the data that simulations read: of those that are imported here.

    It tells apart what no commit does: changes that are in none, and copies that came without their history.
    """
    found = dict[str, Path]()
    for room in _ROOMS:
        spec = find_spec(f"splitplace{room}")
        for folder in [] if spec is None else spec.submodule_search_locations or []:
            for file in Path(folder).rglob("*.*"):
                if file.suffix == ".py" or (file.parent.name == "data" and file.suffix in _READ):
                    found[f"{room.replace('.', '/')}/{file.relative_to(folder).as_posix()}"] = file
    whole = hashlib.sha256()
    for name, file in sorted(found.items()):
        whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
