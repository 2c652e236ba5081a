"""Who is no client of ours, is slow, or says too much, is shown out in a sentence and holds up nobody."""

import os
import socket

import pytest

from splitplace.errors import OverloadedError
from splitplace.placement.serve import door as door_module
from splitplace.placement.serve import requests
from splitplace.placement.serve import visit as visit_module
from splitplace.placement.serve.client import Client
from tests.placement.serve.conftest import PATIENCE_S

LINE = {"dtype": "uint8", "shape": [4, 1, 2, 2]}
SUBMIT = {"type": "submit", "request": 2, "tensors": [LINE], "application": "pixels", "deadline_s": 1.0}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"type": "status", "request": 1}, "a status before any knock"),
        ({"type": "knock", "request": 1}, "knock.version: Field required"),
        (b"\x80\x04K\x01.", "no message of ours"),
        (b"{}", "no message of ours"),
        (b"[" * 60_000, "no message of ours"),
        ({"type": "knock", "request": 1, "version": 1, "more": 1}, "Extra inputs are not permitted"),
    ],
)
def test_who_does_not_knock_is_shown_out(stranger, said, reason):
    """With the reason."""
    guest = stranger()
    guest.say(said)
    refusal = guest.hear()
    assert (refusal["type"], refusal["request"]) == ("refusal", 0)
    assert reason in refusal["reason"]
    assert guest.shown_out()


@pytest.mark.parametrize(
    ("version", "older"),
    [(requests.VERSION - 1, "the client, which is older"), (requests.VERSION + 1, "the fleet, which is older")],
)
def test_another_version_is_refused_by_name(stranger, version, older):
    """And which side to update."""
    guest = stranger()
    refusal = guest.knock(version)
    assert refusal["reason"].endswith(f"update {older}")
    assert guest.shown_out()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (SUBMIT | {"tensors": [LINE | {"shape": [2**40, 2**40]}]}, "expected at most"),
        (SUBMIT | {"tensors": [LINE | {"shape": [-1]}]}, "greater than or equal to 0"),
        (SUBMIT | {"tensors": [LINE | {"dtype": "object"}]}, "dtype"),
        (SUBMIT | {"tensors": [LINE | {"shape": [1]}] * 3}, "at most 2"),
        (SUBMIT | {"deadline_s": "1"}, "deadline_s"),
        (b'{"type": "submit", "request": 2, "application": "pixels", "deadline_s": NaN}', "no message of ours"),
        (SUBMIT | {"key": "x" * 201}, "key"),
        (SUBMIT | {"application": "../x"}, "application"),
        ({"type": "shutdown", "request": 2}, "no message of ours"),
    ],
)
def test_a_message_that_is_none_of_ours_ends_the_visit(stranger, broker, said, reason):
    """After it nothing can be made sense of; the broker hears nothing of it."""
    guest = stranger()
    guest.knock()
    guest.say(said)
    refusal = guest.hear()
    assert (refusal["type"], refusal["request"]) == ("refusal", 0)
    assert reason in refusal["reason"]
    assert guest.shown_out()
    assert broker.tasks == {}


def test_a_header_beyond_the_bound_is_not_read(stranger):
    """Whatever length it states."""
    guest = stranger()
    guest.knock()
    guest.socket.sendall(b"\xff\xff\xff\xff")
    assert "a header of 4294967295 bytes, expected at most 65536" in guest.hear()["reason"]
    assert guest.shown_out()


def test_a_task_without_images_is_refused_alone(stranger):
    """The visit goes on."""
    guest = stranger()
    guest.knock()
    guest.say(SUBMIT | {"tensors": []})
    assert guest.hear() | {"tensors": []} == {
        "type": "refusal", "request": 2, "tensors": [], "cause": "contract", "reason": "a task without images",
    }  # fmt: skip
    guest.say({"type": "status", "request": 3})
    assert guest.hear()["type"] == "status"


def test_who_begins_a_message_and_goes_quiet_is_shown_out(stranger, client, monkeypatch):
    """After a time that covers a large task on a slow machine; others are served meanwhile."""
    monkeypatch.setattr(visit_module, "FRAME_TIMEOUT_S", 0.2)
    guests = [stranger() for _ in range(3)]
    for guest in guests:
        guest.knock()
    guests[0].socket.sendall(b"\0")
    guests[1].socket.sendall(b"\0\0\0\x40{")
    guests[2].say(SUBMIT, b"12")
    assert client.status().policy == "p"
    assert all("took too long" in guest.hear()["reason"] and guest.shown_out() for guest in guests)


def test_who_never_knocks_is_shown_out(stranger, monkeypatch):
    """A connection is not for ever."""
    monkeypatch.setattr(visit_module, "KNOCK_TIMEOUT_S", 0.2)
    guest = stranger()
    assert guest.shown_out()


