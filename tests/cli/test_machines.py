"""Machines that join, from the command line: a token, a task, a broker that is killed, one that is put out."""

import json
import os
import signal
import time

import pytest

from tests.cli.test_fleet import PATIENCE_S, SUBMIT, catalog, room  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow


def state(room):  # noqa: F811
    """Of the first device."""
    return room.call("fleet", "status")["devices"][0]


def test_a_machine_joins_serves_outlives_a_broker_and_is_put_out(room):  # noqa: F811
    """One token for one machine; without one it comes back; revoked, it ends with one line, and cannot."""
    started = room.start({"--engine": "joined"})
    device = started["devices"][0]
    told = room.call("fleet", "invite", device)
    assert told["device"] == device and state(room)["machine"] == "absent"
    shown, _ = room.popen("fleet", "status").communicate(timeout=PATIENCE_S)
    assert "engine joined" in shown
    machine = room.popen("fleet", "join", told["token"], "--data", "machine", "--json")
    try:
        assert json.loads("".join(iter(machine.stdout.readline, "}\n")) + "}")["device"] == device
        assert room.call(*SUBMIT)["outcome"]["error"] is None
        status = room.call("fleet", "status")
        assert status["engine"] == "joined" and status["devices"][0]["machine"] == "here"
        assert "was used" in room.call("fleet", "join", told["token"], "--data", "other", code=77)
        os.kill(started["pid"], signal.SIGKILL)
        room.start({"--engine": "joined"})
        assert room.call(*SUBMIT)["outcome"]["error"] is None
        assert machine.poll() is None
        room.call("fleet", "revoke", device)
        end_s = time.monotonic() + PATIENCE_S
        while state(room)["up"]:  # until the broker has heard that its machine has gone
            assert time.monotonic() < end_s
        _, err = machine.communicate(timeout=PATIENCE_S)
        assert machine.returncode == 77 and "splitplace: revoked: this machine is no device of that fleet now" in err
        assert "has joined no fleet" in room.call("fleet", "join", "--data", "machine", code=2)
    finally:
        machine.kill()


def test_what_joins_nobody_says_so(room):  # noqa: F811
    """A fleet of this machine's processes takes no machine; an unknown device has no token; an address is one."""
    room.start()
    device = room.call("fleet", "status")["devices"][0]["name"]
    assert "nobody joins" in room.call("fleet", "invite", device, code=2)
    assert "nobody joins" in room.call("fleet", "revoke", device, code=2)
    for address, said in (("::", "name one of its addresses"), ("here", "expected an address of this machine")):
        assert said in room.start({"--engine": "joined", "--listen": address, "--data": "other"}, code=2)
    assert "leave it out" in room.start({"--listen": "10.0.0.1", "--data": "other"}, code=2)


def test_a_device_that_nobody_was_yet_is_waited_for(room):  # noqa: F811
    """A task that comes before the first machine is answered when one joins."""
    device = room.start({"--engine": "joined"})["devices"][0]
    task = room.popen(*SUBMIT, "--json")
    time.sleep(0.5)
    machine = room.popen("fleet", "join", room.call("fleet", "invite", device)["token"], "--data", "machine")
    try:
        _, err = task.communicate(timeout=PATIENCE_S)
        assert task.returncode == 0, err
    finally:
        machine.terminate()
        assert machine.wait(PATIENCE_S) == 0
