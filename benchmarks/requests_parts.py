"""What generated requests are made of: whose model is asked, one request, and bytes that are not what they were."""

import random
from dataclasses import dataclass

import numpy as np

from splitplace.benchmarks import serve_models

MODEL, OTHER = "small", "10mb"
"""Who is asked, and who may be taken out of service."""
SHAPE = serve_models.SHAPES[MODEL]
IMAGE_BYTES = int(np.prod(SHAPE))
INFER = f"/v2/models/{MODEL}/infer"
HEADER_LENGTH = "inference-header-content-length"
PUT = (b"", b"", b"", b"\r\n", b"\0", b"\r\n\r\n", b": ", b"HTTP/1.1", b"9" * 30)
"""Among bytes; nothing stands for any."""


@dataclass(frozen=True)
class GeneratedRequest:
    """One request."""

    kind: str
    data: bytes
    """All that its client says."""
    method: str = "POST"
    """Of HTTP: what is asked with HEAD has no body."""
    logits: bytes = b""
    """What a valid one is answered, float32; empty: nobody knows."""
    patient: bool = False
    """Whether its client waits for as long as the server does."""
    path: str = ""
    """Of gRPC, as `metadata`."""
    metadata: tuple[tuple[str, str], ...] = ()


def logits_of(images: bytes) -> bytes:
    """What the model answers, float32."""
    x = np.frombuffer(images, np.uint8).reshape(-1, *SHAPE)
    return serve_models.answer(x).tobytes()


def changed(rng: random.Random, data: bytes) -> bytes:
    """Bytes cut, put in and replaced."""
    for _ in range(rng.randint(1, 3)):
        at, cut = rng.randrange(len(data) + 1), rng.choice((0, 0, 1, 1, 2, 20, 500))
        put = rng.choice(PUT) or rng.randbytes(rng.randint(0, 20))
        data = data[:at] + put + data[at + cut :]
    return data
