"""`splitplace infer`: run a split on this device, no cluster, neither torch nor onnx."""

from pathlib import Path

from rich.table import Table

from splitplace.cli.output import emit

SHOWN = 20
"""Rows of the table; --json has all."""


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
        input: One .npy file (n, ...), or image files, read as those that the split was trained on.
        out: Write the labels, or with --logits the logits, to this .npy file.
        logits: Answer logits instead of labels.
        micro_batch: Samples at once.
        threads: onnxruntime threads.
        missing: Fragments to leave out, as if their devices were dead.
        json: Print one JSON document.
    """
    import numpy as np

    import splitplace as sp

    done = sp.infer(location, input, micro_batch=micro_batch, threads=threads, missing=missing)
    answer, labels, reference = done.logits, done.labels, done.split.reference
    # A dead branch's -inf has no place in JSON; null says the same.
    plain = [[float(v) if np.isfinite(v) else None for v in row] for row in answer] if logits else None
    if out is not None:
        try:
            np.save(out, answer if logits else labels, allow_pickle=False)
        except OSError as error:
            raise sp.SplitPlaceError(f"cannot write {out}: {error.strerror}") from error
    document = {
        "reference": reference,
        "n": len(labels),
        "inputs": [str(path.absolute()) for path in input],
        "labels": labels.tolist(),
        "names": done.names,
        "timings": {"run_s": done.run_s},
    }
    document |= {"logits": plain} if logits else {}
    document |= {"out": str(out.absolute())} if out is not None else {}
    table = Table("input", "label", "class", title=f"{reference}: {len(labels)} inputs in {1e3 * done.run_s:.1f} ms")
    files = [str(path) for path in input] if len(input) == len(labels) else [str(i) for i in range(len(labels))]
    names = done.names or [""] * len(labels)
    for row in list(zip(files, map(str, labels), names, strict=True))[:SHOWN]:
        table.add_row(*row)
    if len(labels) > SHOWN:
        table.add_row("...", "...", "...")
    emit(document, table, json)
