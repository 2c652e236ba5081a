"""`splitplace infer`: run a split on this device, no cluster, neither torch nor onnx."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitplace.cli.output import emit
from splitplace.cli.verb import named, options_of
from splitplace.files import check_file, replace_file
from splitplace.tables.answers import MOST_ROWS, answers_shown

if TYPE_CHECKING:
    from splitplace.inference.executor import Array


@options_of("infer", inputs=named("--input", tuple[Path, ...]))
def infer(  # noqa: D417 - the others are the verb's
    asked: dict[str, Any],
    *,
    inputs: tuple[Path, ...],
    out: Path | None = None,
    logits: bool = False,
    json: bool = False,
) -> None:
    """Answer inputs with a split from a catalog, every fragment on this device.

    Args:
        out: Write the labels, or with --logits the logits, to this file (.npy); of a split without classes, its answer.
        logits: Answer logits instead of labels.
        json: Print one JSON document.
    """
    import numpy as np

    import splitplace as sp
    from splitplace.inference.inputs import opened_folders

    if out is not None:
        check_file(out, "--out")
    files = tuple(opened_folders(inputs))  # to tell each by its name
    done = sp.infer(**asked | {"inputs": files})
    answer, labels, reference = done.logits, done.labels, done.split.reference
    if out is not None:
        kept = answer if logits or labels is None else labels
        replace_file(out, lambda file: np.save(file, kept, allow_pickle=False))  # to its name as given, without .npy
    document = {
        "reference": reference,
        "n": len(answer),
        "inputs": [str(path.absolute()) for path in files],
        "timings": {"run_s": done.run_s},
    }
    if labels is None:
        document |= {"answers": _plain(answer)}
    else:
        document |= {"labels": labels.tolist(), "names": done.names}
        document |= {"logits": _plain(answer)} if logits else {}
    document |= {"out": str(out.absolute())} if out is not None else {}
    title = f"{reference}: {len(answer)} inputs in {1e3 * done.run_s:.1f} ms"
    if labels is None or logits:
        rows = [(np.array2string(one, threshold=8),) for one in answer[:MOST_ROWS]]
        table = answers_shown(title, ("answer" if labels is None else "logits",), rows, files, len(answer))
    else:
        named_labels = list(zip(map(str, labels), done.names or [""] * len(answer), strict=True))
        table = answers_shown(title, ("label", "class"), named_labels, files, len(answer))
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
