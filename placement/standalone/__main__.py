"""The process of an image: serves what lies at /models until SIGTERM, or asks one that does how it is (`--health`).

    python -m splitplace.placement.standalone [--host H] [--port P] [--models DIR] [--name N] [--threads T]

As the first process of a container it is ended by no signal that it does not take: so it does from its first line on.
"""

# ruff: noqa: E402 - before whatever takes time to load
import os
import signal

for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: os._exit(0))

import sys
from argparse import ArgumentParser, Namespace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NoReturn

MODULE = "splitplace.placement.standalone"
HOST, PORT, MODELS = "0.0.0.0", 8000, Path("/models")  # noqa: S104 - a container's own address
FIRST_PROCESS = Path("/proc/1/cmdline")
"""Of a container the process that serves, or one that started it."""
HEALTH_S = 5.0
LAST_WORDS_S = 0.5
"""How long requests under way may go on after SIGTERM: whoever stops a container waits for it."""


def main() -> NoReturn:
    """Serve, or ask how the one who serves is."""
    asked = _arguments(sys.argv[1:])
    sys.exit(_health(asked) if asked.health else _serve(asked))


def _arguments(words: list[str]) -> Namespace:
    parser = ArgumentParser(MODULE, description="Serve a split or a fragment over HTTP.")
    parser.add_argument("--host", default=HOST, help="address to listen on")
    parser.add_argument("--port", type=int, help=f"{PORT} by default, 0 takes a free one; of --health, the container's")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of the models")
    parser.add_argument("--name", default="", help="what the model is called; its application or fragment by default")
    parser.add_argument("--threads", type=int, default=1, help="onnxruntime threads")
    parser.add_argument("--micro-batch", type=int, default=64, help="samples at once")
    parser.add_argument("--health", action="store_true", help="exit 0 if the server at this port is ready")
    return parser.parse_args(words)


def _container_port() -> int:
    """Where this container's server listens, by the command that started it: an image's health check names no port."""
    try:
        words = FIRST_PROCESS.read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return PORT
    served = _arguments(words[words.index(MODULE) + 1 :]) if MODULE in words else None
    return PORT if served is None or served.port is None else int(served.port)


def _health(asked: Namespace) -> int:
    port = _container_port() if asked.port is None else asked.port
    connection = HTTPConnection("127.0.0.1", port, timeout=HEALTH_S)
    try:
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return _fail(f"no answer at port {port}: {error}", 1)
    return 0 if status == 200 else _fail(f"port {port} answers {status}, expected 200", 1)


def _fail(said: str, code: int) -> int:
    sys.stderr.write("splitplace: " + " ".join(said.split()) + "\n")
    return code


def _serve(asked: Namespace) -> int:
    import logging
    import threading
    from importlib.metadata import version

    from splitplace.errors import SplitPlaceError, UsageError, explained
    from splitplace.placement.http.server import HttpServer
    from splitplace.placement.standalone.app import StandaloneApp
    from splitplace.placement.standalone.models_folder import load_models

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    stopping = threading.Event()
    try:
        with explained():
            if asked.threads < 1 or asked.micro_batch < 1:
                raise UsageError("--threads and --micro-batch: expected at least 1 of each")
            loaded = load_models(asked.models, asked.name, asked.threads, asked.micro_batch)
            app = StandaloneApp(loaded, version("splitplace"))
            port = PORT if asked.port is None else asked.port
            with HttpServer(app, asked.host, port, last_words_s=LAST_WORDS_S) as server:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda *_: stopping.set())
                print(f"{loaded.model.name} at {server.url}", flush=True)
                stopping.wait()
    except SplitPlaceError as error:
        return _fail(str(error), error.exit_code)
    sys.stdout.flush()
    os._exit(0)  # not through the interpreter's own exit, which would wait for a run that goes on


if __name__ == "__main__":
    main()
