"""Our routes as an OpenAPI 3.1 document, for tools that make requests of one: every path and method that ends."""

import re

from splitplace.placement.http.guard import EVENTS
from splitplace.placement.http.requests import InferRequest, RepositoryIndexRequest, RepositoryRequest
from splitplace.placement.http.routes import TABLE

NAMES = {
    "model": {"anyOf": [{"const": "pixels"}, {"type": "string", "minLength": 1}]},
    "version": {"anyOf": [{"const": "1"}, {"type": "string", "minLength": 1}]},
    "task": {"anyOf": [{"const": "0"}, {"type": "string", "minLength": 1}]},
    "region": {"type": "string", "minLength": 1},
    "file": {"anyOf": [{"const": "main.js"}, {"type": "string", "minLength": 1}]},
}
WAIT = {"type": "number", "minimum": 0, "maximum": 0.01}
QUERIES = {"/v2/splitplace/tasks/{task}": {"wait_s": WAIT, "binary": {"type": "boolean"}}}
HEADERS = {
    "/infer": {
        "inference-header-content-length": {"type": "integer", "minimum": 0},
        "splitplace-elapsed-s": {"type": "number", "minimum": 0, "maximum": 10},
        "content-encoding": {"enum": ["gzip", "deflate", "identity"]},
    }
}
BYTES = {"type": "string", "format": "binary"}
FORM = {
    "type": "object",
    "properties": {
        "image": BYTES,
        "deadline_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 60},
        "late": {"type": "boolean"},
        "degrade": {"type": "boolean"},
    },
    "required": ["image"],
}
BODIES = {
    "/infer": {
        "application/json": InferRequest.model_json_schema(),
        "application/octet-stream": {"type": "string", "format": "binary"},
    },
    "/classify": {"multipart/form-data": FORM},
    "/index": {"application/json": RepositoryIndexRequest.model_json_schema()},
    "/load": {"application/json": RepositoryRequest.model_json_schema()},
    "/unload": {"application/json": RepositoryRequest.model_json_schema()},
}
REFUSED = {
    "type": "object",
    "properties": {"error": {"type": "string", "minLength": 1}},
    "required": ["error"],
    "additionalProperties": False,
}


def document():
    """It."""
    paths, components = {}, {}
    for method, path, _ in TABLE:
        if path == EVENTS:  # its answer goes on for as long as somebody listens; test_dashboard.py does
            continue
        given = [
            {"name": name, "in": "path", "required": True, "schema": NAMES[name]}
            for name in re.findall(r"{(\w+)}", path)
        ]
        given += [{"name": name, "in": "query", "schema": kind} for name, kind in QUERIES.get(path, {}).items()]
        last = path[path.rindex("/") :]
        given += [{"name": name, "in": "header", "schema": kind} for name, kind in HEADERS.get(last, {}).items()]
        refused = {"description": "why not", "content": {"application/json": {"schema": REFUSED}}}
        operation = {
            "operationId": f"{method} {path}",
            "parameters": given,
            "responses": {"200": {"description": "done"}, "default": refused},
        }
        if method == "POST" and last in BODIES:
            content = {kind: {"schema": _moved(schema, components)} for kind, schema in BODIES[last].items()}
            operation["requestBody"] = {"content": content}
        paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "splitplace", "version": "0"},
        "paths": paths,
        "components": {"schemas": components},
    }


def _moved(schema, components):
    """A schema whose definitions stand in the document's own place."""
    schema = _renamed(schema)
    components.update(schema.pop("$defs", {}))
    return schema


def _renamed(value):
    if isinstance(value, dict):
        return {
            key: found.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _renamed(found)
            for key, found in value.items()
        }
    return [_renamed(found) for found in value] if isinstance(value, list) else value
