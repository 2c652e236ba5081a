"""What names a place in a registry, and what does not."""

import pytest

from splitplace.distribution.reference import RemoteReference, is_loopback, is_tag, parse_remote
from splitplace.errors import UsageError

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("oci://r.example.com/a", ("r.example.com", "a", "", "")),
        ("oci://r.example.com:5000/a/b-c/d__e.f:v1", ("r.example.com:5000", "a/b-c/d__e.f", "v1", "")),
        (f"oci://[::1]:5000/a:V.1_-@{DIGEST}", ("[::1]:5000", "a", "V.1_-", DIGEST)),
        (f"oci://localhost/a@{DIGEST}", ("localhost", "a", "", DIGEST)),
    ],
)
def test_a_place_is_read_and_written(text, found):
    """Both ways the same."""
    assert parse_remote(text) == RemoteReference(*found)
    assert str(parse_remote(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "oci://", "oci://host", "oci://host/", "oci:///a", "host/a", "docker://host/a", "oci://host/A", "oci://host/a/",
        "oci://host/../a", "oci://host/a//b", "oci://host/a:", "oci://host/a:-x", f"oci://host/a:{'x' * 129}",
        "oci://host/a@", "oci://host/a@sha256:0", f"oci://host/a@{DIGEST.upper()}", "oci://host:0/a", "oci://host:99999/a",
        "oci://user@host/a", "oci://ho st/a", "oci://host/a b", "oci://host/a?x", "oci://host/a#x", "oci://hôst/a",
        f"oci://host/{'a' * 256}", "oci://host/a\n", "oci://-host/a", f"oci://host/{'a-' * 5000}",
        "oci://a..b/x:y", f"oci://{'a' * 64}.example.com/x",
    ],
)  # fmt: skip
def test_what_is_no_place(text):
    """One line, with what was expected."""
    with pytest.raises(UsageError, match=r"expected oci://HOST\[:PORT\]/REPOSITORY\[:TAG\]\[@sha256:DIGEST\]"):
        parse_remote(text)


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("127.0.0.1", True), ("127.9.9.9:5000", True), ("[::1]:5000", True), ("LocalHost:1", True),
     ("localhost.example.com", False), ("10.0.0.1", False), ("127.0.0.1.example.com:80", False)],
)  # fmt: skip
def test_who_is_this_machine(host, is_here):
    """Only there may TLS be left out unasked."""
    assert is_loopback(host) is is_here


def test_tags():
    """Of at most 128 letters, none of them a slash or colon."""
    assert is_tag("fashionmnist.mobilenetv2.semantic-2x2") and is_tag("x" * 128)
    assert not is_tag("x" * 129) and not is_tag("") and not is_tag(".x") and not is_tag("a/b") and not is_tag("a:b")
