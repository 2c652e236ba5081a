"""A blob into a repository, in pieces: what the registry has already is not sent again.

How much a registry keeps of an upload whose connection broke is its own affair: some keep every byte, docker's 2.8
every whole piece, but nothing where it broke in the middle of one. It is asked where it stands, and it is believed.
"""

import re
from pathlib import Path
from urllib.parse import quote

from splitplace.catalog.oci import MAX_MODEL_BYTES
from splitplace.distribution.replies import BusyError, Reply, UnreachableError, WholeReply, after_s
from splitplace.distribution.repository import Repository, Sent
from splitplace.errors import IntegrityError

PIECE_BYTES = 4 * 2**20
"""Of one request; also what is held in memory."""


def upload(repository: Repository, path: Path, digest: str, sent: Sent, mount_from: str = "") -> bool:
    """Bring a blob into a repository; whether it was not there before.

    Args:
        repository: Where to.
        path: The file with its bytes, which have the digest.
        digest: Of them.
        sent: Told of bytes that went out.
        mount_from: A repository of the same registry that may have the blob, so that no byte need be sent.

    Raises:
        SplitPlaceError: The registry refuses it, or cannot be reached for as long as patience goes.
    """
    if repository.has_blob(digest):
        return False
    _Upload(repository, path, digest, sent, mount_from).run()
    return True


class _Upload:
    """One blob's way; `location` is where it goes on, `offset` how much of it is there."""

    def __init__(self, repository: Repository, path: Path, digest: str, sent: Sent, mount_from: str):
        self.repository, self.transport = repository, repository.transport
        self.path, self.digest, self.sent, self.mount_from = path, digest, sent, mount_from
        self.size = path.stat().st_size
        self.location, self.offset, self.piece, self.began = "", 0, PIECE_BYTES, False

    def run(self) -> None:
        """Until it is there; patience begins anew with every piece that arrives."""
        patience, attempt, furthest = self.transport.patience, 0, 0
        while True:
            try:
                if self._go_on():
                    return
            except (UnreachableError, BusyError) as error:
                if self.offset > furthest:
                    attempt, furthest = 0, self.offset
                attempt += 1
                if attempt >= patience.attempts:
                    raise type(error)(f"{error}: {patience.then}") from error
                patience.wait(attempt - 1, after_s(error))

    def _go_on(self) -> bool:
        """From where the registry stands to the end; True when the blob is there."""
        if self.location:
            self._ask_where()
        if not self.location and ((self.began and self.repository.has_blob(self.digest)) or self._begin()):
            return True
        with self.path.open("rb") as file:
            while True:
                file.seek(self.offset)
                data = file.read(self.piece)
                if self.offset + len(data) >= self.size:
                    self._end(data)
                    return True
                self._send(data)

    def _begin(self) -> bool:
        """A new upload; True where the registry took the blob over from another repository."""
        self.began = True
        url = self.repository.uploads(self.digest, self.mount_from)
        answer = self.transport.call("POST", url, {201, 202})
        if answer.status == 201:
            return True
        self.offset = 0
        self.location = self.transport.joined(url, answer.headers.get("Location", ""))
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdecimal() and len(least) < 12:
            self.piece = min(max(PIECE_BYTES, int(least)), MAX_MODEL_BYTES)
        return False

    def _ask_where(self) -> None:
        """Where a broken upload stands; nowhere if the registry has forgotten it."""
        answer = self.transport.call("GET", self.location, {204, 404, 400, 410, 416})
        if answer.status == 204:
            self._arrived(answer, "")
        else:
            self.location, self.offset = "", 0

    def _send(self, data: bytes) -> None:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{self.offset}-{self.offset + len(data) - 1}",
        }
        with self.transport.exchange("PATCH", self.location, headers, data) as reply:
            said = reply.read_whole(2**16)
            self._check_known(reply)
            if reply.status != 202:
                raise self.transport.refused("PATCH", reply, said)
            self.sent(len(data))
            before = self.offset
            self._arrived(reply, f"0-{self.offset + len(data) - 1}")
            if self.offset <= before:
                raise UnreachableError(f"{self.repository}: the registry kept nothing of a piece of {self.digest}")

    def _arrived(self, answer: Reply | WholeReply, unstated: str) -> None:
        found = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,10})", answer.headers.get("Range", unstated).strip())
        last = int(found[1]) if found else 0
        self.offset = last + 1 if last else 0  # 0-0 is also what some say of nothing
        if self.offset > self.size:
            raise IntegrityError(f"{self.repository}: has {self.offset} bytes of {self.digest}, there are {self.size}")
        if location := answer.headers.get("Location"):
            self.location = self.transport.joined(answer.url, location)

    def _end(self, data: bytes) -> None:
        url = f"{self.location}{'&' if '?' in self.location else '?'}digest={quote(self.digest)}"
        headers = {"Content-Type": "application/octet-stream"}
        with self.transport.exchange("PUT", url, headers, data) as reply:
            said = reply.read_whole(2**16)
            self._check_known(reply)
            if reply.status == 400 and b"DIGEST_INVALID" in said:
                raise IntegrityError(f"{self.repository}: the registry got other bytes than {self.digest}: push again")
            if reply.status != 201:
                raise self.transport.refused("PUT", reply, said)
            self.sent(len(data))
            stated = reply.headers.get("Docker-Content-Digest", self.digest)
        if stated != self.digest:
            raise IntegrityError(f"{self.repository}: the registry got {stated}, {self.digest} was sent: push again")

    def _check_known(self, reply: Reply) -> None:
        """Of an upload that the registry has forgotten, or has elsewhere than we think."""
        if reply.status == 404:
            self.location, self.offset = "", 0
        if reply.status in (404, 416):
            raise UnreachableError(f"{self.repository}: the registry lost the upload of {self.digest}")
