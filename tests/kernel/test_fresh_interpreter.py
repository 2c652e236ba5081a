"""What a fresh interpreter loads: a device and a --help need neither torch nor onnx."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "timm", "lightning", "torchvision", "matplotlib")


def _loaded(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split()) & set(HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "splitplace.placement.device.__main__",
        "splitplace.placement.plan",
        "splitplace.inference.executor",
        "splitplace.catalog",
        "splitplace.cli",
    ],
)
def test_the_base_install_is_enough_for(module):
    """A device has numpy, onnxruntime, pyzmq, pydantic, cyclopts and rich."""
    assert _loaded(f"import {module}") == set()


def test_help_loads_few_modules():
    """What makes it quick, counted: under 450 modules, neither numpy nor onnxruntime (seconds: `bench timings`)."""
    code = (
        "import sys\n"
        "from splitplace.cli import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    loaded = set(done.stderr.split())
    assert len(loaded) < 450
    assert not {"numpy", "onnxruntime"} & loaded


def test_help_of_every_command_loads_no_torch():
    """The overview and each command's own page."""
    code = (
        "import contextlib, io\n"
        "from splitplace.cli import COMMANDS, build\n"
        "app = build()\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    app(['--help'], exit_on_error=False, result_action='return_value')\n"
        "    for name, _, _ in COMMANDS:\n"
        "        app([*name.split(), '--help'], exit_on_error=False, result_action='return_value')\n"
    )
    assert _loaded(code) == set()
