"""Where bytes are to be had besides the registry itself: what `registries.conf` says, as podman and skopeo read it.

Of that file (containers-registries.conf(5), version 2) the tables `[[registry]]` are read: `prefix`, `location`,
`insecure`, `blocked`, and their `mirror` tables with `location`, `insecure` and `pull-from-mirror`; the longest prefix
that fits wins.
"""

import os
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from splitplace.distribution.reference import SCHEME, RemoteReference, is_loopback, parse_remote
from splitplace.distribution.replies import UnreachableError
from splitplace.distribution.repository import Repository
from splitplace.distribution.transport import Transport
from splitplace.errors import ForbiddenError, IntegrityError, SplitPlaceError, first_problem, of_system
from splitplace.files import at_home

T = TypeVar("T")

MAX_BYTES = 2**20
Place = Annotated[str, AfterValidator(lambda text: text.rstrip("/"))]


class Mirror(BaseModel):
    """A place that may have the same bytes."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)
    location: Place = ""
    insecure: bool = False
    pull_from_mirror: Literal["all", "digest-only", "tag-only"] = Field(default="all", alias="pull-from-mirror")


class RegistryEntry(Mirror):
    """What is said of all repositories that begin with `prefix`."""

    prefix: Place = ""
    blocked: bool = False
    mirror: list[Mirror] = []


class _RegistriesFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    registry: list[RegistryEntry] = []


def registries_path() -> Path | None:
    """The file: $CONTAINERS_REGISTRIES_CONF, the user's, or the machine's; None if there is none."""
    if named := os.environ.get("CONTAINERS_REGISTRIES_CONF"):
        return Path(named)
    own = at_home(".config/containers/registries.conf")
    return next((path for path in (own, Path("/etc/containers/registries.conf")) if path and path.is_file()), None)


def read_entry(reference: RemoteReference) -> RegistryEntry:
    """What the file says of a repository; nothing in particular if it says nothing.

    Raises:
        IntegrityError: It is not of its form.
        ForbiddenError: It says that nobody shall pull from there.
    """
    path = registries_path()
    if path is None:
        return RegistryEntry()
    try:
        with path.open("rb") as file:
            entries = _RegistriesFile.model_validate(tomllib.loads(file.read(MAX_BYTES).decode())).registry
    except OSError as error:
        raise of_system(error) from error
    except ValidationError as error:
        raise IntegrityError(f"{path}: {first_problem(error)}") from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: not TOML: {error}") from error
    name = f"{reference.host}/{reference.repository}"
    fitting = [entry for entry in entries if _covered(entry, name)]
    entry = max(fitting, key=lambda entry: len(entry.prefix or entry.location), default=RegistryEntry())
    if entry.blocked:
        raise ForbiddenError(f"{path}: {reference.host} is blocked: take another registry, or out of that file")
    return entry


def _covered(entry: RegistryEntry, name: str) -> int:
    """How many letters of HOST[:PORT]/REPOSITORY an entry's prefix stands for; 0 where it does not fit."""
    prefix = entry.prefix or entry.location
    if prefix.startswith("*."):  # hosts below this one
        host = name.partition("/")[0] if ":" in prefix else re.split("[:/]", name, maxsplit=1)[0]
        return len(host) if host.endswith(prefix[1:]) else 0
    return len(prefix) if prefix and (name == prefix or name.startswith(prefix + "/")) else 0


@dataclass(frozen=True)
class Places:
    """A repository and its mirrors.

    What a name stands for, the registry itself says first; what has a digest comes from the mirrors first.
    """

    itself: Repository
    mirrors: Sequence[tuple[Repository, str]] = ()
    _down: list[Repository] = field(default_factory=list)
    """Those that never answered: they are asked once, unless there is no other."""

    def named(self, ask: Callable[[Repository], T]) -> T:
        """What a tag is, or refers to something: the first answer."""
        return self._first([self.itself, *(place for place, use in self.mirrors if use != "digest-only")], ask)

    def fixed(self, ask: Callable[[Repository], T]) -> T:
        """What has a digest that is held against it: the first that is right."""
        return self._first([*(place for place, use in self.mirrors if use != "tag-only"), self.itself], ask)

    def _first(self, places: Sequence[Repository], ask: Callable[[Repository], T]) -> T:
        problems: list[SplitPlaceError] = []
        for place in [place for place in places if place not in self._down] or places:
            try:
                return ask(place)
            except SplitPlaceError as error:
                problems.append(error)
                if isinstance(error, UnreachableError) and not place.transport.reached and place not in self._down:
                    self._down.append(place)
        if len(problems) == 1:
            raise problems[0]
        raise type(problems[-1])(f"{problems[-1]}; nor from {len(problems) - 1} others: {problems[0]}") from problems[0]

    def close(self) -> None:
        """End all connections."""
        for place in (self.itself, *(place for place, _ in self.mirrors)):
            place.transport.close()


def open_places(reference: RemoteReference, connect: Callable[[str, bool | None], Transport]) -> Places:
    """A repository with its mirrors.

    Args:
        reference: Which.
        connect: Makes a transport to a host; the second argument is whether without TLS, None if nobody says so.

    Raises:
        UsageError: A location in the file is no place in a registry.
    """
    entry = read_entry(reference)
    name = f"{reference.host}/{reference.repository}"
    rest = name[_covered(entry, name) :]
    itself = parse_remote(f"{SCHEME}{entry.location}{rest}") if entry.location else reference
    mirrors = []
    for mirror in entry.mirror:
        place = parse_remote(f"{SCHEME}{mirror.location}{rest}")
        plain = True if mirror.insecure else None
        mirrors.append((Repository(connect(place.host, plain), place), mirror.pull_from_mirror))
    plain = True if entry.insecure and not is_loopback(itself.host) else None
    return Places(Repository(connect(itself.host, plain), itself), mirrors)
