"""What a client may ask of the front door, in numbers; each is held before the work that it bounds."""

from dataclasses import dataclass

from splitplace.open_files import allow_open_files


@dataclass(frozen=True)
class Limits:
    """Bounds of one front door. Sizes in bytes, times in seconds."""

    connections: int = 2_000
    """Open at once, of as many as `open_files` allows; one more is closed, before any TLS."""
    requests: int = 1_000
    """Under way at once, of those who may come in; one more is told to come again."""
    head_bytes: int = 2**16
    """Request line and headers."""
    head_s: float = 10.0
    """From the first byte of a request, or from the connection, to the last byte of its headers; a TLS handshake has as
    long."""
    idle_s: float = 60.0
    """Between two requests of one connection."""
    body_bytes: int = 2**28
    """Of one request, as it comes in and again when it is decompressed."""
    body_s: float = 120.0
    """For all of it; over gRPC for a message."""
    still_s: float = 15.0
    """Between two pieces of one body."""
    form_s: float = 5.0
    """For all of the form by which a browser hands in its token: who sends it has shown none yet."""
    message_bytes: int = 2**25
    """Of one message over gRPC; larger tensors are sent over HTTP."""
    streams: int = 32
    """Over gRPC, open at once; in each a message may be read."""
    streams_of_one: int = 8
    """Of one token."""
    stream_s: float = 600.0
    """Between two requests of a stream of which no answer is waited for."""
    chunks: int = 2**16
    """Of one chunked body."""
    coming_bytes: int = 2**30
    """Of all requests whose task the fleet has not taken yet."""
    json_bytes: int = 2**23
    """The JSON part of a request; larger tensors are sent as binary data."""
    json_lists: int = 2**17
    """Lists and objects in it: each takes some 90 bytes where two stood for it."""
    outputs: int = 8
    """That one request may ask for."""
    images: int = 256
    """Files of one request."""
    send_s: float = 30.0
    """For a client to take one piece of an answer."""
    fleet_s: float = 5.0
    """For the fleet to say how it is, and what takes it as long; beyond that it is not ready."""
    status_s: float = 0.1
    """How long its word on that is taken for true, however many ask."""
    deadline_s: float = 60.0
    """Of a request that states none."""
    wait_s: float = 60.0
    """That a client may ask to wait for a task."""
    watchers: int = 16
    """Pages that are told of the fleet at once."""
    watchers_of_one: int = 4
    """Of one token."""
    ids: int = 10_000
    """Requests by `id` that are remembered with what they said, the newest."""


def open_files(connections: int) -> int:
    """How many connections there may be at once: half of the files that this process may have open.

    The other half is for what is its own: its disk, its devices, its programs on this machine.

    Args:
        connections: That there should be at most.
    """
    return min(connections, allow_open_files(2 * connections) // 2)
