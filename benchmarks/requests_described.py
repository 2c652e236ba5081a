"""Our routes as an OpenAPI 3.1 document, and what Schemathesis asks by it: every path and method that ends.

`python -m splitplace.benchmarks.requests_described PORT COUNT SEED FILE` asks so many of a front door of this machine.
Half of them go by the description, half against it where it asks for anything. What became of each is a line of the
file, as in `requests_asked.py`. Only this module needs Schemathesis, and only when it asks.
"""

import itertools
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from splitplace.benchmarks.requests_asked import GARBLED, HUNG, UNANSWERED, GarbledError, HttpAnswer, check_error
from splitplace.benchmarks.requests_check import DESCRIBED
from splitplace.benchmarks.requests_parts import MODEL, OTHER
from splitplace.placement.http.guard import EVENTS
from splitplace.placement.http.requests import InferRequest, RepositoryIndexRequest, RepositoryRequest
from splitplace.placement.http.routes import TABLE

PATIENCE_S = 60.0
BATCH = 500
"""Requests of one search of Hypothesis, which remembers all of them."""
MOST_EMPTY = 20
"""Searches in a row that come to nothing."""


def names(model: str) -> dict[str, Any]:
    """What may stand in a path for each of its names."""
    return {
        "model": {"anyOf": [{"const": model}, {"type": "string", "minLength": 1}]},
        "version": {"anyOf": [{"const": "1"}, {"type": "string", "minLength": 1}]},
        "task": {"anyOf": [{"const": "0"}, {"type": "string", "minLength": 1}]},
        "region": {"type": "string", "minLength": 1},
        "file": {"anyOf": [{"const": "main.js"}, {"type": "string", "minLength": 1}]},
    }


WAIT, COUNT = {"type": "number", "minimum": 0, "maximum": 0.01}, {"type": "integer", "minimum": 0}
QUERIES = {"/v2/splitplace/tasks/{task}": {"wait_s": WAIT, "binary": {"type": "boolean"}, "classification": COUNT}}
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


def document(model: str) -> dict[str, Any]:
    """It.

    Args:
        model: That there is.
    """
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, Any] = {}
    known = names(model)
    for method, path, _ in TABLE:
        if path == EVENTS:  # its answer goes on for as long as somebody listens; it is asked for by others
            continue
        given = [
            {"name": name, "in": "path", "required": True, "schema": known[name]}
            for name in re.findall(r"{(\w+)}", path)
        ]
        given += [{"name": name, "in": "query", "schema": kind} for name, kind in QUERIES.get(path, {}).items()]
        last = path[path.rindex("/") :]
        given += [{"name": name, "in": "header", "schema": kind} for name, kind in HEADERS.get(last, {}).items()]
        refused = {"description": "why not", "content": {"application/json": {"schema": REFUSED}}}
        operation: dict[str, Any] = {
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


def _moved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """A schema whose definitions stand in the document's own place."""
    renamed: dict[str, Any] = _renamed(schema)
    components.update(renamed.pop("$defs", {}))
    return renamed


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: found.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _renamed(found)
            for key, found in value.items()
        }
    return [_renamed(found) for found in value] if isinstance(value, list) else value


def ask(port: int, count: int, seed: int, history: TextIO) -> None:
    """Ask so many.

    Args:
        port: Of the front door.
        count: How many.
        seed: Of what Hypothesis draws.
        history: Where each is written down.
    """
    import requests
    from hypothesis import strategies as st
    from schemathesis import GenerationMode, openapi
    from schemathesis.core.result import Ok

    found = openapi.from_dict(document(MODEL)).get_all_operations()
    operations: list[Any] = [one.ok() for one in found if isinstance(one, Ok)]
    against = [each for each in operations if each.body or each.query]
    cases = [
        st.one_of([each.as_strategy(generation_mode=mode) for each in of_mode])
        for mode, of_mode in ((GenerationMode.POSITIVE, operations), (GenerationMode.NEGATIVE, against))
    ]
    asked = empty = 0
    with requests.Session() as session:

        def note(case: Any) -> None:
            nonlocal asked
            if asked >= most:
                return
            _spare(case)
            begun_s = time.perf_counter()
            outcome = _outcome(case, f"http://127.0.0.1:{port}", session)
            took_ms = round(1e3 * (time.perf_counter() - begun_s), 1)
            history.write(json.dumps([asked, DESCRIBED, outcome, took_ms]) + "\n")
            asked += 1

        for turn in itertools.count():
            before, most = asked, min(asked + BATCH, count)
            _search(cases[turn % len(cases)], seed * 10**6 + turn, note)
            empty = empty + 1 if asked == before else 0
            if asked >= count or empty > MOST_EMPTY:
                return


def _search(cases: Any, seed: int, note: Callable[[Any], None]) -> None:
    """Some hundred cases, each told."""
    import hypothesis

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=BATCH, deadline=None, database=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(cases)
    def one(case: Any) -> None:
        note(case)

    one()


def _spare(case: Any) -> None:
    """The model that all others ask for stays in service."""
    if case.operation.path.endswith("/unload") and case.path_parameters.get("model") == MODEL:
        case.path_parameters["model"] = OTHER


def _outcome(case: Any, url: str, session: Any) -> str:
    import requests

    try:
        answer = case.call(base_url=url, session=session, timeout=PATIENCE_S)
    except requests.Timeout:
        return HUNG
    except requests.RequestException:
        return UNANSWERED
    if answer.status_code >= 400:
        try:
            check_error(HttpAnswer(answer.status_code, {}, answer.content, False))
        except GarbledError:
            return GARBLED
    return str(answer.status_code)


if __name__ == "__main__":
    with Path(sys.argv[4]).open("w", encoding="utf-8") as written:
        ask(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), written)
