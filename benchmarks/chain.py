"""Times a whole split in a process of its own: `python -m splitplace.benchmarks.chain CATALOG REF BATCH_SIZE...`.

Fragments run one after another and hand numpy arrays on, as `splitplace infer` does. Timed exactly as a profile is
(`export/measure/timing.py`); prints one JSON line: the core's speed, and the latency at each batch size.
"""

import json
import sys
from functools import partial
from pathlib import Path

from splitplace.catalog import Catalog
from splitplace.export.measure.profile_worker import sample
from splitplace.export.measure.timing import in_rounds
from splitplace.inference.executor import Executor


def main() -> None:
    """One line of JSON."""
    folder, reference, *sizes = sys.argv[1:]
    catalog = Catalog(Path(folder))
    split = catalog.split(reference)
    executor = Executor(split, partial(catalog.load, split))
    (spec,) = split.inputs
    works = {size: partial(executor.run, {spec.name: sample(spec, size)}, size) for size in map(int, sizes)}
    speed, latency = in_rounds(works, threads=1, rounds=10, budget_s=1.0)
    print(json.dumps({"core_speed": speed, "latency": [row.model_dump() for row in latency]}))


if __name__ == "__main__":
    main()
