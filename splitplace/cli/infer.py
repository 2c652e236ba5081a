"""`splitplace infer`: run a split on this device, no cluster, neither torch nor onnx."""

import time
from pathlib import Path

from rich.table import Table

from splitplace.cli.output import emit


def infer(
    location: str,
    *,
    input: tuple[Path, ...],
    out: Path | None = None,
    logits: bool = False,
    micro_batch: int = 64,
    threads: int = 1,
    missing: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Classify inputs with a split from a catalog, every fragment on this device.

    Args:
        location: CATALOG:REF.
        input: One .npy file (n, ...), or image files, resized to what the split takes.
        out: Write the labels, or with --logits the logits, to this .npy file.
        logits: Answer logits instead of labels.
        micro_batch: Samples at once.
        threads: onnxruntime threads.
        missing: Fragments to leave out, as if their devices were dead.
        json: Print one JSON document.
    """
    import numpy as np

    from splitplace.catalog.location import open_split
    from splitplace.errors import SplitPlaceError, UsageError, unknown
    from splitplace.inference.executor import Executor
    from splitplace.inference.inputs import read_inputs

    if micro_batch < 1 or threads < 1:
        raise UsageError(f"--micro-batch {micro_batch} --threads {threads}: expected at least 1 of each")
    source, reference = open_split(location)
    split = source.split(reference)
    for name in missing:
        if name not in split.by_name:
            raise unknown(f"fragment of {reference}", name, split.by_name)
    if len(split.inputs) != 1:
        raise UsageError(f"{reference} takes {len(split.inputs)} inputs, expected one")
    (spec,) = split.inputs
    x = read_inputs(input, spec)
    executor = Executor(split, lambda name: source.load(split, name), threads, frozenset(missing))
    start = time.perf_counter()
    answer = executor.run({spec.name: x}, micro_batch)
    seconds = time.perf_counter() - start
    # A dead branch's -inf has no place in JSON; null says the same.
    plain = [[float(v) if np.isfinite(v) else None for v in row] for row in answer] if logits else None
    labels = answer.argmax(axis=1)
    if out is not None:
        try:
            np.save(out, answer if logits else labels, allow_pickle=False)
        except OSError as error:
            raise SplitPlaceError(f"cannot write {out}: {error.strerror}") from error
    document = {"reference": reference, "n": len(labels), "labels": labels.tolist(), "timings": {"run_s": seconds}}
    document |= {"logits": plain} if logits else {}
    document |= {"out": str(out.absolute())} if out is not None else {}
    table = Table("input", "label", title=f"{reference}: {len(labels)} inputs in {1e3 * seconds:.1f} ms")
    for i, label in enumerate(labels[:20]):
        table.add_row(str(i), str(label))
    if len(labels) > 20:
        table.add_row("...", "...")
    emit(document, table, json)
