"""Bytecode of what an image's processes import, so that a start on a root that cannot be written compiles nothing.

Two thirds of a start's processor time would else go into that. Python's own bytecode files state their source's time
and place, and differ with the state of the process that wrote them. These state neither (PEP 552, unchecked), and are
written by a process whose hashes have no seed, in marshal's second version, which says nothing of references.
"""

import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path, PurePosixPath

from splitplace.children import child_env, python_code
from splitplace.errors import SplitPlaceError
from splitplace.export.oci_image.layer import Files

_COMPILE = """
import base64, importlib.util, json, marshal, os, sys
asked = json.load(sys.stdin)
for name in asked["modules"]:
    importlib.import_module(name)
loaded = {os.path.realpath(spec.origin) for module in list(sys.modules.values())
          if (spec := getattr(module, "__spec__", None)) is not None and spec.origin}
found = {}
for place, path in sorted(asked["sources"].items()):
    if place.endswith(".py") and os.path.realpath(path) in loaded:
        source = open(path, "rb").read()
        code = marshal.dumps(compile(source, "/" + place, "exec", dont_inherit=True), 2)
        head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
        found[place] = base64.b64encode(head + code).decode()
json.dump(found, sys.stdout)
"""


def bytecode_of(sources: Files, modules: tuple[str, ...]) -> dict[str, bytes]:
    """Of these sources, those that are loaded when these modules are, compiled; by the source's path.

    Raises:
        SplitPlaceError: They cannot be imported here.
    """
    paths = {place: str(source) for place, source in sources.items() if isinstance(source, Path)}
    done = subprocess.run(
        python_code(_COMPILE),
        input=json.dumps({"modules": modules, "sources": paths}),
        env=child_env(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise SplitPlaceError(f"what an image runs cannot be imported here: {last}")
    return {place: b64decode(code) for place, code in json.loads(done.stdout).items()}


def cached(source: str) -> str:
    """Where Python looks for the bytecode of a source."""
    path = PurePosixPath(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc")
