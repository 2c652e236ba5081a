"""Collects a `Provenance`: what is needed to ask for a figure again."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from splitplace.records.provenance import Machine, Provenance

COMMIT_VARIABLE = "SPLITPLACE_COMMIT"
"""Says the commit of a copy that was taken somewhere without its history."""
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
        return head + ("+dirty" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]  # `git` by name: where it lives differs by system
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
