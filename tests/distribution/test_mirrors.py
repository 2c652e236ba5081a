"""Other places that have the same bytes: which are asked, in which order, and what is made of what they answer."""

import pytest

import splitplace as sp
from splitplace.catalog import Catalog
from splitplace.distribution.mirrors import open_places, read_entry
from splitplace.distribution.reference import parse_remote
from splitplace.distribution.transport import Transport
from splitplace.errors import ForbiddenError, IntegrityError, UsageError
from tests.distribution.conftest import NO_WAIT, REFERENCE, everything, push_to

NAME = "team/nets"


@pytest.fixture
def registries(tmp_path, monkeypatch):
    """Writes registries.conf."""
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    return (tmp_path / "registries.conf").write_text


@pytest.fixture
def two(small_registry, catalog, registries):
    """A registry and its mirror, both filled."""
    itself, mirror = small_registry(), small_registry()
    for registry in (itself, mirror):
        push_to(registry.host, catalog)
        registry.seen.clear()
    registries(
        f'[[registry]]\nprefix = "{itself.host}/team"\nlocation = "{itself.host}/team"\n'
        f'[[registry.mirror]]\nlocation = "{mirror.host}/team"\n'
    )
    return itself, mirror


def asked(registry, part):
    """How often something was asked for."""
    return sum(f"/{part}/" in path for _, path, _ in registry.seen)


def test_bytes_come_from_the_mirror_and_names_from_the_registry(two, catalog, tmp_path):
    """What a tag is and what was measured the registry says; no blob is asked of it."""
    itself, mirror = two
    sp.pull(f"oci://{itself.host}/{NAME}", tmp_path / "new")
    assert everything(tmp_path / "new") == everything(catalog.path)
    assert (asked(itself, "blobs"), asked(mirror, "referrers")) == (0, 0)
    assert asked(mirror, "blobs") == len(mirror.blobs[NAME])


@pytest.mark.parametrize("broken", ["down", "empty", "lying"])
def test_a_mirror_that_is_no_help(two, catalog, tmp_path, broken):
    """Down, without it, or with other bytes: the registry itself has them."""
    itself, mirror = two
    if broken == "down":
        mirror.close()
    elif broken == "empty":
        mirror.blobs.clear()
        mirror.manifests.clear()
    else:
        mirror.blobs[NAME] = {digest: data[::-1] for digest, data in mirror.blobs[NAME].items()}
    remote = parse_remote(f"oci://{itself.host}/{NAME}")
    places = open_places(remote, lambda host, plain: Transport(host, plain_http=plain, patience=NO_WAIT))
    from splitplace.catalog.layout_writer import LayoutWriter
    from splitplace.distribution.pull import look_up, pull_split

    pull_split(places, look_up(places, remote.at(tag=REFERENCE)), LayoutWriter(tmp_path / "new"))
    assert everything(tmp_path / "new") == everything(catalog.path)


def test_a_registry_that_is_down(two, tmp_path):
    """Its mirror has everything."""
    itself, _ = two
    itself.close()
    sp.pull(f"oci://{itself.host}/{NAME}", tmp_path / "new")
    assert Catalog(tmp_path / "new").verify().problems == ()


def test_the_longest_prefix_wins(registries):
    """By whole parts of a name."""
    registries(
        '[[registry]]\nlocation = "r.example.com"\n'
        '[[registry]]\nprefix = "r.example.com/team"\nlocation = "m.example.com/x"\n'
    )
    assert read_entry(parse_remote("oci://r.example.com/team/a")).location == "m.example.com/x"
    assert read_entry(parse_remote("oci://r.example.com/teams/a")).location == "r.example.com"
    assert read_entry(parse_remote("oci://other.example.com/a")).location == ""
    places = open_places(
        parse_remote("oci://r.example.com/team/a"), lambda host, plain: Transport(host, plain_http=plain)
    )
    assert str(places.itself) == "oci://m.example.com/x/a"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[[registry]]\nlocation = 'r.example.com'\nblocked = true", ForbiddenError, "r.example.com is blocked"),
        ("registry = 1", IntegrityError, "registry: Input should be a valid list"),
        ("[[", IntegrityError, "not TOML"),
        (
            "[[registry]]\nlocation='r.example.com'\n[[registry.mirror]]\nlocation='A B'",
            UsageError,
            "no place in a registry",
        ),
    ],
)
def test_a_file_that_is_none(registries, text, error, message):
    """One line that names it."""
    registries(text)
    with pytest.raises(error, match=message):
        open_places(parse_remote("oci://r.example.com/a"), lambda host, plain: Transport(host, plain_http=plain))
