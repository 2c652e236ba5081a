"""Other places that have the same bytes: which are asked, in which order, and what is made of what they answer."""

import pytest

import splitplace as sp
from splitplace.catalog import Catalog
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.distribution.downloads import download
from splitplace.distribution.mirrors import open_places, read_entry
from splitplace.distribution.pull import look_up, pull_split
from splitplace.distribution.reference import parse_remote
from splitplace.distribution.transport import Patience, Transport
from splitplace.errors import ForbiddenError, IntegrityError, NotReadyError, UsageError
from tests.distribution.conftest import NO_WAIT, REFERENCE, everything, push_to, repository

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
    pull_split(places, look_up(places, remote.at(tag=REFERENCE)), LayoutWriter(tmp_path / "new"))
    assert everything(tmp_path / "new") == everything(catalog.path)


def test_a_registry_that_is_down(two, tmp_path):
    """Its mirror has everything."""
    itself, _ = two
    itself.close()
    sp.pull(f"oci://{itself.host}/{NAME}", tmp_path / "new")
    assert Catalog(tmp_path / "new").verify().problems == ()


def test_a_mirror_that_is_down_is_asked_once(two, catalog, tmp_path, monkeypatch):
    """Nobody waits for one that never answered, and no blob is asked of it again."""
    itself, mirror = two
    mirror.close()
    waits, tries = [], []
    connect = Transport._connect
    monkeypatch.setattr(Transport, "_connect", lambda self, *place: tries.append(place[1]) or connect(self, *place))
    remote, patience = parse_remote(f"oci://{itself.host}/{NAME}"), Patience(sleep=waits.append)
    places = open_places(remote, lambda host, plain: Transport(host, plain_http=plain, patience=patience))
    pull_split(places, look_up(places, remote.at(tag=REFERENCE)), LayoutWriter(tmp_path / "new"))
    assert everything(tmp_path / "new") == everything(catalog.path)
    assert (waits, tries.count(mirror.host)) == ([], 1)


def test_a_download_does_not_wait_for_who_never_answered(two, catalog, tmp_path):
    """Not the first blob of all either."""
    _, mirror = two
    mirror.close()
    waits, model = [], catalog.fragments(REFERENCE)[0].manifest.layers[0]
    place = repository(mirror.host, NAME, Patience(sleep=waits.append))
    with pytest.raises(NotReadyError, match="cannot be reached"):
        download(place, LayoutWriter(tmp_path / "new").blobs, model, lambda size: None)
    assert waits == []


@pytest.mark.parametrize(
    ("prefix", "host", "is_blocked"),
    [("*.example.com", "r.example.com", True), ("*.example.com", "a.b.example.com:5000", True),
     ("*.example.com", "example.com", False), ("*.example.com", "r.example.com.evil.org", False),
     ("*.example.com:5000", "r.example.com:5000", True), ("*.example.com:5000", "r.example.com", False),
     ("r.example.com/", "r.example.com", True), ("r.example.com/a/", "r.example.com", True)],
)  # fmt: skip
def test_who_is_blocked(registries, prefix, host, is_blocked):
    """All hosts below one, by a star; a slash at the end says nothing."""
    registries(f'[[registry]]\nprefix = "{prefix}"\nblocked = true\n')
    if is_blocked:
        with pytest.raises(ForbiddenError, match="is blocked"):
            read_entry(parse_remote(f"oci://{host}/a"))
    else:
        assert read_entry(parse_remote(f"oci://{host}/a")).prefix == ""


@pytest.mark.parametrize(
    ("prefix", "location", "found"),
    [("*.example.com", "m.example.org/x", "m.example.org/x/team/a"), ("*.example.com", "", "r.example.com/team/a"),
     ("r.example.com/team/", "m.example.org/x/", "m.example.org/x/a")],
)  # fmt: skip
def test_where_a_prefix_leads(registries, prefix, location, found):
    """What it stands for is put in the place of what it fits."""
    registries(f'[[registry]]\nprefix = "{prefix}"\nlocation = "{location}"\n')
    places = open_places(parse_remote("oci://r.example.com/team/a"), lambda host, plain: Transport(host))
    assert str(places.itself) == f"oci://{found}"


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
