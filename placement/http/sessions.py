"""A browser that has handed in its token: what its cookie stands for. The token itself is kept by neither side.

A session lets its browser look at the dashboard, and nothing else (`guard.py` says where); it ends with its token, with
the front door, and after half a day.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

COOKIE = "splitplace-session"
LASTS_S = 12 * 3600
MOST = 1_000
"""Sessions; one more ends the oldest."""


class Sessions:
    """Of one front door.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """The token's digest, and when the session ends, by what the cookie says."""

    def begin(self, digest: str) -> str:
        """A session for whoever has this token: what the cookie is to say."""
        made = secrets.token_urlsafe(32)
        self._open[made] = digest, self._clock() + LASTS_S
        while len(self._open) > MOST:
            self._open.popitem(last=False)
        return made

    def digest(self, cookies: str) -> str | None:
        """The token's digest, by the header that a browser sends; none where it has no session."""
        found = self._open.get(said(cookies))
        return found[0] if found is not None and found[1] > self._clock() else None

    def end(self, cookies: str) -> None:
        """No more of it; one that is over: nothing."""
        self._open.pop(said(cookies), None)


def said(cookies: str) -> str:
    """Our cookie of a header `Cookie`; empty without."""
    for pair in cookies.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def cookie(value: str, secure: bool, lasts_s: int = LASTS_S) -> str:
    """The header `Set-Cookie`: no script reads it, and no other site's page has it sent.

    Args:
        value: Of `Sessions.begin`.
        secure: Whether the front door speaks TLS: then it is never sent without.
        lasts_s: 0 takes it away.
    """
    flags = "; Secure" if secure else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{flags}"
