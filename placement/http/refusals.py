"""Why there is no answer: {"error": ...} with the status that the table of causes says, and when to come again."""

import json

from starlette.exceptions import HTTPException
from starlette.responses import Response

from splitplace.errors import SplitPlaceError

MOST = 2_000
"""Letters of a reason."""


def one_line(text: str) -> str:
    """As a client is told it."""
    return " ".join(text.split())[:MOST]


def refusal(error: SplitPlaceError | HTTPException, retry_after_s: int | None = None) -> Response:
    """The answer to a request that is refused.

    Args:
        error: Why; the HTTP library's own are of paths and methods.
        retry_after_s: When to come again, whole seconds; none: it would be refused again.
    """
    if isinstance(error, HTTPException):
        status, said, headers = error.status_code, error.detail, dict(error.headers or {})
    else:
        status, said, headers = error.http_status, str(error), {}
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="splitplace"'
    body = json.dumps({"error": one_line(said)}).encode()
    return Response(body, status, headers=headers, media_type="application/json")
