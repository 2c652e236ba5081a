"""Runs a fragment once in a process of its own: what ends a process that loads it must not end ours, or a device's.

`python -m` this module is that process. It reads a `TrialOrder` as one JSON line on stdin, then the ONNX file and its
inputs (.npz), and writes the outputs (.npz) to stdout.
"""

import io
import subprocess
import sys
from collections.abc import Mapping

import numpy as np

from splitplace.children import child_env, python_child
from splitplace.errors import IntegrityError, SplitPlaceError
from splitplace.inference.executor import Array, FragmentSession
from splitplace.records.base import PositiveCount, Record
from splitplace.records.fragment import Fragment

LIMIT_S = 600
"""No fragment takes this long for a handful of samples; what hangs is not waited for."""


class TrialOrder(Record):
    """What to run."""

    fragment: Fragment
    model_bytes: PositiveCount


def run_apart(fragment: Fragment, model: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """A fragment's outputs by name, computed in a process of its own.

    Args:
        fragment: Its contract.
        model: Its ONNX file.
        inputs: By name, each (n, ...).

    Raises:
        IntegrityError: It does not load or run, or ends or blocks the process that loads it.
    """
    order = TrialOrder(fragment=fragment, model_bytes=len(model))
    command = python_child("splitplace.inference.trial")
    request = order.model_dump_json().encode() + b"\n" + model + packed(inputs)
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, env=child_env(), timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise IntegrityError(f"{fragment.name}: running it did not end in {LIMIT_S} s") from error
    if done.returncode < 0:
        raise IntegrityError(
            f"{fragment.name}: running it ends the process by signal {-done.returncode}: a fault of this "
            "onnxruntime, or a lack of memory"
        )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no word"]
        raise IntegrityError(f"{fragment.name}: it does not run: {lines[-1][:300]}")
    return unpacked(done.stdout)


def packed(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name as bytes, for another process of ours."""
    file = io.BytesIO()
    np.savez(file, *arrays.values(), names=np.array(list(arrays)))
    return file.getvalue()


def unpacked(data: bytes) -> dict[str, Array]:
    """The arrays of `packed`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {str(name): archive[f"arr_{i}"] for i, name in enumerate(archive["names"])}


def main() -> None:
    """Work off the order on stdin; a refusal is one line on stderr and exit 1."""
    source = sys.stdin.buffer
    order = TrialOrder.parse(source.readline(), "trial order")
    model = source.read(order.model_bytes)
    try:
        outputs = FragmentSession(order.fragment, model).run(unpacked(source.read()))
    except SplitPlaceError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(packed(outputs))


if __name__ == "__main__":
    main()
