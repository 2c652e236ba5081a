"""Who asks: credentials as `docker login` and `podman login` leave them, in a file or with a credential helper."""

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from splitplace.errors import IntegrityError, SplitPlaceError, UsageError, first_problem, of_system
from splitplace.files import at_home

MAX_BYTES = 2**20
VARIABLES = (
    "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "CONTAINERS_REGISTRIES_CONF", "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)  # fmt: skip
"""By which is said in what files logins, mirrors (`mirrors.py`) and certificates are: paths, no secrets."""
HELPER_TIMEOUT_S = 60
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers call the user of an identity token


@dataclass(frozen=True, repr=False)
class Login:
    """What a registry is shown; an identity token has no user."""

    user: str
    secret: str

    @property
    def is_token(self) -> bool:
        """Whether the secret is an identity token, to be exchanged for one that a registry takes."""
        return not self.user

    @property
    def basic(self) -> str:
        """The header's value."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


class _StoredLogin(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    auth: str = ""
    identitytoken: str = ""


class DockerConfig(BaseModel):
    """config.json, as far as it is about credentials."""

    model_config = ConfigDict(strict=True, extra="ignore")
    auths: dict[str, _StoredLogin] = {}
    credHelpers: dict[str, str] = {}
    credsStore: str = ""


def config_paths() -> list[Path]:
    """Where credentials lie: $REGISTRY_AUTH_FILE alone; else where `docker login` leaves them, then `podman login`.

    The former is $DOCKER_CONFIG/config.json or ~/.docker/config.json, the latter
    $XDG_RUNTIME_DIR/containers/auth.json.
    """
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return [Path(named)]
    folder, runtime = os.environ.get("DOCKER_CONFIG"), os.environ.get("XDG_RUNTIME_DIR")
    dockers = Path(folder) / "config.json" if folder else at_home(".docker/config.json")
    podmans = Path(runtime) / "containers" / "auth.json" if runtime else None
    return [path for path in (dockers, podmans) if path is not None]


def read_login(host: str, repository: str = "") -> Login | None:
    """The credentials for a repository, if there are any: from a helper for its host, the common helper, or the file.

    Raises:
        SplitPlaceError: The file or a helper's answer is not what it should be; no message holds a secret.
    """
    logins = (_login_in(path, host, repository) for path in config_paths())
    return next((login for login in logins if login is not None), None)


def _login_in(path: Path, host: str, repository: str) -> Login | None:
    config = _read(path)
    if config is None:
        return None
    helper = config.credHelpers.get(host) or config.credsStore
    if helper and (login := _from_helper(helper, host, path)):
        return login
    whole = f"{host}/{repository}/"
    fitting = [name for name in config.auths if whole.startswith(_place(name) + "/")]
    for name in sorted(fitting, key=lambda name: len(_place(name)), reverse=True):
        stored = config.auths[name]
        if stored.identitytoken:
            return Login("", stored.identitytoken)
        if stored.auth:
            return _decoded(stored.auth, f"{path}: auths {name}")
    return None


def _place(name: str) -> str:
    """HOST[:PORT][/PATH] of a key of `auths`, without what docker has put around it over the years."""
    return re.sub(r"(?:/v[12])?/*$", "", re.sub(r"^https?://", "", name))


def _read(path: Path) -> DockerConfig | None:
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: expected a JSON file of at most {MAX_BYTES} bytes")
        return DockerConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise of_system(error) from error
    except ValidationError as error:
        raise IntegrityError(f"{path}: not a docker config: {first_problem(error)}") from error


def _decoded(auth: str, where: str) -> Login:
    try:
        user, colon, secret = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise IntegrityError(f"{where}: auth is not base64 of USER:PASSWORD: log in again") from error
    if not colon or not user:
        raise IntegrityError(f"{where}: auth is not base64 of USER:PASSWORD: log in again")
    return Login(user, secret.rstrip("\0"))


def _from_helper(name: str, host: str, path: Path) -> Login | None:
    """By the protocol of docker-credential-helpers: the host on stdin, a JSON document on stdout."""
    program = shutil.which(f"docker-credential-{name}") if re.fullmatch(r"[A-Za-z0-9._-]+", name) else None
    if program is None:
        raise UsageError(
            f"{path} names docker-credential-{name!r:.64}, which is not installed: install it, or log in again"
        )
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, timeout=HELPER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SplitPlaceError(f"{program} get: no answer for {host}: {type(error).__name__}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")
        if "not found" in said:
            return None
        raise SplitPlaceError(f"{program} get: exit {done.returncode} for {host}: unlock it, or log in again")
    try:
        answer = json.loads(done.stdout[:MAX_BYTES])
        user, secret = answer["Username"], answer["Secret"]
        if not isinstance(user, str) or not isinstance(secret, str):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{program} get: expected JSON with Username and Secret for {host}") from error
    return Login("" if user == _TOKEN_USER else user, secret)
