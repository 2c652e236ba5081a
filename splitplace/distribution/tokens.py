"""What a registry answers to who has not said who he is, and the token that is to be had for it.

The token flow of docker's registries ("Token Authentication Specification"), which all public ones speak; OAuth2's
refresh grant where an identity token is stored.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from splitplace.distribution.docker_config import Login
from splitplace.distribution.reference import is_host
from splitplace.errors import IntegrityError

_PARAMETER = re.compile(r'([A-Za-z]+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Challenge:
    """A WWW-Authenticate header: `basic`, or `bearer` with where tokens are and for what."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenge(headers: Sequence[str]) -> Challenge | None:
    """The challenge that we can answer, bearer before basic; none if there is none."""
    found = {}
    for header in headers:
        scheme, _, rest = header.strip().partition(" ")
        values = dict(_PARAMETER.findall(rest[:8192]))
        found[scheme.lower()] = Challenge(
            scheme.lower(), values.get("realm", ""), values.get("service", ""), values.get("scope", "")
        )
    bearer = found.get("bearer")
    return bearer if bearer and _is_place(bearer.realm) else found.get("basic")


def _is_place(realm: str) -> bool:
    try:
        parts = urlsplit(realm)
        return parts.port != 0 and is_host(parts.netloc) and realm.isascii() and realm.isprintable()
    except ValueError:
        return False


@dataclass(frozen=True)
class TokenRequest:
    """How a token is asked for."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None

    @classmethod
    def of(cls, challenge: Challenge, login: Login | None) -> "TokenRequest":
        """With these credentials, or as nobody in particular."""
        asked = {name: getattr(challenge, name) for name in ("service", "scope") if getattr(challenge, name)}
        if login and login.is_token:
            form = {"grant_type": "refresh_token", "client_id": "splitplace", "refresh_token": login.secret, **asked}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return cls("POST", challenge.realm, headers, urlencode(form).encode())
        separator = "&" if urlsplit(challenge.realm).query else "?"
        url = challenge.realm + (separator + urlencode(asked) if asked else "")
        return cls("GET", url, {"Authorization": login.basic} if login else {}, None)

    def token(self, data: bytes) -> str:
        """The token of an answer.

        Raises:
            IntegrityError: There is none.
        """
        try:
            answer = json.loads(data)
            token = answer.get("token") or answer.get("access_token")
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise TypeError
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{self.url}: expected JSON with a token") from error
        return token
