"""The processes we start: this interpreter, blind to the current folder, in an environment whose every entry is meant.

`python -m` puts the current folder first on `sys.path`: a file called queue.py there would run inside every device.
`-P` leaves it out, and so does `PYTHONSAFEPATH`, which the children of a child inherit.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEPT = frozenset({
    # Programs, home and scratch: caches lie under HOME, and TMPDIR is often the one disk with room.
    "PATH", "HOME", "TMPDIR",
    # How names of files and messages are encoded, so that both sides of a pipe read them alike.
    "LANG", "LANGUAGE", "PYTHONIOENCODING", "PYTHONUTF8",
    # Where shared libraries are that this process found: not numpy's own on every system, and on small ARM boards
    # libgomp has to be loaded first.
    "LD_LIBRARY_PATH", "LD_PRELOAD",
    # The interpreter as it runs here: its standard library where it was moved, whether it may write beside its modules.
    "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONNOUSERSITE",
})  # fmt: skip
KEPT_PREFIXES = (
    "LC_",
    # How many threads compute and on which cores: what a caller pins must hold where the work is done.
    "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_",
    # How memory is taken: what a profile measures.
    "MALLOC_", "GLIBC_",
    # onnxruntime's own switches, its telemetry's first of all, and ours.
    "ORT_", "SPLITPLACE_",
    # So that the coverage of what runs in children is counted where somebody counts it.
    "COVERAGE_",
)  # fmt: skip
"""Everything else stays here: credentials above all, and what makes Python import by name (PYTHONSTARTUP,
PYTHONBREAKPOINT, PYTHONWARNINGS)."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Of a process that shares the cores with others of its kind."""
TOKEN_VARIABLE = "SPLITPLACE_TOKEN"  # noqa: S105 - the variable's name
"""By which a client of the front door is given its token: of ours the one that no process we start may see."""


def python_child(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in a process of its own; start it with `child_env`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def python_code(code: str, *arguments: str) -> list[str]:
    """The same for a few lines of ours."""
    return [sys.executable, "-P", "-c", code, *arguments]


def python_script(path: Path, *arguments: str) -> list[str]:
    """The same for a script of somebody else's; its own folder is not searched either."""
    return [sys.executable, "-P", str(path), *arguments]


def child_env(**changes: str) -> dict[str, str]:
    """The environment of a process we start: what is kept of ours, then `changes`.

    Of PYTHONPATH, absolute folders stay, for they may be where this package is; an empty or relative entry means the
    current folder.
    """
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    kept.pop(TOKEN_VARIABLE, None)
    folders = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(entry).is_absolute()]
    if folders:
        kept["PYTHONPATH"] = os.pathsep.join(folders)
    if sys.flags.no_user_site:
        kept["PYTHONNOUSERSITE"] = "1"
    return kept | {"PYTHONSAFEPATH": "1"} | changes


def tell_crashes() -> None:
    """Have a fault in native code leave every thread's stack on standard error, where there is one."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # one that is no file, or closed
            faulthandler.enable()


@contextmanager
def safe_spawn() -> Iterator[None]:
    """Within, processes that `multiprocessing` spawns do not look into the current folder either."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def end_with_parent() -> None:
    """In a process that `multiprocessing` started: end when the one that started it does, however that ends."""
    import multiprocessing  # not for everybody who only starts a child

    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
