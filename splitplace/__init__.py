"""SplitPlace: split CNNs by layer or by meaning, ship the fragments, place them on edge devices by deadline."""

import os
from importlib.metadata import version

# onnxruntime's wheels collect paths, graph names and errors for upload unless told not to before they are loaded. Every
# module of ours imports this package first, so no process has onnxruntime in it without this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = version("splitplace")
