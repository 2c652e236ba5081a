"""The catalog: an OCI image layout that holds splits. Reading it needs neither torch nor onnx."""

from splitplace.catalog.reader import Catalog

__all__ = ["Catalog"]
