"""A base made of this machine's own Python: the interpreter, its library, and the shared libraries that they load.

It lies at /usr/local, wherever it lies here; the C library and its like stay where their loader looks for them.
"""

import logging
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from splitplace.errors import NotReadyError
from splitplace.export.oci_image.layer import Content, ExecutableFile, FileLink, Files, ScratchFolder

log = logging.getLogger(__name__)

PREFIX = "usr/local"
USER = 65532
"""Nobody in particular: the number by which distroless images call their user `nonroot`."""
_LEFT_OUT = frozenset({
    # What no device runs: other people's packages, tests, windows, installers.
    "site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip",
    "lib2to3", "pydoc_data", "turtle.py",
})  # fmt: skip
_MODULES_LEFT_OUT = (
    "_test",
    "_xxtest",
    "xx",
    "_tkinter",
    "_curses",
    "readline",
    "nis",
    "_dbm",
    "_gdbm",
    "spwd",
    "ossaudio",
)
"""Of the library's compiled modules: what talks to terminals, windows and users' databases, with all that they load."""
_SYSTEM = re.compile(r"(?:/usr)?/lib(?:64|32|x32)?(?:/[a-z0-9_]+-linux-[a-z0-9]+)?")
"""Folders where the loader looks without being told."""
_LINE = re.compile(r"^\s*(?:.+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_MISSING = re.compile(r"^\s*(.+) => not found$", re.MULTILINE)
_BUILD_VARIABLES = ("TZPATH", "SOABI", "EXT_SUFFIX", "MULTIARCH")
"""What is told of the build of this Python, which else says in which folders of which machine that was."""
_ACCOUNTS: Files = {
    "etc/passwd": b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/:/sbin/nologin\n" % (USER, USER),
    "etc/group": b"root:x:0:\nnonroot:x:%d:\n" % USER,
    "tmp": ScratchFolder(),
}


def python_name() -> str:
    """Of the interpreter, as python3.11."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def machine_python(packages: Files) -> Files:
    """This machine's Python, and the shared libraries of packages that are to run on it.

    Args:
        packages: Which, as `package_files` has them.

    Raises:
        NotReadyError: This machine is no Linux with the GNU C library, whose `ldd` says what a library loads, or nobody
            knows where its interpreter lies.
    """
    name = python_name()
    interpreter = Path(sys.base_prefix, "bin", name).resolve()
    if not interpreter.is_file():
        raise NotReadyError(f"no interpreter {interpreter}, and so no image of this machine's Python: give --base")
    library = _library(Path(sysconfig.get_path("stdlib")).resolve(), name)
    found: dict[str, Content] = {
        f"{PREFIX}/bin/{name}": ExecutableFile(interpreter),
        f"{PREFIX}/bin/python3": FileLink(name),
        **library,
        **_ACCOUNTS,
    }
    loaded = [interpreter, *(source for source in (*library.values(), *packages.values()) if _is_shared(source))]
    inside = {source.resolve() for source in packages.values() if isinstance(source, Path)}
    for path in shared_libraries([source for source in loaded if isinstance(source, Path)]):
        if path.resolve() not in inside:
            place = str(path)[1:] if _SYSTEM.fullmatch(str(path.parent)) else f"{PREFIX}/lib/{path.name}"
            found[place] = ExecutableFile(path.resolve())
    return found


def _library(folder: Path, name: str) -> dict[str, Content]:
    found: dict[str, Content] = {}
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        unwanted = _LEFT_OUT & set(parts) or parts[0].startswith("config-")
        if path.suffix == ".so" and path.name.startswith(_MODULES_LEFT_OUT):
            continue
        if not unwanted and path.is_file() and path.suffix in (".py", ".so"):
            known = path.name.startswith("_sysconfigdata")
            place = f"{PREFIX}/lib/{name}/{path.relative_to(folder).as_posix()}"
            found[place] = _build_variables() if known else path.resolve()
    return found


def _build_variables() -> bytes:
    """In place of the module from which `sysconfig` has them; zoneinfo asks for one."""
    told = {name: value for name in _BUILD_VARIABLES if (value := sysconfig.get_config_var(name)) is not None}
    return f"build_time_vars = {told!r}\n".replace(sys.base_prefix, f"/{PREFIX}").encode()


def _is_shared(content: Content) -> bool:
    return isinstance(content, Path) and ".so" in content.suffixes


def shared_libraries(paths: Iterable[Path]) -> tuple[Path, ...]:
    """What these programs and libraries load, as the loader finds it here.

    Raises:
        NotReadyError: There is no `ldd`, or it is not the GNU C library's.
    """
    try:
        done = subprocess.run(["ldd", *map(str, paths)], capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError as error:
        raise NotReadyError(
            "no ldd here: an image of this machine's Python takes Linux with glibc: give --base"
        ) from error
    for name in sorted(set(_MISSING.findall(done.stdout))):
        log.warning("library %s is not found here: what loads it runs neither here nor in the image", name)
    found = {Path(match[1]) for match in _LINE.finditer(done.stdout)}
    if not any(path.name.startswith(("ld-linux", "ld64")) for path in found):
        raise NotReadyError(
            "this machine's Python does not run on glibc, for which onnxruntime is made: give an image by --base"
        )
    return tuple(sorted(found))
