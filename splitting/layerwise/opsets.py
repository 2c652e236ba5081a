"""The opsets of a model and its functions: one name for the default domain, and one version for all that is called."""

from collections.abc import Iterable, Iterator

import onnx

from splitplace.errors import IntegrityError
from splitplace.splitting.layerwise.external import all_nodes

DEFAULT_DOMAIN = "ai.onnx"

UNSTATED = 13
"""The opset of a model that states none since it uses none, as trees of ai.onnx.ml alone: what the splitter puts
beside is of this one."""


def name_default_domain(model: onnx.ModelProto) -> None:
    """The default domain by its empty name, since most tools do not know it as `ai.onnx`, and with a version."""
    for imports in (model.opset_import, *(function.opset_import for function in model.functions)):
        versions = {"" if entry.domain == DEFAULT_DOMAIN else entry.domain: entry.version for entry in imports}
        if any(entry.domain == DEFAULT_DOMAIN for entry in imports):
            del imports[:]
            imports.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    for node in all_nodes(model):
        if node.domain == DEFAULT_DOMAIN:
            node.ClearField("domain")
    stated = {entry.domain for entry in model.opset_import}
    if stated and "" not in stated and all(node.domain for node in all_nodes(model)):
        model.opset_import.append(onnx.helper.make_opsetid("", UNSTATED))


def level_functions(model: onnx.ModelProto, source: str) -> None:
    """Give functions the model's opsets, to inline them.

    What they call has to be the same in both. The checker sees to that among their own nodes, not in bodies of these.

    Raises:
        IntegrityError: An operator in a body is another in the model's opset.
    """
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for function in model.functions:
        own = {entry.domain: entry.version for entry in function.opset_import}
        for node in _with_bodies(function.node):
            if node.domain not in own or node.domain not in versions:
                continue
            theirs, ours = own[node.domain], versions[node.domain]
            if theirs != ours and _since(node, theirs) != _since(node, ours):
                raise IntegrityError(
                    f"{source}: its function {function.name} calls {node.op_type} of opset {theirs}, which is another "
                    f"in the model's opset {ours}: export it with one opset"
                )
        for entry in function.opset_import:
            entry.version = versions.get(entry.domain, entry.version)


def _since(node: onnx.NodeProto, version: int) -> int | None:
    """The opset that its operator is from in this one; None if the standard has none of that name."""
    try:
        since: int = onnx.defs.get_schema(node.op_type, version, node.domain).since_version
    except onnx.defs.SchemaError:
        return None
    return since


def _with_bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """These nodes and all that lie in their attributes."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _with_bodies(graph.node)
