"""Broker and devices of different versions: refused at the hello, in one sentence that says which side is older."""

import json

import pytest
import zmq

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.placement.broker.broker import Broker
from splitplace.placement.protocol import codec, fields, messages
from splitplace.placement.protocol.keys import Accesses

HELLO = messages.Hello(
    protocol=messages.PROTOCOL,
    endpoint="tcp://127.0.0.1:1",
    pid=1,
    cpu_share=1.0,
    cpu_share_method="none",
    rss_bytes=0,
)


def hello(**changes):
    """The header of a hello with other fields; one that is None is left out."""
    document = json.loads(codec.encode(HELLO)[0]) | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


OURS = messages.PROTOCOL
OTHERS = [
    ({"protocol": None, "rss_bytes": None}, f"from before versions, the broker protocol {OURS}: update the device"),
    ({"protocol": 0}, f"from before versions, the broker protocol {OURS}: update the device"),
    ({"protocol": 1}, f"protocol 1, the broker protocol {OURS}: update the device"),
    ({"protocol": OURS + 1}, f"protocol {OURS + 1}, the broker protocol {OURS}: update the broker"),
    ({"protocol": OURS + 2, "gpus": [1]}, f"protocol {OURS + 2}, the broker protocol {OURS}: update the broker"),
]


def test_our_own_version_is_heard():
    """As encoded by this very version."""
    assert codec.decode(codec.encode(HELLO)) == (HELLO, {})


@pytest.mark.parametrize(("changes", "said"), OTHERS)
def test_another_version_says_which_side_is_older(changes, said):
    """Whatever else such a hello holds or lacks; none at all is the oldest."""
    with pytest.raises(ContractError, match=f"^the device speaks .*{said}, it is older$"):
        codec.decode([hello(**changes)])


@pytest.mark.parametrize("changes", [{"protocol": "1"}, {"protocol": -1}, {"protocol": True}, {"pid": 0}, {"more": 1}])
def test_a_broken_hello_is_not_called_old(changes):
    """A version that is no whole number, or a field of this version that is wrong: no message of ours."""
    with pytest.raises(SplitPlaceError, match="not a message"):
        codec.decode([hello(**changes)])


class Impostor:
    """An engine whose devices are of another version: their first words, over a real connection, are these."""

    name = "impostor"
    same_machine = False

    def __init__(self, header):
        self.header, self.context = header, zmq.Context()

    def accesses(self, names):
        """Keys made here."""
        return Accesses.of(names, same_machine=False)

    def launch(self, config):
        """Speak up as this device, with its access."""
        socket = self.context.socket(zmq.PUSH)
        config.access.call(socket, fields.BROKER, config.broker_endpoint)
        socket.send_multipart([self.header])

    def events(self):
        """Nothing ever ends."""
        return []

    def stop(self, device, timeout_s=5.0):
        """Nothing runs."""


@pytest.mark.parametrize(("changes", "said"), OTHERS)
def test_a_fleet_does_not_come_up_with_another_version(toy, catalog, changes, said):
    """The error names the device, at once and not after the time a device may take to start."""
    graph, engine = toy.chain(), Impostor(hello(**changes))
    broker = Broker([toy.make_device("old")], toy.demand_of(graph), catalog(graph), toy.policy(0), engine)
    with pytest.raises(SplitPlaceError, match=f"^device old did not start: the device speaks .*{said}"), broker:
        pytest.fail("it came up")
    engine.context.destroy(linger=0)
