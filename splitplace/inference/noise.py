"""Made-up inputs, where there are no real ones: one rule for the splitter's check, for profiles and for conversions."""

import numpy as np

from splitplace.inference.executor import Array
from splitplace.records.fragment import TensorSpec


def draw(spec: TensorSpec, n: int, rng: np.random.Generator) -> Array:
    """Random values (n, ...) of a contract: floats from a standard normal, maps of bytes over their whole range.

    All other integers may be indices into a table whose size nobody states: zero and one are always there.
    """
    size = (n, *(int(dimension) for dimension in spec.shape[1:] if isinstance(dimension, int)))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(size).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu" and len(size) > 2:
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, int(limits.max) + 1, size).astype(dtype)
    return rng.integers(0, 2, size).astype(dtype)
