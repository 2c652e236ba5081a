"""What was measured of a split, beside it in a registry: by the referrers API, or by tags where there is none.

The distribution specification's way without the API is one index under the tag `sha256-HEX` of the subject, which
every writer reads, adds to and writes back. Registries have no compare-and-swap: of two who write at once, one is lost.
So each referrer is first given a tag of its own, `sha256-HEX.OWN`, which nobody else writes; then the index is written
until it holds all that have one. Whoever wrote the index last has looked after that, so when all writers are done it is
whole: had it lacked a referrer, the last one to look would have written again. A writer who dies in between leaves its
tag; readers go by tags and index together, and the next writer puts the index right.
"""

import logging
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from splitplace.catalog import oci
from splitplace.catalog.layout_writer import canonical
from splitplace.catalog.oci import Descriptor, Index, Manifest
from splitplace.distribution.repository import RawIndex, Repository
from splitplace.errors import IntegrityError, OverloadedError, first_problem

_log = logging.getLogger(__name__)

_OWN_LETTERS = 32
"""Of a referrer's digest, in its own tag: a tag has 128 at most."""


def fallback_tag(subject: str) -> str:
    """The tag of a subject's index of referrers, by the distribution specification."""
    return subject.replace(":", "-")


def own_tag(subject: str, referrer: str) -> str:
    """The tag that one referrer has for itself."""
    return f"{fallback_tag(subject)}.{referrer.partition(':')[2][:_OWN_LETTERS]}"


def is_bookkeeping(tag: str) -> bool:
    """Whether a tag is one of these (or of another tool's signatures), and so no split's."""
    return tag.startswith("sha256-")


class Referrers:
    """The referrers in one repository."""

    def __init__(self, repository: Repository):
        self.repository = repository

    def push(self, subject: str, manifests: Sequence[bytes]) -> None:
        """Store manifests with this `subject`, so that whoever asks for its referrers finds them.

        Raises:
            SplitPlaceError: The registry refuses one.
        """
        listed = self.repository.referrers(subject)
        there = {entry.get("digest") for entry in listed or ()}
        for data in manifests:
            digest = oci.digest(data)
            name = own_tag(subject, digest) if listed is None else digest
            if digest not in there and self.repository.digest_of(name) != digest:
                self.repository.put_manifest(name, oci.MANIFEST_TYPE, data)
        if listed is None:
            self._complete(subject)

    def find(self, subject: str) -> list[Descriptor]:
        """What refers to this digest, in no particular order, without what no descriptor of ours can be.

        Raises:
            IntegrityError: A list that is none.
        """
        entries = self.repository.referrers(subject)
        if entries is None:
            entries = self._in_index(subject)
            entries += self._missing(subject, entries)
        found = []
        for entry in entries:
            try:
                found.append(Descriptor.model_validate(entry))
            except ValidationError as error:  # somebody else's: by sha512, or without a media type
                _log.warning("left out: %s: a referrer of %s: %s", self.repository, subject, first_problem(error))
        return found

    def _complete(self, subject: str) -> None:
        """Write the index until it holds every referrer that has a tag of its own."""
        patience = self.repository.transport.patience
        for attempt in range(100):
            entries = self._in_index(subject)
            missing = self._missing(subject, entries)
            if not missing:
                return
            index = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": entries + missing}
            try:
                data = canonical(index).encode()
            except ValueError as error:
                raise IntegrityError(
                    f"{self.repository}:{fallback_tag(subject)}: a list with NaN or infinity, expected JSON: delete it"
                ) from error
            if len(data) > oci.MAX_JSON_BYTES:
                raise OverloadedError(
                    f"{self.repository}: {subject} has {len(entries)} referrers: too many for one list"
                )
            Index.parse(data, "the new list of referrers")
            self.repository.put_manifest(fallback_tag(subject), oci.INDEX_TYPE, data)
            if attempt > 3:
                patience.wait(0)
        raise OverloadedError(
            f"{self.repository}: others write the referrers of {subject} all the time: push again later"
        )

    def _in_index(self, subject: str) -> list[dict[str, Any]]:
        found = self.repository.find_manifest(fallback_tag(subject))
        return RawIndex.parse(found.data, f"{self.repository}:{fallback_tag(subject)}").manifests if found else []

    def _missing(self, subject: str, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The entries of those that have a tag of their own and are not in the index."""
        listed = {own_tag(subject, str(entry.get("digest"))) for entry in entries}
        prefix = fallback_tag(subject) + "."
        own = [
            tag for tag in self.repository.tags() if tag.startswith(prefix) and len(tag) == len(prefix) + _OWN_LETTERS
        ]
        return [entry for tag in sorted(set(own) - listed) if (entry := self._entry(subject, tag))]

    def _entry(self, subject: str, tag: str) -> dict[str, Any] | None:
        """How an index tells of a referrer; None for a tag that is not what it looks like."""
        found = self.repository.find_manifest(tag)
        if found is None or found.media_type != oci.MANIFEST_TYPE or own_tag(subject, found.digest) != tag:
            return None
        try:
            manifest = Manifest.parse(found.data, f"{self.repository}:{tag}")
        except IntegrityError as error:
            _log.warning("left out: %s", error)
            return None
        if manifest.subject is None or manifest.subject.digest != subject:
            return None
        return {
            "mediaType": oci.MANIFEST_TYPE,
            "digest": found.digest,
            "size": len(found.data),
            "artifactType": manifest.artifactType or manifest.config.mediaType,
        }
