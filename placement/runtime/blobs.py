"""Reads fragments by digest from an OCI image layout's blob folder, and refuses bytes that are not their digest."""

import hashlib
from pathlib import Path

from splitplace.errors import IntegrityError

MAX_BLOB_BYTES = 4 * 2**30


class BlobStore:
    """The blobs of a catalog: `CATALOG/blobs/sha256/HEX`."""

    def __init__(self, catalog: Path):
        self.folder = catalog / "blobs" / "sha256"

    def read(self, digest: str) -> bytes:
        """The blob with this digest, verified.

        Raises:
            IntegrityError: Missing, larger than any fragment may be, or not what its digest says; names the digest.
        """
        path = self.folder / digest.removeprefix("sha256:")
        try:
            size = path.stat().st_size
            if size > MAX_BLOB_BYTES:
                raise IntegrityError(f"{digest}: {size} bytes, expected at most {MAX_BLOB_BYTES}")
            data = path.read_bytes()
        except OSError as error:
            raise IntegrityError(f"{digest}: cannot be read from {self.folder}: {error.strerror}") from error
        actual = "sha256:" + hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise IntegrityError(f"{digest}: damaged, its bytes are {actual}; export the split again")
        return data
