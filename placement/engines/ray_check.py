"""What Ray must have before anybody talks to it, and what it says that it lacks, in a sentence. Ray is not imported."""

import os
import platform
from pathlib import Path

from splitplace.errors import UsageError
from splitplace.extras import needs
from splitplace.placement.protocol.fields import text

OTHER_VERSION, NO_NODE = "Version mismatch", "when trying to resolve node to connect to"
"""What Ray says where a machine has another Ray or Python than its head; and where it runs no node."""
PORTS = "6379, 10001, and all that `ray start` lets float (--node-manager-port, --min-worker-port and the like)"


def check_ray(what: str) -> None:
    """Refuse where Ray is not installed, or would let in whoever reaches its ports.

    Args:
        what: Needs it, as the subject of a sentence.

    Raises:
        MissingExtraError: It is not installed.
        UsageError: There is no token.
    """
    needs(what, "ray")
    if not has_token():
        raise UsageError(
            "Ray without a token runs any code for whoever reaches its ports, which listen on every interface: set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or ~/.ray/auth_token) on the head, on all nodes and here, and "
            f"keep ports {PORTS} from other networks"
        )


def ray_problem(error: BaseException) -> str:
    """What Ray raised, on a line; the usual two in a sentence of ours."""
    said = text(error)
    if OTHER_VERSION.lower() in said.lower():
        return (
            f"the cluster has another Ray or Python than this machine's {platform.python_version()}, expected the same "
            f"patch version of both on all machines: {said[:300]}"
        )
    if NO_NODE in said:
        return (
            "this machine is no node of the Ray cluster: start one here (ray start --address=HEAD:6379, no label), or "
            "set RAY_ADDRESS=ray://HEAD:10001, by the head's client server (pip install 'ray[client]' there and here)"
        )
    return said[:500]


def has_token() -> bool:
    """Whether Ray, as it is set here, asks for a token and has one; what it does unasked differs between versions."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return False
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).is_file()
