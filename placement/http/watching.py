"""The dashboard over HTTP: its page, what it is told, and how a browser hands in its token."""

from contextlib import aclosing
from dataclasses import replace
from functools import cache
from importlib import resources
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from splitplace.errors import ContractError, ForbiddenError, NotFoundError, UnknownCallerError
from splitplace.placement.http import sessions
from splitplace.placement.http.body import read_body
from splitplace.placement.http.guard import EVENTS, LOGIN, PAGE
from splitplace.placement.http.service import HttpService

FORM_BYTES = 4_096
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
REFUSED = "<!-- refused -->", '<p role="alert">This token is not known, or was revoked.</p>'
SESSION = (
    "<!-- session -->",
    '<form method="post" action="/dashboard/logout"><button type="submit">Sign out</button></form>',
)
"""Places of the pages, and what may stand there."""


@cache
def files() -> dict[str, bytes]:
    """The page's files by name, all that there are."""
    folder = resources.files("splitplace.placement") / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if _ending(file.name) in TYPES}


def _ending(name: str) -> str:
    return name[name.rfind(".") :]


def _file(name: str, status: int = 200, beside: tuple[str, str] | None = None) -> Response:
    content = files()[name]
    if beside is not None:
        place, what = beside
        content = content.replace(place.encode(), what.encode())
    return Response(content, status, HEADERS, f"{TYPES[_ending(name)]}; charset=utf-8")


def _to(where: str, cookie: str | None = None) -> Response:
    headers = {"location": where, "cache-control": "no-store"}
    return Response(status_code=303, headers=headers if cookie is None else headers | {"set-cookie": cookie})


def to_login() -> Response:
    """For a browser that comes without a session."""
    return _to(LOGIN)


async def root(front: HttpService, request: Request) -> Response:
    """What a browser asks for first."""
    return _to(PAGE)


async def page(front: HttpService, request: Request) -> Response:
    """The dashboard."""
    return _file("dashboard.html", beside=None if front.guard.tokens is None else SESSION)


async def page_file(front: HttpService, request: Request) -> Response:
    """A file of it."""
    name = request.path_params["file"]
    if name not in files():
        raise NotFoundError(f"no file {name[:100]!r} of the dashboard")
    return _file(name)


async def login(front: HttpService, request: Request) -> Response:
    """The form for a token; nothing to be filled in where none is asked for."""
    return _to(PAGE) if front.guard.tokens is None else _file("login.html")


async def hand_in(front: HttpService, request: Request) -> Response:
    """A token, from that form: with a known one the browser gets its cookie."""
    if front.guard.tokens is None:
        return _to(PAGE)
    _check_own_form(request)
    ongoing = front.ongoing(request)
    limits = replace(front.limits, body_bytes=FORM_BYTES, body_s=front.limits.form_s)
    body = await read_body(ongoing.receive, request.headers.get("content-length"), limits, ongoing.hold)
    ongoing.body_read = True
    try:
        stated = parse_qs(body.decode(), max_num_fields=4).get("token", [""])[0]
    except ValueError as error:
        raise ContractError("no form with a field `token`") from error
    try:
        session = front.guard.begin_session(stated.strip())
    except UnknownCallerError:
        return _file("login.html", 401, REFUSED)
    return _to(PAGE, sessions.cookie(session, request.url.scheme == "https"))


async def log_out(front: HttpService, request: Request) -> Response:
    """The session's end."""
    _check_own_form(request)
    front.guard.sessions.end(request.headers.get("cookie", ""))
    where = PAGE if front.guard.tokens is None else LOGIN
    return _to(where, sessions.cookie("", request.url.scheme == "https", 0))


def _check_own_form(request: Request) -> None:
    """Browsers say whose page a form was on."""
    origin = request.headers.get("origin")
    try:
        own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # no URL at all
        own = False
    if not own:
        raise ForbiddenError(f"a form of {str(origin)[:100]!r}, expected one of this front door")


class EventStream(StreamingResponse):
    """Messages as they come; they are closed however the client leaves."""

    async def stream_response(self, send: Send) -> None:
        """As the base has it."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)


async def events(front: HttpService, request: Request) -> Response:
    """What happens, as server-sent events, until the client hangs up, or its token or session is no more."""
    whose = front.caller(request).name
    front.watch.check_room(whose)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    told = front.watch.messages(lambda: front.guard.still_admits(request.headers, EVENTS), whose)
    return EventStream(told, headers=headers, media_type="text/event-stream")


async def task_story(front: HttpService, request: Request) -> Response:
    """Where one task's time went."""
    number = request.path_params["task"]
    if not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise NotFoundError(f"no task {number[:60]!r}: expected a number")
    return Response(
        await front.watch.task(int(number)), headers={"cache-control": "no-store"}, media_type="application/json"
    )
