"""How a node proves who it is, and what it lets in: CURVE keys between machines, tokens between one user's processes.

On one machine nobody can listen in on a socket file in a folder that only its user may enter, so that what a peer has
to prove is its name: a token that the two of them alone were given. CURVE would encrypt every tensor for nobody: a MiB
takes 1.4 ms of CPU with it and .2 without.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import psutil
import zmq
from pydantic import Field, StringConstraints
from zmq.auth.thread import ThreadAuthenticator

from splitplace.errors import ContractError
from splitplace.placement.protocol.fields import Key, PeerName
from splitplace.records.base import Record

Host = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:]{2,45}$")]
"""An address of this machine, as its network has it: no name, which would have to be looked up."""
Token = Annotated[str, StringConstraints(min_length=32, max_length=64)]
Socket = zmq.Socket[bytes]

MAX_SOCKET_PATH = 107
"""Bytes of a socket file's path that Linux takes."""
_PREFIX = "splitplace-"


class _KnownKeys:
    """Tells ZeroMQ's authenticator which client keys to accept."""

    def __init__(self, keys: frozenset[str]):
        self.keys = keys

    def callback(self, domain: str, key: bytes) -> bool:
        return key.decode() in self.keys


class PatientAuthenticator(ThreadAuthenticator):
    """Tells whom it does not know to try again, as ZeroMQ then does by itself: by then it may be known.

    A refusal for good (400) would end that peer's pipe here, also after its key was admitted. By RFC 27, 300 is a
    refusal for now: the peer's handshake times out, and is made anew.
    """

    def _send_zap_reply(
        self, request_id: bytes, status_code: bytes, status_text: bytes, user_id: str = "anonymous"
    ) -> None:
        for_now = b"300" if status_code == b"400" else status_code
        super()._send_zap_reply(request_id, for_now, status_text, user_id)

    def stop(self) -> None:
        """End its thread; one that has failed would not hear of it, and telling it would wait for ever."""
        if self.pipe is not None and not self.is_alive():
            self.pipe.close(linger=0)
            self.pipe = None  # type: ignore[assignment]  # as pyzmq does
        super().stop()


class CurveAccess(Record):
    """Between machines: whoever connects holds the secret of a key that was given beforehand."""

    encrypts: ClassVar[bool] = True
    kind: Literal["curve"] = "curve"
    public_key: Key
    secret_key: Annotated[Key | None, Field(repr=False)] = None
    """None on its way to a device that made its own: it never leaves that machine (`at_home`)."""
    peers: dict[PeerName, Key]
    """The public key of everyone it may talk to."""
    host: Host = "127.0.0.1"
    """Where its inbox listens, and is found by the others."""

    @property
    def address(self) -> str:
        """Where an inbox listens; the system picks the port."""
        return f"tcp://{bracketed(self.host)}:*"

    def at_home(self, secret_key: str, host: str) -> "CurveAccess":
        """The same on the machine that has the secret."""
        return self.model_copy(update={"secret_key": secret_key, "host": host})

    def knowing(self, peer: str, key: str | None) -> "CurveAccess":
        """The same with another key for a peer; without one, it knows that peer no more."""
        peers = {name: known for name, known in self.peers.items() if name != peer}
        return self.model_copy(update={"peers": peers | ({} if key is None else {peer: key})})

    def admit(self, authenticator: ThreadAuthenticator) -> None:
        """Let its peers in, and nobody else, from the next connection on."""
        authenticator.configure_curve_callback("*", _KnownKeys(frozenset(self.peers.values())))

    def guard(self, inbox: Socket, authenticator: ThreadAuthenticator) -> None:
        """Let only known peers in; before it is bound."""
        assert self.secret_key is not None, "only the machine that has the secret can listen"
        self.admit(authenticator)
        inbox.curve_server = True
        inbox.curve_secretkey, inbox.curve_publickey = self.secret_key.encode(), self.public_key.encode()
        inbox.ipv6 = ":" in self.host

    def call(self, outgoing: Socket, peer: str, endpoint: str) -> None:
        """Connect to a peer, proving who this is and asking the same of it.

        Raises:
            ContractError: No peer of this access, or no endpoint of one.
        """
        _expect(endpoint, "tcp://", peer, self.peers)
        assert self.secret_key is not None, "only the machine that has the secret can connect"
        outgoing.ipv6 = "[" in endpoint
        outgoing.curve_serverkey = self.peers[peer].encode()
        outgoing.curve_publickey, outgoing.curve_secretkey = self.public_key.encode(), self.secret_key.encode()
        outgoing.connect(endpoint)

    def names(self) -> dict[str, str]:
        """Each peer's name by what ZeroMQ says was proven with a message: its key."""
        return {key: name for name, key in self.peers.items()}


