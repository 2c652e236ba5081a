"""What podman is asked, word by word; containers themselves are in the conformance tests."""

import os
import subprocess
import tempfile

import pytest

from splitplace.api import device_image as module
from splitplace.errors import NotReadyError
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.engines import podman
from splitplace.placement.protocol.keys import CurveAccess, new_pair

pytestmark = pytest.mark.base


def command(monkeypatch: pytest.MonkeyPatch, user: int) -> list[str]:
    """By which this user launches a device."""
    monkeypatch.setattr(podman, "podman", lambda: ["podman"])
    monkeypatch.setattr(podman, "_interpreter", lambda image: "/usr/local/bin/python3")
    monkeypatch.setattr(os, "getuid", lambda: user)
    monkeypatch.setattr(os, "getgid", lambda: user)
    access = CurveAccess(public_key=new_pair()[0], peers={})
    config = DeviceConfig(
        name="a", catalog="/data", threads=1, access=access, incarnation=7,
        broker_endpoint="tcp://127.0.0.1:1", broker_incarnation=8,
    )  # fmt: skip
    return podman.PodmanEngine("image")._command(config)


def test_without_root_a_container_is_of_the_same_user(monkeypatch):
    """Inside as outside: else its number would be mapped to one that may not enter a catalog of mode 0700."""
    words = command(monkeypatch, 1000)
    assert words[words.index("--userns") + 1] == "keep-id" and words[words.index("--user") + 1] == "1000:1000"


def test_root_needs_no_mapping(monkeypatch):
    """Which podman has for users alone."""
    words = command(monkeypatch, 0)
    assert "--userns" not in words and words[words.index("--user") + 1] == "0:0"


def test_how_long_podman_may_take_is_the_callers_to_say(monkeypatch):
    """And stands in what is said when it took longer."""

    def run(words, *, timeout, **options):
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(podman, "podman", lambda: ["podman"])
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(NotReadyError, match="podman pull: no answer within 600 s"):
        podman.ask_podman("pull", "x", timeout_s=600)


def test_an_image_is_taken_in_minutes(monkeypatch):
    """Hundreds of megabytes onto a slow disk, where every other answer is a matter of a minute."""
    asked = {}

    def ask(*words, timeout_s=podman.ANSWER_S, folder=None):
        asked[words[0]] = timeout_s
        return subprocess.CompletedProcess(words, words[:2] == ("image", "exists"), stdout="", stderr="")

    class Builder:
        def __init__(self, *arguments):
            self.tag = "device"

        def device(self, *arguments):
            return self

    monkeypatch.setattr(module, "needs", lambda *arguments, **options: None)
    monkeypatch.setattr(module, "gather", lambda: module)
    monkeypatch.setattr(module, "key", lambda: "k", raising=False)
    monkeypatch.setattr(module, "ImageBuilder", Builder)
    monkeypatch.setattr(module, "ask_podman", ask)
    module.device_image()
    assert asked["pull"] == podman.LOAD_S > asked["image"] == asked["tag"] == podman.ANSWER_S


@pytest.mark.slow
def test_an_image_is_taken_from_any_temporary_folder(monkeypatch, tmp_path):
    """Also one whose path no image may have for a name; and by no other name than ours."""
    folder = tmp_path / "A-_b_"
    folder.mkdir()
    asked = []

    def ask(*words, **options):
        asked.append(words[0])
        done = podman.ask_podman(*words, **options)
        if words[:2] == ("image", "exists"):
            done.returncode = 1  # it is made in any case
        return done

    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(module, "ask_podman", ask)
    name = module.device_image()
    names = podman.ask_podman("image", "inspect", "--format", "{{range .RepoTags}}{{.}} {{end}}", name).stdout
    assert "pull" in asked and name in names.split() and "made-" not in names
    assert not list(folder.iterdir())
