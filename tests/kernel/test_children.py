"""The processes we start: what they run is ours, what they see is meant for them."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from splitplace.children import child_env, python_child, python_code, python_script, safe_spawn

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("splitplace", "splitting", "training", "export", "placement", "benchmarks")


def _nodes(word):
    """Every node of those modules of the rooms that a word stands in, with the module's file."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if word in text:
                name = path.relative_to(ROOT).as_posix()
                yield from ((name, node) for node in ast.walk(ast.parse(text)))


MODULES = sorted(
    {
        node.args[0].value
        for _, node in _nodes("python_child")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "python_child"
    }
)
"""All that `python_child` is called with."""


@pytest.fixture
def traps(tmp_path, monkeypatch):
    """The current folder holds files by the names of what our children import; each leaves `sprung` and ends them."""
    code = f"open({str(tmp_path / 'sprung')!r}, 'w').close()\nraise SystemExit('the folder was run')\n"
    folder = tmp_path / "here"
    for name in ("queue", "json", "numpy", "zmq", "onnxruntime", "pydantic", "splitplace/__init__"):
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return tmp_path / "sprung"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_in_the_current_folder_is_never_run(traps, module):
    """Not by the names of the standard library, of dependencies or of this package; `python -m` alone runs them."""
    child = subprocess.run(python_child(module), env=child_env(), input=b"", capture_output=True, timeout=300)
    assert child.returncode != 0 and b"the folder was run" not in child.stderr  # it lacks its orders
    assert not traps.exists()
    subprocess.run([sys.executable, "-m", module], input=b"", capture_output=True, timeout=300)
    assert traps.exists()


def test_nor_by_a_script_of_others(traps, tmp_path):
    """Its own folder is not searched for modules, nor is the current one."""
    script = tmp_path / "here" / "script.py"
    script.write_text("import json\nprint(json.dumps(1))\n")
    child = subprocess.run(python_script(script), env=child_env(), capture_output=True, timeout=300)
    assert child.stdout == b"1\n" and not traps.exists()


def test_nor_by_a_spawned_process(traps):
    """`multiprocessing` starts its children with -c, which searches the current folder as -m does."""
    code = "import json"
    with safe_spawn():
        subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
    assert not traps.exists() and "PYTHONSAFEPATH" not in os.environ
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
    assert traps.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/usr/bin"),
        ("TMPDIR", "/scratch"),
        ("LC_ALL", "C.UTF-8"),
        ("LD_LIBRARY_PATH", "/opt/lib"),
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("ORT_DISABLE_TELEMETRY", "1"),
    ],
)
def test_what_a_child_needs_to_run_as_we_do(monkeypatch, name, value):
    """Programs, scratch, encodings, libraries, threads."""
    monkeypatch.setenv(name, value)
    assert child_env()[name] == value


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "SPLITPLACE_TOKEN",
        "PYTHONSTARTUP",
        "PYTHONWARNINGS",
        "PYTHONBREAKPOINT",
        "SSH_AUTH_SOCK",
    ],
)
def test_what_is_no_business_of_a_child(monkeypatch, name):
    """Credentials, and what makes an interpreter import by name."""
    monkeypatch.setenv(name, "x")
    assert name not in child_env()


def test_the_current_folder_is_no_entry_of_the_module_path(monkeypatch):
    """Empty and relative entries of PYTHONPATH mean it; absolute ones stay, in order; none at all leaves it out."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/opt/a", ".", "lib", "/opt/b", ""]))
    assert child_env()["PYTHONPATH"] == f"/opt/a{os.pathsep}/opt/b"
    monkeypatch.setenv("PYTHONPATH", ".")
    assert "PYTHONPATH" not in child_env(X="1")
    assert child_env(X="1")["X"] == "1"


def test_nobody_starts_an_interpreter_by_hand():
    """`sys.executable` stands in one module of the rooms."""
    attributes = ((file, node) for file, node in _nodes("executable") if isinstance(node, ast.Attribute))
    users = {file for file, node in attributes if node.attr == "executable"}
    assert users == {"splitplace/children.py"}


CRASH = "import os; from splitplace.children import tell_crashes; tell_crashes(); os.abort()"


def test_a_crash_in_native_code_leaves_a_stack():
    """On standard error, of every thread; such an end said nothing at all."""
    child = subprocess.run(python_code(CRASH), env=child_env(), capture_output=True, text=True, timeout=300)
    assert child.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in child.stderr and 'File "<string>", line 1' in child.stderr


def test_without_standard_error_a_crash_is_one():
    """There is nowhere to leave a stack, and nothing else goes wrong."""
    child = subprocess.run(["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *python_code(CRASH)], env=child_env(), timeout=300)
    assert child.returncode == -signal.SIGABRT
