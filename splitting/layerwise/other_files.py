"""What a file is that was given as an ONNX model, or as its weights, and is none: told by how it begins."""

KINDS = (
    (0, b"version https://git-lfs", "a pointer of Git LFS, which `git lfs pull` replaces by the file"),
    (0, b"PK\x03\x04", "a zip archive (as PyTorch's checkpoints and Keras's .keras files are); export it to ONNX"),
    (0, b"\x1f\x8b", "gzip, which has to be unpacked"),
    (0, b"\x89HDF", "HDF5 (as Keras's .h5 files are); export it to ONNX"),
    (0, b"\x80\x02", "a pickle (as PyTorch's old checkpoints are); export it to ONNX"),
    (4, b"ORTM", "onnxruntime's own .ort form; take the .onnx file it was made from"),
    (4, b"TFL3", "TensorFlow Lite; export it to ONNX"),
    (0, b"<!", "markup (a web page that was saved in place of the file)"),
    (0, b"<html", "markup (a web page that was saved in place of the file)"),
    (0, b"<\n", "a model printed as text; save it with onnx.save"),
    (0, b"ir_version", "a model as text; onnx.load reads it with format='textproto', and onnx.save writes the file"),
    (0, b"{", "JSON; onnx.load reads a model in it with format='json', and onnx.save writes the file"),
)
"""Where its mark is, the mark, and what it is."""

KIND_BYTES = max(at + len(mark) for at, mark, _ in KINDS)
"""How much of a file tells."""


def kind_of(data: bytes) -> str | None:
    """What these bytes begin like; None where that is nothing known."""
    return next((told for at, mark, told in KINDS if data[at : at + len(mark)] == mark), None)
