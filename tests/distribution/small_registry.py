"""A registry in memory, by the distribution specification, that can be told to misbehave: `answers` come first.

It keeps every byte of an upload that broke, which docker's 2.8 does not, and has the referrers API if it is asked to.
"""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
Answer = tuple[int, dict[str, str], bytes]


class SmallRegistry:
    """Serves on a loopback port until `close`; every request is noted in `seen`."""

    def __init__(self, *, referrers_api: bool = False, keeps_uploads: bool = True):
        self.referrers_api, self.keeps_uploads = referrers_api, keeps_uploads
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.body_bytes = 0
        """Of all requests."""
        self.before: Callable[[str, str, bytes], Answer | None] = lambda method, path, body: None
        """Asked first; what it answers is answered."""
        self.cut_after: Callable[[str, str], int | None] = lambda method, path: None
        """How much of a request's or an answer's body passes before the connection ends."""
        self.at_cut: Callable[[], object] = lambda: None
        """Called before an answer's connection ends so."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # it waits 40 ms for the acknowledgement of the headers
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                registry.handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _any

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # that a client was cut off is what is tried
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """No more."""
        self._server.shutdown()
        self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        method, size = request.command, int(request.headers.get("Content-Length") or 0)
        self.seen.append((method, request.path, dict(request.headers)))
        limit = self.cut_after(method, request.path) if method in ("PATCH", "PUT") else None
        body = request.rfile.read(size if limit is None else min(limit, size))
        self.body_bytes += len(body)
        if limit is not None and limit < size:
            if method == "PATCH" and self.keeps_uploads:
                self.uploads[request.path.rpartition("/")[2].partition("?")[0]] += body
            request.close_connection = True
            return
        status, headers, data = self.before(method, request.path, body) or self.answer(
            method, request.path, body, dict(request.headers)
        )
        request.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        if method != "HEAD":
            limit = self.cut_after(method, request.path) if method == "GET" else None
            request.wfile.write(data if limit is None else data[:limit])
            if limit is not None and limit < len(data):
                self.at_cut()
                request.close_connection = True

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """What a good registry answers."""
        url = urlsplit(path)
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|referrers|tags)/(.+)", url.path)
        upload = re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", url.path)
        if upload:
            return self._upload(method, upload[1], upload[2], parse_qs(url.query), body, headers)
        if not found:
            return 404, {}, b""
        name, kind, what = found.groups()
        if kind == "manifests":
            return self._manifest(method, name, what, body, headers)
        if kind == "referrers" and self.referrers_api:
            entries = [
                {"mediaType": media_type, "digest": key, "size": len(data), "artifactType": "x"}
                for key, (media_type, data) in self.manifests.get(name, {}).items()
                if ":" in key and json.loads(data).get("subject", {}).get("digest") == what
            ]
            return self._json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
        if kind == "tags" and name in self.manifests:
            return self._json({"name": name, "tags": [key for key in self.manifests[name] if ":" not in key]})
        data = self.blobs.get(name, {}).get(what) if kind == "blobs" else None
        if data is None:
            return self._error(404, "NAME_UNKNOWN")
        start = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        if start:
            at = int(start[1])
            return 206, {"Content-Range": f"bytes {at}-{len(data) - 1}/{len(data)}"}, data[at:]
        return 200, {}, data

    def _manifest(self, method: str, name: str, what: str, body: bytes, headers: dict[str, str]) -> Answer:
        kept = self.manifests.setdefault(name, {}) if method == "PUT" else self.manifests.get(name, {})
        if method == "PUT":
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            kept[digest] = kept[what] = (headers["Content-Type"], body)
            subject = json.loads(body).get("subject", {}).get("digest", "")
            told = {"OCI-Subject": subject} if self.referrers_api and subject else {}
            return 201, {"Docker-Content-Digest": digest, **told}, b""
        if what not in kept:
            return self._error(404, "MANIFEST_UNKNOWN")
        media_type, data = kept[what]
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return 200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, data

    def _upload(
        self, method: str, name: str, key: str, asked: dict[str, list[str]], body: bytes, headers: dict[str, str]
    ) -> Answer:
        if method == "POST":
            mounted = self.blobs.get(asked.get("from", [""])[0], {}).get(asked.get("mount", [""])[0])
            if mounted is not None:
                self.blobs.setdefault(name, {})[asked["mount"][0]] = mounted
                return 201, {}, b""
            key = f"u{len(self.uploads)}"
            self.uploads[key] = bytearray()
            return 202, {"Location": f"/v2/{name}/blobs/uploads/{key}?state=x"}, b""
        if key not in self.uploads:
            return self._error(404, "BLOB_UPLOAD_UNKNOWN")
        kept = self.uploads[key]
        told = {"Location": f"/v2/{name}/blobs/uploads/{key}?state=y", "Range": f"0-{max(len(kept) - 1, 0)}"}
        if method == "GET":
            return 204, told, b""
        if int(headers.get("Content-Range", f"{len(kept)}-").partition("-")[0]) != len(kept):
            return 416, told, b""
        kept += body
        told["Range"] = f"0-{max(len(kept) - 1, 0)}"
        if method == "PATCH":
            return 202, told, b""
        digest = f"sha256:{hashlib.sha256(kept).hexdigest()}"
        if digest != asked["digest"][0]:
            return self._error(400, "DIGEST_INVALID")
        self.blobs.setdefault(name, {})[digest] = bytes(self.uploads.pop(key))
        return 201, {"Docker-Content-Digest": digest}, b""

    def _json(self, document: object, media_type: str = "application/json") -> Answer:
        return 200, {"Content-Type": media_type}, json.dumps(document).encode()

    def _error(self, status: int, code: str) -> Answer:
        return status, {}, json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
