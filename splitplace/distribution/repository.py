"""One repository of a registry, by the OCI distribution specification 1.1: manifests, tags, referrers, blobs."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic import Field

from splitplace.catalog import oci
from splitplace.catalog.oci import Descriptor, Document
from splitplace.distribution.reference import RemoteReference, is_tag
from splitplace.distribution.transport import Transport
from splitplace.errors import ContractError, IntegrityError

MOST_PAGES = 1000
_LINK = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')

Sent = Callable[[int], None]
"""Told how many more bytes of blobs went over the network."""


@dataclass(frozen=True)
class RemoteManifest:
    """A manifest or index, whose bytes have the digest."""

    media_type: str
    digest: str
    data: bytes


class TagList(Document):
    """A page of a repository's tags."""

    tags: list[str] | None = Field(default_factory=list)


class RawIndex(Document):
    """An index with its entries as they stand, fields of others included."""

    manifests: list[dict[str, Any]] = Field(max_length=20_000)


class Repository:
    """One repository.

    Args:
        transport: To its registry.
        reference: Which; its tag and digest do not matter.
    """

    def __init__(self, transport: Transport, reference: RemoteReference):
        self.transport, self.reference = transport, reference.at()
        transport.repository = reference.repository
        self.base = f"{transport.url}/v2/{reference.repository}"

    def __str__(self) -> str:
        return str(self.reference)

    def manifest(self, name: str) -> RemoteManifest:
        """The manifest or index of a tag or digest.

        Raises:
            NotFoundError: There is none.
            IntegrityError: Its bytes have another digest than was asked for or is stated.
            TooLargeError: It is larger than any of ours may be.
        """
        found = self._checked(name, {200})
        assert found is not None  # 404 is not expected, so refused
        return found

    def find_manifest(self, name: str) -> RemoteManifest | None:
        """The same, or None where there is none."""
        return self._checked(name, {200, 404})

    def _checked(self, name: str, expected: set[int]) -> RemoteManifest | None:
        patience = self.transport.patience
        for attempt in range(1, patience.attempts):
            try:
                return self._ask_manifest(name, expected)
            except IntegrityError:
                patience.wait(attempt - 1)  # docker's 2.8 shows one half while it takes in the same from somebody
        return self._ask_manifest(name, expected)

    def _ask_manifest(self, name: str, expected: set[int]) -> RemoteManifest | None:
        accept = f"{oci.INDEX_TYPE}, {oci.MANIFEST_TYPE}"
        answer = self.transport.call("GET", f"{self.base}/manifests/{name}", expected, {"Accept": accept})
        if answer.status == 404:
            return None
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = oci.digest(answer.data)
        stated = name if ":" in name else answer.headers.get("Docker-Content-Digest", digest)
        if digest != stated:
            raise IntegrityError(
                f"{self}: the manifest {name} has the digest {digest}, expected {stated}: ask who runs the registry"
            )
        return RemoteManifest(media_type, digest, answer.data)

    def digest_of(self, name: str) -> str:
        """What a tag or digest stands for now, by the registry's word; empty where it has none."""
        accept = f"{oci.INDEX_TYPE}, {oci.MANIFEST_TYPE}"
        answer = self.transport.call("HEAD", f"{self.base}/manifests/{name}", {200, 404}, {"Accept": accept})
        if answer.status == 404:
            return ""
        return answer.headers.get("Docker-Content-Digest") or self.manifest(name).digest  # the header may be left out

    def put_manifest(self, name: str, media_type: str, data: bytes) -> None:
        """Store a manifest or index under a tag or its digest.

        Raises:
            IntegrityError: The registry says that it got something else.
        """
        url, digest, patience = f"{self.base}/manifests/{name}", oci.digest(data), self.transport.patience
        for attempt in range(patience.attempts):
            answer = self.transport.call("PUT", url, {201, 400}, {"Content-Type": media_type}, data)
            if answer.status == 201:
                break
            patience.wait(attempt)  # docker's 2.8 refuses one while it takes in the same from somebody else
        else:
            raise self.transport.refused("PUT", answer, answer.data)
        if (stated := answer.headers.get("Docker-Content-Digest", digest)) != digest:
            raise IntegrityError(f"{self}: the registry got {stated}, {digest} was sent: push again")

    def tags(self) -> tuple[str, ...]:
        """Every tag, those of other tools too."""
        found: list[str] = []
        for data, source in self._pages(f"{self.base}/tags/list?n=1000"):
            found += filter(is_tag, TagList.parse(data, source).tags or [])
        return tuple(dict.fromkeys(found))

    def referrers(self, digest: str) -> list[dict[str, Any]] | None:
        """The descriptors of what has this digest as its subject; None where the registry has no such API."""
        url = f"{self.base}/referrers/{digest}"
        answer = self.transport.call("GET", url, {200, 404, 400, 405})
        if answer.status != 200 or answer.headers.get("Content-Type", "").partition(";")[0] != oci.INDEX_TYPE:
            return None
        found: list[dict[str, Any]] = []
        for data, source in self._pages(url):
            found += RawIndex.parse(data, source).manifests
        return found

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self.transport.call("HEAD", f"{self.base}/blobs/{digest}", {200, 404}).status == 200

    def blob_size(self, digest: str) -> int:
        """How many bytes a blob has, by the registry's word.

        Raises:
            NotFoundError: It has none of this digest.
            ContractError: It does not say.
        """
        answer = self.transport.call("HEAD", self.blob(digest), {200})
        stated = answer.headers.get("Content-Length", "")
        if not (stated.isascii() and stated.isdecimal() and len(stated) < 20):
            raise ContractError(f"{self}: the size of the blob {digest} is {stated!r:.40}, expected a Content-Length")
        return int(stated)

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """A small blob, held against what its descriptor states.

        Raises:
            IntegrityError: It is another one.
        """
        data = self.transport.call("GET", self.blob(descriptor.digest), {200}).data
        if (digest := oci.digest(data)) != descriptor.digest or len(data) != descriptor.size:
            raise IntegrityError(
                f"{self}: got {len(data)} bytes with the digest {digest}, expected {descriptor.size} with "
                f"{descriptor.digest}: ask who runs the registry"
            )
        return data

    def blob(self, digest: str) -> str:
        """The URL of a blob."""
        return f"{self.base}/blobs/{digest}"

    def uploads(self, digest: str, source: str = "") -> str:
        """The URL where an upload begins, by taking the blob over from the repository `source` if that has it."""
        mount = f"?mount={quote(digest)}&from={quote(source)}" if source else ""
        return f"{self.base}/blobs/uploads/{mount}"

    def _pages(self, url: str) -> Iterator[tuple[bytes, str]]:
        for _ in range(MOST_PAGES):
            answer = self.transport.call("GET", url, {200})
            yield answer.data, url
            found = _LINK.search(answer.headers.get("Link", ""))
            if not found:
                return
            url = self.transport.joined(url, found[1])
        raise ContractError(f"{url}: the list goes on after {MOST_PAGES} pages: expected fewer")
