"""What measures an experiment's cells on a node of a Ray cluster; everything goes in and out as JSON."""

import traceback
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from splitplace.benchmarks import grid_wire as wire
from splitplace.benchmarks.grid_wire import CellAsked, CellDone, CellFailed, CodeFacts
from splitplace.errors import MissingExtraError, SplitPlaceError, UsageError
from splitplace.extras import needs


class GridWorker:
    """Measures, on a node, in a process of Ray's with one thread."""

    def hello(self) -> bytes:
        """What it measures by, or what it lacks.

        Returns:
            `NodeHello`, as JSON.
        """
        problem = ""
        try:
            needs("a node that measures", "sim", packages=("scipy", "safetensors"))
        except MissingExtraError as error:
            problem = str(error)
        return wire.NodeHello(facts=CodeFacts.here(), problem=problem).model_dump_json().encode()

    def measure(self, asked: bytes, files: bytes) -> bytes:
        """One cell.

        Args:
            asked: A `CellAsked`, as JSON.
            files: Those that it names, as JSON: base64 by name.

        Returns:
            `CellDone` or `CellFailed`, as JSON.
        """
        return _measured(CellAsked.parse(asked, "a cell"), wire.FILES.validate_json(files)).model_dump_json().encode()


def _measured(asked: CellAsked, files: Mapping[str, str]) -> CellDone | CellFailed:
    usage = False
    try:
        with TemporaryDirectory(prefix="splitplace-cell-") as folder, chdir(folder):
            wire.unpack(files, Path(folder))
            work = wire.work_named(asked.work)
            takes, gives = wire.adapters(work)
            result = gives.dump_json(work(takes.validate_json(asked.task))).decode()
        return CellDone(batch=asked.batch, number=asked.number, result=result)
    except SplitPlaceError as error:
        problem, usage = str(error), isinstance(error, UsageError)
    except Exception:  # noqa: BLE001 - whatever it is, it is told where somebody reads it
        problem = f"a cell failed on a node, which is a mistake of this program: {traceback.format_exc()}"
    return CellFailed(batch=asked.batch, number=asked.number, problem=problem, usage=usage)
