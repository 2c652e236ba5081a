"""What lies at /models of an image: a Triton model repository, a layer a fragment, and above them what joins them.

A fragment's layer is the same in the image of its split and in its own, so that a registry holds it once.
"""

from splitplace.catalog.layout_writer import canonical
from splitplace.export.convert.triton import config
from splitplace.export.oci_image.layer import Files
from splitplace.records.split import Split
from splitplace.records.split_document import SPLIT_FILE, SplitDocument

FOLDER = "models"


def fragment_files(split: Split, name: str, model: bytes) -> Files:
    """One fragment: its model, what it takes and gives, and the same for Triton.

    Args:
        split: That it is of.
        name: Which.
        model: Its ONNX file.
    """
    fragment = split.by_name[name]
    folder = f"{FOLDER}/{split.reference}.{name}"
    return {
        f"{folder}/1/model.onnx": model,
        f"{folder}/fragment.json": canonical(fragment.model_dump(mode="json")).encode(),
        f"{folder}/config.pbtxt": config(f"{split.reference}.{name}", fragment).encode(),
    }


def graph_files(split: Split) -> Files:
    """How a split's fragments belong together."""
    document = SplitDocument(split=split)
    return {f"{FOLDER}/{SPLIT_FILE}": canonical(document.model_dump(mode="json")).encode()}
