"""Forms taken apart: as Starlette's parser has them, at one pass over the bytes, and nothing that is none."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.requests import Request

from splitplace.errors import ContractError
from splitplace.placement.http.forms import FormPart, boundary_of, parts


def form(told, boundary="b", end="--\r\n"):
    """Of (name, file or None, content)."""
    body = b""
    for name, file, content in told:
        named = "" if file is None else f'; filename="{file}"'
        head = f'--{boundary}\r\nContent-Type: x\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}{end}".encode()


def by_starlette(body, boundary):
    """The same of the library that takes a body as it comes."""
    scope = {"type": "http", "headers": [(b"content-type", f"multipart/form-data; boundary={boundary}".encode())]}

    async def once():
        return {"type": "http.request", "body": body, "more_body": False}

    async def read():
        async with Request(scope, once).form() as found:
            return [
                FormPart(name, value.filename, await value.read())
                if isinstance(value, UploadFile)
                else FormPart(name, None, value.encode())
                for name, value in found.multi_items()
            ]

    return asyncio.run(read())


NAMES = st.text("abc é%", min_size=1, max_size=5)
CONTENT = st.binary(max_size=50) | st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n-", b"b", b"\x00", b"\xff"])
).map(b"".join).filter(lambda made: b"\r\n--b" not in made + b"\r\n")  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, CONTENT), max_size=4))
def test_files_are_as_starlette_has_them(told):
    """Byte by byte, whatever is in them that looks like a part of a boundary."""
    body = form(told)
    assert list(parts(body, b"b")) == by_starlette(body, "b") == [FormPart(*part) for part in told]


def test_fields_are_told_from_files():
    """By whether a file's name is stated, be it empty; what is before the first part and behind the last is nothing."""
    told = [("late", None, b"true"), ("image", "", b"x")]
    body = b"preamble\r\n" + form(told, end="--") + b" and more\r\n--b\r\n"
    assert list(parts(body, b"b")) == [FormPart(*part) for part in told]


class SearchedBytes(bytes):
    """Counts how often they are searched."""

    searches = 0

    def find(self, *arguments):
        """As the base."""
        type(self).searches += 1
        return super().find(*arguments)


@pytest.mark.parametrize("near", [b"\r\n--bX", b"\r\n--b ", b"\r\n--b\r\n", b"\r\n--b\n"])
def test_lines_that_are_nearly_a_boundary_cost_one_look(near, monkeypatch):
    """The first of a million ends the search: none is called for one by one."""
    monkeypatch.setattr(SearchedBytes, "searches", 0)
    body = SearchedBytes(form([("image", "a.png", near * 10**6)]))
    with pytest.raises(ContractError, match=r"a form with|a part of a form without a name"):
        list(parts(body, b"b"))
    assert SearchedBytes.searches <= 4


def test_who_has_had_enough_looks_no_further(monkeypatch):
    """Of a million parts those are searched for that are asked for."""
    monkeypatch.setattr(SearchedBytes, "searches", 0)
    found = parts(SearchedBytes(form([("image", "a", b"")] * 10**4)), b"b")
    assert [next(found).name for _ in range(3)] == ["image"] * 3 and SearchedBytes.searches == 6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "without its boundary"),
        (b"--c\r\n", "without its boundary"),
        (b"--b", "behind its boundary"),
        (b"--b\r\n", "behind its boundary"),
        (form([("a", None, b"x")])[:-9], "cut off"),
        (b"--b\r\n" + b"x" * 5000 + b"\r\n\r\n\r\n--b--", "behind its boundary"),
        (b"--b\r\n\r\nx\r\n--b--", "without a name"),
        (b"--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n--b--", "without a name"),
    ],
)
def test_forms_that_are_none(body, message):
    """Without a boundary, cut off, with headers that have no end, with a part that has no name."""
    with pytest.raises(ContractError, match=message):
        list(parts(body, b"b"))


@pytest.mark.parametrize("stated", ["", "; boundary=", '; boundary=""', "; boundary=" + "x" * 71, '; boundary="a\nb"'])
def test_boundaries_that_are_none(stated):
    """None, an empty one, one that is too long or no text."""
    with pytest.raises(ContractError, match="expected 1 to 70 letters"):
        boundary_of("multipart/form-data" + stated)


def test_a_boundary_is_stated_as_clients_state_it():
    """Quoted or not, in any case of the type's letters."""
    assert boundary_of("Multipart/Form-Data; charset=utf-8; boundary=-x-1") == b"-x-1"
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