def test_who_does_not_read_is_shown_out(stranger, client, broker, images, monkeypatch):
    """His tasks are taken back, and nobody waits for him: neither the broker nor another client."""
    monkeypatch.setattr(visit_module, "SEND_TIMEOUT_S", 0.5)
    guest = stranger()
    guest.knock()
    guest.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    guest.say(SUBMIT | {"tensors": [LINE | {"shape": [1, 2**20]}]}, bytes(2**20))
    guest.say(SUBMIT | {"request": 3}, bytes(16))
    assert broker.until(lambda: len(broker.tasks) == 2)
    broker.finish(next(number for number, x in broker.images.items() if x.size == 2**20))
    mine = client.submit("pixels", images(1), 1000.0)
    broker.finish(mine.task_id)
    assert mine.result(120).outcome.error is None
    assert broker.until(lambda: len(broker.cancelled) == 1)


def test_tasks_that_come_in_are_bounded_over_all_clients(stranger, client, broker, images, monkeypatch):
    """One that would be too much is read for nothing and refused; the visit goes on, and there is room again."""
    monkeypatch.setattr(door_module, "MAX_COMING_BYTES", 100)
    guest = stranger()
    guest.knock()
    guest.say(SUBMIT | {"tensors": [LINE | {"shape": [101]}]}, bytes(101))
    refusal = guest.hear()
    assert (refusal["request"], refusal["cause"]) == (2, "overloaded")
    broker.may_submit.clear()
    guest.say(SUBMIT | {"request": 3, "tensors": [LINE | {"shape": [80]}]}, bytes(80))  # held: the broker is slow
    guest.say(SUBMIT | {"request": 4, "tensors": [LINE | {"shape": [30]}]}, bytes(30))
    assert guest.hear()["request"] == 4
    broker.may_submit.set()
    assert guest.hear()["type"] == "accepted"
    for number in range(5, 15):
        guest.say(SUBMIT | {"request": number, "tensors": [LINE | {"shape": [90]}]}, bytes(90))
        assert guest.hear()["type"] == "accepted"


def test_room_is_given_back_by_who_leaves_in_the_middle(stranger, client, broker, images, monkeypatch):
    """Of half a task."""
    monkeypatch.setattr(door_module, "MAX_COMING_BYTES", 100)
    for _ in range(5):
        guest = stranger()
        guest.knock()
        guest.say(SUBMIT | {"tensors": [LINE | {"shape": [90]}]}, bytes(80))
        guest.socket.close()
    broker.at_once = True
    while True:  # the door hears of the last one's leaving in its own time
        try:
            assert client.submit("pixels", images(22), 1000.0).result(120).outcome.error is None
            break
        except ValueError as error:
            assert "try again later" in str(error)


def test_clients_are_bounded(stranger, monkeypatch):
    """The next one is told so, and may come back when somebody has left."""
    monkeypatch.setattr(door_module, "MAX_VISITS", 2)
    first, second, third = stranger(), stranger(), stranger()
    assert [guest.knock()["type"] for guest in (first, second)] == ["welcome", "welcome"]
    assert "2 clients are here already" in third.hear()["reason"]
    assert third.shown_out()
    first.socket.close()
    while (again := stranger()).knock()["type"] != "welcome":
        assert again.shown_out()


def test_requests_of_one_client_are_bounded(stranger, monkeypatch):
    """What is beyond is refused alone."""
    monkeypatch.setattr(visit_module, "MAX_REQUESTS", 1)
    guest = stranger()
    guest.knock()
    guest.say(SUBMIT, bytes(16))
    assert guest.hear()["type"] == "accepted"
    guest.say({"type": "status", "request": 3})
    refusal = guest.hear()
    assert (refusal["request"], refusal["cause"]) == (3, "overloaded")


def test_another_user_is_refused(stranger, monkeypatch):
    """By the system's word on who is at the other end, wherever the folder's mode was changed."""
    monkeypatch.setattr(visit_module.os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(visit_module, "ROOT", -1)
    guest = stranger()
    assert f"user {os.getuid()} asks for a fleet of user {os.getuid() + 1}" in guest.hear()["reason"]
    assert guest.shown_out()


def test_a_fault_of_ours_is_told_and_logged(client, broker, monkeypatch, caplog):
    """The client is not left waiting, and the door goes on."""
    monkeypatch.setattr(broker, "status", lambda: 1 // 0)
    with pytest.raises(ValueError, match="the fleet failed: ZeroDivisionError"):
        client.status()
    assert "a request of the kind status" in caplog.text
    assert list(client.applications()) == ["pixels"]


def test_who_leaves_takes_nothing_back_that_was_refused_behind_its_number(door, broker, images):
    """As a volatile task is, where the disk has no room for it; what is under way is taken back."""
    with Client(door.folder.path) as client:
        refused = client.submit("pixels", images(4), 9.0, volatile=True)
        broker.tasks[refused.task_id].set_exception(OverloadedError("the disk is full"))
        with pytest.raises(OverloadedError, match="the disk is full"):
            refused.result(PATIENCE_S)
        under_way = client.submit("pixels", images(4), 9.0, volatile=True)
    assert broker.until(lambda: under_way.task_id in broker.cancelled)
    assert broker.cancelled == [under_way.task_id]


def test_a_door_that_closes_lets_nobody_in(door, folder):
    """And takes its socket with it."""
    door.close()
    assert not folder.socket.exists()
    with pytest.raises(ValueError, match="is starting or ending"):
        Client(folder.path)
