"""`join_fleet`: make this machine a device of a fleet, and be it until told to stop."""

from collections.abc import Callable
from pathlib import Path

from splitplace.api.ending import asked_to_end
from splitplace.api.fleet_engine import check_address
from splitplace.api.open_catalog import open_catalog
from splitplace.catalog import Catalog
from splitplace.errors import explained
from splitplace.placement.engines.agent import Agent

DEVICE_DATA = "splitplace-device"
"""In the current folder: where a device keeps what it is, where no other folder is named."""


@explained()
def join_fleet(
    token: str | None = None,
    *,
    data: str | Path = DEVICE_DATA,
    catalog: str | Path | Catalog | None = None,
    address: str | None = None,
    told: Callable[[str], None] = lambda line: None,
    joined: Callable[[str], None] = lambda device: None,
) -> None:
    """Be a device of a fleet until SIGTERM or Ctrl-C; in the main thread.

    The broker and the network may go and come back meanwhile, and so may this machine: what it is lies in a folder.

    Args:
        token: What `Client.invite` gave; without one this machine comes back as what the folder says that it is.
        data: Folder for that, for its key, and for the fragments that it was given; this user's alone.
        catalog: A folder, or oci://HOST/REPOSITORY[:TAG][@DIGEST], that has fragments; what is not there comes from the
            broker, by digest.
        address: Of this machine, where the other devices find it; else the one that leads to the broker.
        told: Is told what changes, a line each.
        joined: Is told which device this machine is, when the fleet answers for the first time.

    Raises:
        UsageError: No token, and the folder knows of no fleet; or what is given is no token, address or folder.
        ForbiddenError: The token was used or is too old; or the device was revoked.
        NotReadyError: Nobody answers at the token's place.
    """
    if address is not None:
        check_address("--address", address)
    found = None if catalog is None else open_catalog(catalog).path
    agent = Agent(Path(data).absolute(), found, address)
    with asked_to_end(agent.stop):
        if token is not None:
            agent.join(token)
        agent.serve(told, joined)
