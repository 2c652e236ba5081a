"""What lies at /models of an image: a Triton model repository of fragments, with split.json where it is a whole split.

/models/split.json                          the graph; not there in the image of one fragment
/models/APP.MODEL.STRATEGY.FRAGMENT/fragment.json   what the fragment takes and gives
/models/APP.MODEL.STRATEGY.FRAGMENT/1/model.onnx    the fragment
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splitplace.catalog.blobs import read_file
from splitplace.catalog.oci import MAX_MODEL_BYTES, digest
from splitplace.catalog.onnxfile import check_model
from splitplace.errors import IntegrityError, NotFoundError, UsageError
from splitplace.inference.executor import Array, Executor, FragmentSession, batches
from splitplace.placement.http.models import LOGITS, ServedModel, served
from splitplace.records.base import MAX_DOCUMENT_BYTES
from splitplace.records.fragment import Fragment
from splitplace.records.split_document import SPLIT_FILE, SplitDocument

CONTRACT_FILE, MODEL_FILE = "fragment.json", "1/model.onnx"

Run = Callable[[Mapping[str, Array]], dict[str, Array]]


@dataclass(frozen=True)
class LoadedModel:
    """A model that can be asked.

    Args:
        model: What it takes and gives.
        run: Inputs by name, each (n, ...), to outputs by name.
    """

    model: ServedModel
    run: Run


def load_models(folder: Path, name: str = "", threads: int = 1, micro_batch: int = 64) -> LoadedModel:
    """Open what lies in a folder, held against its digests.

    Args:
        folder: As an image has it at /models.
        name: What it is to be called; a split by its application, a fragment as its folder, if not stated.
        threads: onnxruntime threads of each session.
        micro_batch: Samples at once.

    Raises:
        NotFoundError: Nothing lies there.
        UsageError: Several fragments, and no split.json that says how they belong together.
        IntegrityError: Other bytes than the digests say, or no models.
    """
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder}: expected one with {SPLIT_FILE} or a fragment, as an image's /models")
    if (folder / SPLIT_FILE).exists():
        document = SplitDocument.parse(_read(folder / SPLIT_FILE, MAX_DOCUMENT_BYTES), str(folder / SPLIT_FILE))
        return _of_split(document, folder, name, threads, micro_batch)
    found = sorted(path.parent for path in folder.glob(f"*/{CONTRACT_FILE}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise (UsageError if found else NotFoundError)(
            f"{folder} holds no {SPLIT_FILE}, and of fragments {names}: expected one fragment"
        )
    return _of_fragment(found[0], name, threads, micro_batch)


def _of_split(document: SplitDocument, folder: Path, name: str, threads: int, micro_batch: int) -> LoadedModel:
    split = document.split

    def load(fragment: str) -> bytes:
        return _model(folder / f"{split.reference}.{fragment}", split.by_name[fragment])

    executor = Executor(split, load, threads)
    return LoadedModel(served(split, name, labelled=False), lambda inputs: {LOGITS: executor.run(inputs, micro_batch)})


def _of_fragment(folder: Path, name: str, threads: int, micro_batch: int) -> LoadedModel:
    fragment = Fragment.parse(_read(folder / CONTRACT_FILE, MAX_DOCUMENT_BYTES), str(folder / CONTRACT_FILE))
    session = FragmentSession(fragment, _model(folder, fragment), threads)

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        parts = [session.run(batch) for batch in batches(inputs, micro_batch)]
        return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in fragment.outputs}

    is_sink = len(fragment.outputs) == 1 and len(fragment.outputs[0].shape) == 2
    classes = len(fragment.classes) if is_sink else 0
    return LoadedModel(ServedModel(name or folder.name, fragment.inputs, fragment.outputs, classes), run)


def _model(folder: Path, fragment: Fragment) -> bytes:
    path = folder / MODEL_FILE
    model = _read(path, MAX_MODEL_BYTES)
    if (found := digest(model)) != fragment.digest:
        raise IntegrityError(f"{path}: got {found}, expected {fragment.digest}, as its contract says")
    check_model(model, str(path))
    return model


def _read(path: Path, most: int) -> bytes:
    try:
        return read_file(path, most, str(path))
    except FileNotFoundError as error:
        raise NotFoundError(f"no file {path}: expected what `splitplace image` puts at /models") from error
