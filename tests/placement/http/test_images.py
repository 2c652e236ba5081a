"""`classify`: image files in a form, read as `infer` reads those on disk, and the names of their classes back."""

import io
import subprocess
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from splitplace.placement.http import uploads

PATH = "/v2/splitplace/apps/pixels/classify"


def png(grey, size=(2, 2)):
    """A plain picture."""
    file = io.BytesIO()
    Image.new("L", size, grey).save(file, "PNG")
    return file.getvalue()


def form(*parts, boundary="xyz"):
    """multipart/form-data of (field, file name or None, content)."""
    body = b""
    for field, name, content in parts:
        named = f'; filename="{name}"' if name is not None else ""
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{named}\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    return body + f"--{boundary}--\r\n".encode(), {"Content_Type": f"multipart/form-data; boundary={boundary}"}


def test_files_become_names(door, broker):
    """One or many, in the form's order; as `read_images` has them; with wishes as fields."""
    file = io.BytesIO()
    Image.fromarray(np.array([[3, 1], [2, 250]], np.uint8)).save(file, "PNG")
    body, headers = form(
        ("image", "b.png", png(9)),
        ("image", "a.png", file.getvalue()),
        ("deadline_s", None, b"5"),
        ("late", None, b"true"),
    )
    door.service.clock = lambda: 0.0
    told = door.ask("POST", PATH, body, **headers).json
    assert [(image["file"], image["class"], image["index"]) for image in told["images"]] == [
        ("b.png", "a", 0),
        ("a.png", "d", 3),
    ]
    assert told["images"][1]["logit"] == 250.0 and told["parameters"]["split"] == "pixels.m.full"
    assert broker.images[0].tolist() == [[[[9, 9], [9, 9]]], [[[3, 1], [2, 250]]]]
    assert broker.options[0]["late"] is True and broker.options[0]["deadline_s"] == 5


def test_curl_sends_them(door, tmp_path):
    """`curl -F`, as the page has it."""
    (tmp_path / "shirt.png").write_bytes(png(200))
    command = ["curl", "-sf", "-F", f"image=@{tmp_path / 'shirt.png'}", "-F", "deadline_s=5", door.url + PATH]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and '"file":"shirt.png","index":0,"class":"a"' in done.stdout


def test_a_form_may_leave_its_task_behind(door, broker):
    """As infer's requests may."""
    body, headers = form(("image", "a.png", png(1)), ("detach", None, b"true"))
    told = door.ask("POST", PATH, body, **headers).json
    assert door.ask("GET", told["parameters"]["url"] + "?wait_s=60").json["outputs"][0]["shape"] == [1, 4]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no file in the form"),
        ([("late", None, b"true")], "no file in the form"),
        ([("image", "a.png", b"no image")], "a.png: not an image"),
        ([("image", "a.png", png(1)[:45])], "a.png"),
        ([("image", "a.png", png(1)), ("deadline_s", None, b"soon")], "field deadline_s"),
        ([("image", "a.png", png(1)), ("deadline_s", None, b"-1")], "field deadline_s"),
        ([("image", "a.png", png(1)), ("late", None, b"perhaps")], "field late"),
        ([("image", "a.png", png(1)), ("more", None, b"1")], "field 'more'"),
        ([("image", "a.png", png(1)), ("late", None, b"x" * 5000)], "at most 16 fields of 4096 bytes"),
        ([("image", f"{i}.png", png(1)) for i in range(300)], "more than 256 files in the form"),
        ([("late", None, b"true")] * 30, "at most 16 fields of 4096 bytes"),
        ([(f"f{i}", None, b"1") for i in range(30)], "field 'f0'"),
    ],
)
def test_forms_that_are_none(door, broker, parts, message):
    """400 with the file or field, and nobody is asked."""
    body, headers = form(*parts)
    refused = door.ask("POST", PATH, body, **headers)
    assert refused.status == 400 and message in refused.error and not broker.tasks


@pytest.mark.parametrize(
    "kind", ["image/png", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x"]
)
def test_bodies_that_are_no_form(door, kind):
    """Another type, or one without the word that parts are told by."""
    refused = door.ask("POST", PATH, png(1), Content_Type=kind)
    assert refused.status == 400 and refused.error


def test_a_small_file_that_is_a_huge_picture(door, broker):
    """A kilobyte that would be gigabytes: refused by its header."""
    side = 60_000
    head = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    chunk = lambda kind, data: len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")  # noqa: E731
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**5))) + chunk(b"IEND", b"")
    )
    body, headers = form(("image", "bomb.png", bomb))
    refused = door.ask("POST", PATH, body, **headers)
    assert refused.status == 400 and "an image of more than 178956970 pixels" in refused.error and not broker.tasks


def test_file_names_are_told_in_plain_letters(door):
    """Whatever a form calls its file."""
    body, headers = form(("image", "a\tb\x1b[31m.png", png(1)))
    assert door.ask("POST", PATH, body, **headers).json["images"][0]["file"] == "a?b?[31m.png"


def test_a_form_is_taken_apart_in_a_thread(door, monkeypatch):
    """The event loop has other requests to see to, however large a form is."""
    read, threads = uploads.read, []

    def noted(*arguments):
        threads.append(threading.current_thread().name)
        return read(*arguments)

    monkeypatch.setattr(uploads, "read", noted)
    body, headers = form(("image", "a.png", png(1)))
    assert door.ask("POST", PATH, body, **headers).status == 200
    assert [name.startswith("http-read") for name in threads] == [True]
