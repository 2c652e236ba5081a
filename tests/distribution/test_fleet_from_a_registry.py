"""A fleet's catalog may be `oci://`: pulled by digest into a cache, and what was pinned stays what it was."""

import pytest

import splitplace as sp
from splitplace.api.open_catalog import open_catalog
from splitplace.catalog import Catalog
from splitplace.errors import NotReadyError, UsageError
from splitplace.export.catalog_writer import CatalogWriter
from tests.distribution.conftest import REFERENCE, push_to
from tests.kernel.conftest import branches


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Its folder."""
    monkeypatch.setenv("SPLITPLACE_CATALOGS", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_fleet_has_what_the_registry_has(small_registry, catalog, cache):
    """The same costs and accuracies as of the catalog that was pushed, from a folder in the cache."""
    registry = small_registry()
    push_to(registry.host, catalog)
    fleet = sp.Fleet("azure10:2", f"oci://{registry.host}/team/nets:{REFERENCE}", policy="semantic+random")
    own = sp.Fleet("azure10:2", catalog.path, policy="semantic+random")
    assert fleet.demand.splits == own.demand.splits
    assert cache in fleet.catalog.path.parents
    assert fleet.catalog.verify().problems == ()


def test_a_tag_that_moves_changes_nothing_that_runs(small_registry, catalog, cache, tmp_path):
    """What was opened keeps its folder; who opens the tag anew gets the new split, in another one."""
    registry = small_registry()
    push_to(registry.host, catalog)
    remote = f"oci://{registry.host}/team/nets:{REFERENCE}"
    first = open_catalog(remote)
    pinned = first.split_descriptor(REFERENCE).digest
    other = CatalogWriter(tmp_path / "other")
    other.write(branches(seed=5))
    push_to(registry.host, other)
    second = open_catalog(remote)
    assert second.split_descriptor(REFERENCE).digest == other.split_descriptor(REFERENCE).digest
    assert Catalog(first.path).split_descriptor(REFERENCE).digest == pinned
    assert open_catalog(f"oci://{registry.host}/team/nets@{pinned}").path == first.path


def test_a_split_that_was_pulled_before_it_was_profiled(small_registry, catalog, cache, tmp_path):
    """Pinned or not, what has been measured since comes; while the registry is down, what there is."""
    registry, bare = small_registry(), CatalogWriter(tmp_path / "bare")
    bare.write(branches(filling=25_000))
    push_to(registry.host, bare)
    pinned = f"oci://{registry.host}/team/nets@{bare.split_descriptor(REFERENCE).digest}"
    assert open_catalog(pinned).profiles(REFERENCE) == ()
    push_to(registry.host, catalog)
    assert open_catalog(pinned).profiles(REFERENCE) == catalog.profiles(REFERENCE)


def test_an_unprofiled_split_while_the_registry_is_down(small_registry, cache, tmp_path):
    """As it was pulled."""
    registry, bare = small_registry(), CatalogWriter(tmp_path / "bare")
    bare.write(branches())
    push_to(registry.host, bare)
    pinned = f"oci://{registry.host}/team/nets@{bare.split_descriptor(REFERENCE).digest}"
    first = open_catalog(pinned)
    registry.close()
    assert open_catalog(pinned).path == first.path


def test_a_cache_where_nobody_has_a_home(monkeypatch):
    """A user id of which the system knows nothing: the variable is named."""
    monkeypatch.delenv("SPLITPLACE_CATALOGS", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", dict[int, None]().__getitem__)
    with pytest.raises(UsageError, match=r"say where by .SPLITPLACE_CATALOGS"):
        open_catalog(f"oci://127.0.0.1:9/team/nets@sha256:{'0' * 64}")


def test_a_pinned_split_needs_no_registry_twice(small_registry, catalog, cache):
    """By digest it comes from the cache; by tag the registry has to say what that is."""
    registry = small_registry()
    push_to(registry.host, catalog)
    remote = f"oci://{registry.host}/team/nets"
    pinned = f"{remote}@{catalog.split_descriptor(REFERENCE).digest}"
    first = open_catalog(pinned)
    registry.close()
    assert open_catalog(pinned).path == first.path
    with pytest.raises(NotReadyError, match="cannot be reached"):
        open_catalog(f"{remote}:{REFERENCE}")


@pytest.fixture
def joinable(small_registry, catalog, cache):
    """Makes fleets of a catalog in a registry, which machines may join; with its host."""
    registry = small_registry()
    push_to(registry.host, catalog)

    def make(remote=f"oci://{registry.host}/team/nets:{REFERENCE}", **options):
        return sp.Fleet("azure10:2", remote, policy="semantic+random", **{"engine": "joined", **options})

    make.registry = registry
    return make


@pytest.mark.parametrize("engine", ["joined", "ray"])
def test_machines_that_join_are_told_the_catalogs_registry(joinable, engine, monkeypatch):
    """Its repository: fragments have digests of their own. A fleet of this machine's processes needs none."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    assert joinable(engine=engine).engine.registry == f"oci://{joinable.registry.host}/team/nets"
    assert joinable(engine="local").engine.registry is None


def test_a_folders_fleet_may_name_a_registry(joinable, catalog):
    """That was pushed to; if none is named, there is none."""
    assert joinable(catalog.path).engine.registry is None
    assert joinable(catalog.path, registry="oci://other.example/nets").engine.registry == "oci://other.example/nets"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"registry": "oci://other.example/nets", "engine": "local"}, "read the catalog where it lies: leave it out"),
        ({"registry": "oci://other.example/nets:tag"}, "expected oci://HOST/REPOSITORY: fragments have digests"),
        ({"registry": "other.example/nets"}, "no place in a registry: expected oci://"),
        ({"registry": "oci://user:secret@other.example/nets"}, "no place in a registry: expected oci://"),
    ],
)
def test_a_registry_that_nobody_can_be_told_is_refused(joinable, options, said):
    """Before anything is started."""
    with pytest.raises(UsageError, match=said):
        joinable(**options)


def test_a_registry_of_this_machine_is_not_told_to_others(joinable, caplog):
    """Each would take its address for its own: they have their fragments from the broker, and the log says so."""
    assert joinable().engine._told_registry() == f"oci://{joinable.registry.host}/team/nets"
    assert joinable(listen="192.0.2.7").engine._told_registry() is None
    assert "is found on this machine alone: the others have their fragments from here" in caplog.text
    away = joinable(registry="oci://other.example/nets", listen="192.0.2.7")
    assert away.engine._told_registry() == "oci://other.example/nets"
