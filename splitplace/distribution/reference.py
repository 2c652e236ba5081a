"""`oci://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]`: where a split lies in a registry."""

import ipaddress
import re
from dataclasses import dataclass, replace

from splitplace.errors import UsageError

SCHEME = "oci://"
EXPECTED = "expected oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]"

# OCI distribution-spec 1.1, "Pulling manifests": what a name and a tag are.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class RemoteReference:
    """A repository of a registry, and in it all splits, one by its tag, or one by its digest."""

    host: str
    """With its port, where one is stated."""
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag, digest = self.tag and f":{self.tag}", self.digest and f"@{self.digest}"
        return f"{SCHEME}{self.host}/{self.repository}{tag}{digest}"

    def at(self, *, tag: str = "", digest: str = "") -> "RemoteReference":
        """Another place in the same repository."""
        return replace(self, tag=tag, digest=digest)


def is_remote(text: str) -> bool:
    """Whether this names a place in a registry, rightly or not."""
    return text.startswith(SCHEME)


def parse_remote(text: str) -> RemoteReference:
    """Read a reference.

    Raises:
        UsageError: It is none.
    """
    rest = text.removeprefix(SCHEME)
    host, slash, path = rest.partition("/")
    found = _HOST.fullmatch(host)
    if (
        not is_remote(text)
        or not slash
        or found is None
        or int(found[1] or 1) not in range(1, 65536)
        or not is_host(host)
    ):
        raise UsageError(f"{text!r:.300}: no place in a registry: {EXPECTED}")
    path, at, digest = path.partition("@")
    repository, colon, tag = path.partition(":")
    if at and not _DIGEST.fullmatch(digest):
        raise UsageError(f"{text!r:.300}: no digest after the @: {EXPECTED}")
    if colon and not is_tag(tag):
        raise UsageError(f"{text!r:.300}: no tag after the colon: {EXPECTED}")
    if len(repository) > 255 or not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"{text!r:.300}: a repository is small letters and numbers, with / . _ - between: {EXPECTED}")
    return RemoteReference(host, repository, tag, digest)


def is_tag(text: str) -> bool:
    """Whether a registry takes this as a tag."""
    return _TAG.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether a name can be looked up for this HOST[:PORT]: labels of 1 to 63 letters, as DNS has them, and no user."""
    labels = text.partition(":")[0].removesuffix(".").split(".")
    return "@" not in text and (text.startswith("[") or all(0 < len(label) < 64 for label in labels))


def is_loopback(host: str) -> bool:
    """Whether a host, with or without port, is this machine."""
    name = host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
