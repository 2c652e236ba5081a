"""Which optional packages a piece of work needs, asked before it starts: by an extra's name, by looking, not importing.

`EXTRAS` says of every extra of pyproject.toml how its distributions are imported; a test holds the two together.
"""

from importlib.util import find_spec

from splitplace.errors import MissingExtraError

EXTRAS: dict[str, dict[str, str]] = {
    "train": {
        "torch": "torch",
        "torchvision": "torchvision",
        "timm": "timm",
        "pytorch-lightning": "pytorch_lightning",
        "torchmetrics": "torchmetrics",
        "tensorboard": "tensorboard",
        "torch-pruning": "torch_pruning",
        "safetensors": "safetensors",
        "pyarrow": "pyarrow",
        "pillow": "PIL",
        "scipy": "scipy",
    },
    "images": {"pillow": "PIL"},
    "export": {"onnx": "onnx", "onnx-ir": "onnx_ir", "onnxscript": "onnxscript", "matplotlib": "matplotlib"},
    "sim": {
        "pyarrow": "pyarrow",
        "matplotlib": "matplotlib",
        "eclipse-sumo": "sumo",
        "safetensors": "safetensors",
        "scipy": "scipy",
    },
    "serve": {
        "starlette": "starlette",
        "uvicorn": "uvicorn",
        "httptools": "httptools",
        "python-multipart": "python_multipart",
        "prometheus_client": "prometheus_client",
        "pillow": "PIL",
    },
    "grpc": {"grpcio": "grpc", "protobuf": "google.protobuf"},
    "ray": {"ray": "ray"},
    "demo": {"jinja2": "jinja2"},
}
"""Extra -> distribution -> what it is imported as; without the extras that an extra holds."""


def needs(what: str, *extras: str, packages: tuple[str, ...] = ()) -> None:
    """Refuse work that lacks optional packages, before it starts.

    Args:
        what: Who needs them, as the subject of a sentence: `splitplace train`, `--plot`.
        extras: The extras that bring them.
        packages: The distributions of these extras that are needed; all of them if none is named.

    Raises:
        MissingExtraError: Names what is missing, and what to install.
    """
    wanted = {name: module for extra in extras for name, module in EXTRAS[extra].items()}
    assert set(packages) <= set(wanted), f"{packages} are not all in {extras}"
    missing = [name for name in packages or wanted if not _is_there(wanted[name])]
    if missing:
        raise MissingExtraError(
            f"{what} needs {', '.join(missing)}, not installed here: pip install 'splitplace[{','.join(extras)}]'"
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is what it would be in
        return False
