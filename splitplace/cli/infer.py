"""`splitplace infer`: run a split on this device, no cluster, neither torch nor onnx."""

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
    document = {"reference": reference, "n": len(labels), "labels": labels.tolist(), "timings": {"run_s": done.run_s}}
    document |= {"logits": plain} if logits else {}
    document |= {"out": str(out.absolute())} if out is not None else {}
    table = Table("input", "label", title=f"{reference}: {len(labels)} inputs in {1e3 * done.run_s:.1f} ms")
    for i, label in enumerate(labels[:20]):
        table.add_row(str(i), str(label))
    if len(labels) > 20:
        table.add_row("...", "...")
    emit(document, table, json)