class LocalAccess(Record):
    """Between processes of one user on one machine: socket files in a folder of that user's, a token each way."""

    encrypts: ClassVar[bool] = False
    kind: Literal["local"] = "local"
    own: PeerName
    """What its peers know it by."""
    folder: str
    send: Annotated[dict[PeerName, Token], Field(repr=False)]
    """What it proves its name with to each peer."""
    accept: Annotated[dict[PeerName, Token], Field(repr=False)]
    """What each peer proves its name with here."""

    @property
    def address(self) -> str:
        """Where an inbox may listen: a new socket file each time."""
        return f"ipc://{self.folder}/{secrets.token_hex(4)}"

    def guard(self, inbox: Socket, authenticator: ThreadAuthenticator) -> None:
        """Let only known peers in; before it is bound."""
        authenticator.configure_plain("*", dict(self.accept))
        inbox.plain_server = True

    def call(self, outgoing: Socket, peer: str, endpoint: str) -> None:
        """Connect to a peer, proving who this is; that it is the peer the folder says, which nobody else may enter.

        Raises:
            ContractError: No peer of this access, or no endpoint of one.
        """
        _expect(endpoint, f"ipc://{self.folder}/", peer, self.send)
        outgoing.plain_username, outgoing.plain_password = self.own.encode(), self.send[peer].encode()
        outgoing.connect(endpoint)

    def names(self) -> dict[str, str]:
        """Each peer's name by what ZeroMQ says was proven with a message: the name that its token was given for."""
        return {name: name for name in self.accept}


Access = Annotated[CurveAccess | LocalAccess, Field(discriminator="kind")]


def _expect(endpoint: str, start: str, peer: str, known: Container[str]) -> None:
    if peer not in known:
        raise ContractError(f"{peer!r} is none of the peers that this node has access to")
    if not endpoint.startswith(start):
        raise ContractError(f"{peer} listens at {endpoint!r}, expected {start}...")


def bracketed(host: str) -> str:
    """An address as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def new_pair() -> tuple[str, str]:
    """A fresh CURVE key pair: public, secret."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def curve_accesses(names: Iterable[str]) -> dict[str, CurveAccess]:
    """Fresh keys for nodes of these names, who all know each other's."""
    pairs = {name: new_pair() for name in names}
    public = {name: pair[0] for name, pair in pairs.items()}
    return {
        name: CurveAccess(
            public_key=pair[0], secret_key=pair[1], peers={peer: key for peer, key in public.items() if peer != name}
        )
        for name, pair in pairs.items()
    }


def local_accesses(names: Iterable[str], folder: Path) -> dict[str, LocalAccess]:
    """Fresh tokens for nodes of these names, a token each way of each two.

    Args:
        names: Of the nodes.
        folder: Where their socket files lie; of `socket_folder`.
    """
    names = tuple(names)
    tokens = {(src, dst): secrets.token_hex(16) for src in names for dst in names if src != dst}
    return {
        name: LocalAccess(
            own=name,
            folder=str(folder),
            send={dst: token for (src, dst), token in tokens.items() if src == name},
            accept={src: token for (src, dst), token in tokens.items() if dst == name},
        )
        for name in names
    }


def socket_folder() -> Path | None:
    """A new folder that only this user may enter; none where its name is too long for a socket file to lie in it.

    Those of processes that were killed before they could remove theirs are removed.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*-sockets-*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(FileNotFoundError):  # somebody else's sweep may come first
            if owner.isdecimal() and not psutil.pid_exists(int(owner)) and left.stat().st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-sockets-"))
    if len(os.fsencode(folder)) + 10 > MAX_SOCKET_PATH:
        folder.rmdir()
        return None
    return folder


@dataclass(frozen=True, eq=False)
class Accesses:
    """Of nodes that all know each other."""

    by_name: Mapping[str, Access]
    folder: Path | None = None
    """Of their socket files, if they have any."""

    @staticmethod
    def of(names: Iterable[str], same_machine: bool) -> "Accesses":
        """Fresh ones: tokens for processes of this user on this machine, if a socket file can lie here; else keys."""
        folder = socket_folder() if same_machine else None
        return Accesses(curve_accesses(names)) if folder is None else Accesses(local_accesses(names, folder), folder)

    def close(self) -> None:
        """Remove the socket files; once no node uses them."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
