"""The Ray bench's network: nodes in network namespaces of their own, on a bridge of this machine; links can be cut.

A cut is of one direction, and a black hole: what a node sends to another goes to a hardware address that nobody has.
Nothing is refused, and nobody is told. A link may be given a rate, each way, by a token bucket (tbf). Takes Linux and
its root; where that is not to be had, links are left whole.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from splitplace.errors import NotReadyError

Pair = tuple[str, str]
"""Who sends, and to whom."""

HERE = ""
"""In place of a node's name: this machine, where head and broker are."""
NOBODY = "02:00:00:00:00:01"
"""A hardware address that no card here has."""
IP_S = 20.0
PAYLOAD = 1448 / 1514
"""Of the bytes of a full frame, what TCP carries: the rest are the headers of Ethernet, IP and TCP with timestamps."""
BURST_BYTES, QUEUED_S = 65_536, 0.4
"""What a link that was idle lets through at once, which is one segment that the card is to cut up, and what waits at it
before it drops: more than the windows of all connections."""


class NodeNetwork:
    """Of some nodes, each at an address of its own; this machine is at `here`.

    Args:
        nodes: Their names.

    Raises:
        NotReadyError: This machine or its user may have no such network.
    """

    def __init__(self, nodes: Sequence[str]):
        self._bridge = f"sp{os.getpid()}"
        self._spaces = {node: f"{self._bridge}-{row}" for row, node in enumerate(nodes)}
        self._subnet = f"198.18.{os.getpid() % 256}"  # for benchmarks of networks (RFC 2544), and for nothing else
        self.here = f"{self._subnet}.1"
        self.addresses = {node: f"{self._subnet}.{row + 2}" for row, node in enumerate(nodes)}
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.here}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for row, (node, space) in enumerate(self._spaces.items()):
            _ip("netns", "add", space)
            _ip("link", "add", self._card(row), "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", self._card(row), "master", self._bridge, "up")
            _ip("-n", space, "address", "add", f"{self.addresses[node]}/24", "dev", "eth0")
            for card in ("lo", "eth0"):
                _ip("-n", space, "link", "set", card, "up")

    def _card(self, row: int) -> str:
        """This machine's end of a node's cable."""
        return f"{self._bridge}v{row}"

    def close(self) -> None:
        """Remove it; nothing may run on its nodes any more."""
        for row, space in enumerate(self._spaces.values()):
            _ip("link", "delete", self._card(row), check=False)  # by itself it goes some time after the namespace
            _ip("netns", "delete", space, check=False)
        _ip("link", "delete", self._bridge, check=False)

    def within(self, node: str) -> list[str]:
        """What goes before a command that is to run on a node."""
        return [_program(), "netns", "exec", self._spaces[node]]

    def behind_link_of(self, node: str) -> list[str]:
        """The same for one that is to have a node's network and, unlike `within`, see all mounts: cgroups too.

        Raises:
            NotReadyError: There is no command for that here.
        """
        return [_program("nsenter"), f"--net=/run/netns/{self._spaces[node]}"]

    def limit(self, bytes_per_s: float) -> None:
        """Let every node's link carry so much each way, of what TCP is given; in place of an earlier rate.

        Raises:
            NotReadyError: This kernel has no tbf, or there is no command to set it.
        """
        rate = f"{round(bytes_per_s / PAYLOAD)}bps"  # which is bytes, to tc
        shape = ("root", "tbf", "rate", rate, "burst", f"{BURST_BYTES}", "latency", f"{QUEUED_S}s")
        for row, space in enumerate(self._spaces.values()):
            _tc("qdisc", "replace", "dev", self._card(row), *shape)
            _tc("-n", space, "qdisc", "replace", "dev", "eth0", *shape)

    @contextmanager
    def cut(self, pairs: Sequence[Pair]) -> Iterator[None]:
        """Nothing of what these nodes send to those, or to this machine, arrives, as long as it lasts."""
        places = self.addresses | {HERE: self.here}
        for src, dst in pairs:
            self._on(src, "replace", places[dst], "lladdr", NOBODY, "nud", "permanent")
        try:
            yield
        finally:
            for src, dst in pairs:
                self._on(src, "delete", places[dst])

    def _on(self, node: str, change: str, address: str, *to: str) -> None:
        _ip("-n", self._spaces[node], "neighbour", change, address, *to, "dev", "eth0")


@contextmanager
def node_network(nodes: Sequence[str]) -> Iterator[NodeNetwork | None]:
    """The network for these nodes, as long as it lasts; none where it is not to be had."""
    try:
        network = NodeNetwork(nodes)
    except NotReadyError:
        yield None
        return
    try:
        yield network
    finally:
        network.close()


def _ip(*arguments: str, check: bool = True) -> None:
    _call("ip", arguments, check)


def _tc(*arguments: str) -> None:
    _call("tc", arguments, check=True)


def _call(name: str, arguments: Sequence[str], check: bool) -> None:
    done = subprocess.run([_program(name), *arguments], capture_output=True, text=True, timeout=IP_S, check=False)
    if check and done.returncode:
        raise NotReadyError(f"{name} {' '.join(arguments)}: {done.stderr.strip()}")


def _program(name: str = "ip") -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise NotReadyError(f"there is no command {name} here")
    return found
