"""A connection to a Ray cluster, within a bounded time, for a process that has nothing else to do."""

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from splitplace.errors import SplitPlaceError
from splitplace.placement.protocol.fields import text

CONNECT_S, CLIENT_S = 120.0, 300.0
"""How long a cluster may take to answer; and through its client server, which starts a process for each client: beside
what keeps all cores busy that alone took over a minute."""
MOST_STARTS = 3
"""Of the process that Ray starts for a client."""


def connect(ray: Any, address: str, ended: Callable[[str], None]) -> None:
    """Ray itself would wait for minutes where nobody answers: then this process ends.

    Args:
        ray: The module.
        address: Of the cluster, as Ray takes it.
        ended: Is told why, before that.

    Raises:
        SplitPlaceError: There is no cluster.
    """
    none = (
        f"no Ray cluster answers at {address}: start one (ray start --head, and ray start --address=HEAD:6379 on its "
        "nodes), or set RAY_ADDRESS to the one that is meant"
    )

    patience_s = CLIENT_S if address.startswith("ray://") else CONNECT_S

    def give_up() -> None:
        ended(f"{none}; waited {patience_s:.0f} s")
        os._exit(0)

    watch = threading.Timer(patience_s, give_up)
    watch.daemon = True
    watch.start()
    try:
        place = urlsplit(address if "://" in address else f"ray://{address}")
        if place.port is not None and place.hostname:
            socket.create_connection((place.hostname, place.port), patience_s / 2).close()
        start_client(ray, address)
    except OSError as error:
        raise SplitPlaceError(f"{none} ({text(error)[:200]})") from error
    watch.cancel()


def start_client(ray: Any, address: str) -> None:
    """Connect; through Ray's client server, which starts a process for each client, not by the first alone.

    That process may end as it begins: its port is looked for, and not held, before it takes it.

    Raises:
        OSError: As Ray says it.
    """
    for left in reversed(range(MOST_STARTS if address.startswith("ray://") else 1)):
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except ConnectionError:
            if not left:
                raise
            ray.shutdown()
            time.sleep(random.uniform(0.5, 2.0))  # noqa: S311 - two that were in each other's way part
        else:
            return
