"""Names for values that are made while a model is cut: free ones, and such as a record can hold."""

import hashlib

import onnx_ir as ir

from splitplace.records.fragment import MAX_TENSOR_NAME


class Names:
    """The names of a graph's values and of those in its subgraphs, which no new value may bear."""

    def __init__(self, graph: ir.Graph):
        self._taken = {value.name for node in graph.all_nodes() for value in node.outputs}
        for scope in (graph, *graph.subgraphs()):
            self._taken.update(value.name for value in scope.inputs)
            self._taken.update(scope.initializers)

    def free(self, name: str, short: bool = False) -> str:
        """This name, or one like it that is free; taken from now on. `short`: as a record can hold it."""
        while (found := shortened(name) if short else name) in self._taken:
            name += "_"
        self._taken.add(found)
        return found


def shortened(name: str) -> str:
    """A name that a record can hold: itself, or its beginning and a digest of all of it."""
    if len(name) <= MAX_TENSOR_NAME:
        return name
    told = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: MAX_TENSOR_NAME - len(told) - 1]}-{told}"
