"""`splitplace infer`: run a split on this device, no cluster, neither torch nor onnx."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from splitplace.cli.output import emit
from splitplace.files import check_file, replace_file

if TYPE_CHECKING:
    from splitplace.inference.executor import Array

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
    """Answer inputs with a split from a catalog, every fragment on this device.

    Args:
        location: CATALOG:REF.
        input: One .npy file (n, ...), an .npz file or NAME=FILE of several inputs, or image files, or folders of them
            in the order of their names, read as those that the split was trained on.
        out: Write the labels, or with --logits the logits, to this file (.npy); of a split without classes, its answer.
        logits: Answer logits instead of labels.
        micro_batch: Samples at once.
        threads: onnxruntime threads.
        missing: Fragments to leave out, as if their devices were dead.
        json: Print one JSON document.
    """
    import numpy as np

    import splitplace as sp
    from splitplace.inference.inputs import opened_folders

    if out is not None:
        check_file(out, "--out")
    input = tuple(opened_folders(input))  # to tell each by its name
    done = sp.infer(location, input, micro_batch=micro_batch, threads=threads, missing=missing)
    answer, labels, reference = done.logits, done.labels, done.split.reference
    if out is not None:
        kept = answer if logits or labels is None else labels
        replace_file(out, lambda file: np.save(file, kept, allow_pickle=False))  # to its name as given, without .npy
    document = {
        "reference": reference,
        "n": len(answer),
        "inputs": [str(path.absolute()) for path in input],
        "timings": {"run_s": done.run_s},
    }
    if labels is None:
        document |= {"answers": _plain(answer)}
    else:
        document |= {"labels": labels.tolist(), "names": done.names}
        document |= {"logits": _plain(answer)} if logits else {}
    document |= {"out": str(out.absolute())} if out is not None else {}
    what = ("answer",) if labels is None else ("logits",) if logits else ("label", "class")
    table = Table("input", *what, title=f"{reference}: {len(answer)} inputs in {1e3 * done.run_s:.1f} ms")
    files = [str(path) for path in input] if len(input) == len(answer) else [str(i) for i in range(len(answer))]
    names = done.names or [""] * len(answer)
    for i, file in enumerate(files[:SHOWN]):
        numbers = np.array2string(answer[i], threshold=8)
        said = (numbers,) if labels is None or logits else (str(labels[i]), names[i])
        table.add_row(file, *said)
    if len(answer) > SHOWN:
        table.add_row("...", *("..." for _ in what))
    emit(document, table, json)


def _plain(values: "Array") -> list[Any]:
    """Nested lists for JSON, where what is not finite (a dead branch's -inf) has no place: null says the same."""
    import numpy as np

    if values.dtype.kind != "f":
        whole: list[Any] = values.tolist()
        return whole
    plain = values.astype(np.float64).astype(object)
    plain[~np.isfinite(values)] = None
    nested: list[Any] = plain.tolist()
    return nested
