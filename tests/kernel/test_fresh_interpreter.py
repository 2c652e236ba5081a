"""What a fresh interpreter loads: a device and a --help need neither torch nor onnx."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "timm", "pytorch_lightning", "torchvision", "matplotlib")


def _loaded(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    return set(done.stdout.split()) & set(HEAVY)


LIGHT = (
    "splitplace.cli",
    "splitplace.catalog",
    "splitplace.inference.executor",
    "splitplace.placement.remote.remote_client",
    "splitplace.placement.plan",
    "splitplace.placement.device.__main__",
)


@pytest.fixture(scope="module")
def loaded_by():
    """Which of the heavy packages one fresh interpreter has after each of these, imported one after another."""
    code = (
        "import importlib, sys\n"
        f"for name in {LIGHT}:\n"
        "    importlib.import_module(name)\n"
        "    print(*{loaded.split('.')[0] for loaded in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
    return {name: set(line.split()) & set(HEAVY) for name, line in zip(LIGHT, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize("module", LIGHT)
def test_the_base_install_is_enough_for(loaded_by, module):
    """A device has numpy, onnxruntime, pyzmq, pydantic, cyclopts and rich."""
    assert loaded_by[module] == set()


def test_all_of_placement_is_loaded_without_torch():
    """A plan asks numpy; learning has torch only once it trains: every module of the room, in one interpreter."""
    code = (
        "import importlib, pkgutil, splitplace.placement as room\n"
        "found = [m.name for m in pkgutil.walk_packages(room.__path__, room.__name__ + '.')]\n"
        "assert 'splitplace.placement.learning.fit' in found and len(found) > 80, found\n"
        "for name in found: importlib.import_module(name)"
    )
    assert _loaded(code) == set()


def test_what_is_not_masked_is_looked_at_without_opening_a_file():
    """NumPy would load its part for masks, for which a device may have no descriptor left."""
    code = (
        "import sys, numpy as np\n"
        "from splitplace.inference.unmasked import check_unmasked\n"
        "check_unmasked('x', np.ones(3))\n"
        "assert 'numpy.ma' not in sys.modules\n"
        "print('looked')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "looked\n", done.stderr


def test_help_loads_few_modules():
    """What makes it quick, counted: under 450 modules, neither numpy nor onnxruntime (seconds: `bench timings`)."""
    code = (
        "import sys\n"
        "from splitplace.cli import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300)
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


NOTE = (
    "import os, sys\n"
    "seen = lambda event, args: event == 'import' and args[0] == 'onnxruntime' and "
    "print('telemetry off:', os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
    "sys.addaudithook(seen)\n"
)


@pytest.mark.parametrize(
    "statement",
    [
        "import splitplace.inference.executor",
        "import splitplace.cli.infer, splitplace.inference.executor",
        "import splitplace.placement.device.__main__",
        "import splitplace.export.measure.profile_worker",
        "import splitplace.splitting.layerwise.fusion",
        "import splitplace.benchmarks.chain",
        pytest.param(
            "import pytest; pytest.main(['-s', '--collect-only', 'tests/export/test_measure.py'])",
            marks=[pytest.mark.slow],
        ),
    ],
)
def test_onnxruntime_is_told_to_send_nothing_before_it_comes_in(statement):
    """Commands, devices, workers, benches and tests: the variable is set when the import begins."""
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", NOTE + statement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=clean, cwd=ROOT)
    told = {line for line in done.stdout.splitlines() if line.startswith("telemetry off:")}
    assert told == {"telemetry off: 1"}, done.stderr


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_threads_that_wait_let_others_work(given, spins):
    """Two trainings on one machine do not spin each other's turns away; whoever has set how to wait keeps that."""
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import splitplace, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=clean | given, cwd=ROOT)
    assert done.stdout.strip() == spins
