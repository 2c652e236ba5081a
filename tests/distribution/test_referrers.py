"""What was measured, beside what it was measured of: with the API, without it, and where writers collide."""

import json
import logging

import pytest

from splitplace.catalog import Catalog, oci
from splitplace.distribution.mirrors import Places
from splitplace.distribution.pull import look_up, read_split
from splitplace.distribution.reference import parse_remote
from splitplace.distribution.referrers import Referrers, fallback_tag, own_tag
from splitplace.errors import IntegrityError
from splitplace.export.catalog_writer import CatalogWriter
from tests.distribution.conftest import REFERENCE, evaluation, profile, pull_from, push_to, repository
from tests.kernel.conftest import branches

NAME = "team/nets"


def measured_by(path, kind):
    """A catalog of the same split with a measurement of its own."""
    artifact, own = branches(), CatalogWriter(path)
    own.write(artifact)
    own.attach(REFERENCE, profile(artifact, kind=kind))
    return own


def test_a_registry_with_the_api_needs_no_tags(small_registry, catalog, tmp_path):
    """Referrers are pushed by digest, and no tag is made but the split's."""
    registry = small_registry(referrers_api=True)
    push_to(registry.host, catalog)
    assert [name for name in registry.manifests[NAME] if ":" not in name] == [REFERENCE]
    pulled = pull_from(registry.host, tmp_path / "new")
    assert pulled.records == 3
    assert Catalog(tmp_path / "new").profiles(REFERENCE) == catalog.profiles(REFERENCE)


def test_without_the_api_the_specifications_tag_is_kept(small_registry, catalog):
    """An index under sha256-HEX whose entries say what the specification wants: type, digest, size, artifact type."""
    registry = small_registry()
    push_to(registry.host, catalog)
    subject = catalog.split_descriptor(REFERENCE).digest
    media_type, data = registry.manifests[NAME]["sha256-" + subject.removeprefix("sha256:")]
    (entry,) = json.loads(data)["manifests"]
    assert media_type == oci.INDEX_TYPE
    assert (entry["mediaType"], entry["artifactType"]) == (oci.MANIFEST_TYPE, oci.EVALUATION_TYPE)
    assert entry["size"] == len(registry.manifests[NAME][entry["digest"]][1])


@pytest.mark.parametrize("when", ["before the list is stored", "after the list was read"])
def test_a_writer_who_is_overtaken_puts_it_right(small_registry, tmp_path, when):
    """Another's whole push comes between reading and writing the list, which so is overwritten: both are in it."""
    registry, others = small_registry(), [measured_by(tmp_path / "other", "b")]
    own = measured_by(tmp_path / "own", "a")
    subject = own.fragments(REFERENCE)[0].descriptor.digest
    wanted = "PUT" if when == "before the list is stored" else "GET"

    def before(method, path, body):
        if method == wanted and path.endswith(f"/manifests/{fallback_tag(subject)}") and others:
            other = others.pop()
            answer = registry.answer(method, path, body, {}) if wanted == "GET" else None
            push_to(registry.host, other)
            return answer  # what was so before the other came
        return None

    registry.before = before
    push_to(registry.host, own)
    assert not others
    listed = json.loads(registry.manifests[NAME][fallback_tag(subject)][1])["manifests"]
    assert len(listed) == 2
    pull_from(registry.host, tmp_path / "new")
    assert {found.device.kind for found in Catalog(tmp_path / "new").profiles(REFERENCE)} == {"a", "b"}


def test_what_a_dead_writer_left_is_found(small_registry, tmp_path):
    """His referrer has a tag of its own, and stands in no list: readers find it, the next writer lists it."""
    registry = small_registry()
    own, other = measured_by(tmp_path / "own", "a"), measured_by(tmp_path / "other", "b")
    push_to(registry.host, own)
    subject = own.fragments(REFERENCE)[0].descriptor.digest
    del registry.manifests[NAME][fallback_tag(subject)]
    assert pull_from(registry.host, tmp_path / "new").records == 1
    push_to(registry.host, other)
    assert len(json.loads(registry.manifests[NAME][fallback_tag(subject)][1])["manifests"]) == 2


def test_entries_of_other_tools_stay_as_they_are(small_registry, tmp_path):
    """Somebody's signature is in the list: it stays there with all its fields, and is not pulled."""
    registry, own = small_registry(), measured_by(tmp_path / "own", "a")
    push_to(registry.host, own)
    subject = own.fragments(REFERENCE)[0].descriptor
    empty = {"mediaType": oci.EMPTY_TYPE, "digest": oci.digest(b"{}"), "size": 2}
    signature = json.dumps(
        {
            "schemaVersion": 2, "mediaType": oci.MANIFEST_TYPE, "artifactType": "application/vnd.example.signature",
            "config": empty, "layers": [empty],
            "subject": {"mediaType": oci.MANIFEST_TYPE, "digest": subject.digest, "size": subject.size},
        }
    ).encode()  # fmt: skip
    entry = {
        "mediaType": oci.MANIFEST_TYPE, "digest": oci.digest(signature), "size": len(signature),
        "artifactType": "application/vnd.example.signature", "annotations": {"by": "ann"}, "x-foreign": [1],
    }  # fmt: skip
    place = repository(registry.host)
    place.put_manifest(oci.digest(signature), oci.MANIFEST_TYPE, signature)
    listed = json.loads(registry.manifests[NAME][fallback_tag(subject.digest)][1])
    listed["manifests"].append(entry)
    place.put_manifest(fallback_tag(subject.digest), oci.INDEX_TYPE, json.dumps(listed).encode())
    push_to(registry.host, measured_by(tmp_path / "other", "b"))
    now = json.loads(registry.manifests[NAME][fallback_tag(subject.digest)][1])["manifests"]
    assert entry in now and len(now) == 3
    assert pull_from(registry.host, tmp_path / "new").records == 2


def _manifest(subject, **changed):
    """Somebody's manifest that refers to a fragment."""
    empty = {"mediaType": oci.EMPTY_TYPE, "digest": oci.digest(b"{}"), "size": 2}
    subject = {"mediaType": oci.MANIFEST_TYPE, "digest": subject.digest, "size": subject.size}
    document = {"schemaVersion": 2, "mediaType": oci.MANIFEST_TYPE, "artifactType": "application/vnd.example.sbom"}
    return json.dumps(document | {"config": empty, "layers": [empty], "subject": subject} | changed).encode()


@pytest.mark.parametrize("what", ["an index", "by sha512", "of no media type", "of no layer", "not there"])
def test_a_referrer_that_nobody_of_us_could_have_written(small_registry, tmp_path, caplog, what):
    """It is left out with a word, and what was measured comes."""
    registry, own = small_registry(), measured_by(tmp_path / "own", "a")
    push_to(registry.host, own)
    subject, place = own.fragments(REFERENCE)[0].descriptor, repository(registry.host)
    data = _manifest(subject, **({"layers": []} if what == "of no layer" else {}))
    entry = {"mediaType": oci.MANIFEST_TYPE, "digest": oci.digest(data), "size": len(data)}
    if what == "an index":
        entry["mediaType"] = oci.INDEX_TYPE
    elif what == "by sha512":
        entry["digest"] = "sha512:" + "0" * 128
    elif what == "of no media type":
        del entry["mediaType"]
    elif what == "of no layer":
        place.put_manifest(own_tag(subject.digest, oci.digest(data)), oci.MANIFEST_TYPE, data)
    listed = json.loads(registry.manifests[NAME][fallback_tag(subject.digest)][1])
    listed["manifests"].append(entry)
    place.put_manifest(fallback_tag(subject.digest), oci.INDEX_TYPE, json.dumps(listed).encode())
    logging.getLogger("splitplace").propagate = True
    assert pull_from(registry.host, tmp_path / "new").records == 1
    assert [found.message for found in caplog.records if "left out" in found.message]


def test_a_tag_for_a_referrer_of_no_layer(small_registry, tmp_path):
    """It stands in no list, and gets into none."""
    registry, own = small_registry(), measured_by(tmp_path / "own", "a")
    push_to(registry.host, own)
    subject = own.fragments(REFERENCE)[0].descriptor
    data = _manifest(subject, layers=[])
    repository(registry.host).put_manifest(own_tag(subject.digest, oci.digest(data)), oci.MANIFEST_TYPE, data)
    assert len(Referrers(repository(registry.host)).find(subject.digest)) == 1


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_a_list_with_what_is_no_number_of_json(small_registry, tmp_path, number):
    """It cannot be written back as it stands: one line that names it."""
    registry, own = small_registry(), measured_by(tmp_path / "own", "a")
    subject = own.fragments(REFERENCE)[0].descriptor
    listed = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": [{"x": "NUMBER"}]}
    text = json.dumps(listed).replace('"NUMBER"', number)
    repository(registry.host).put_manifest(fallback_tag(subject.digest), oci.INDEX_TYPE, text.encode())
    with pytest.raises(IntegrityError, match=f"{fallback_tag(subject.digest)}: a list with NaN or infinity"):
        push_to(registry.host, own)


def test_a_tag_that_only_looks_like_one_is_left_out(small_registry, tmp_path):
    """sha256-HEX.OWN that stands for something else: neither listed nor pulled."""
    registry, own = small_registry(), measured_by(tmp_path / "own", "a")
    push_to(registry.host, own)
    first, second = own.fragments(REFERENCE)
    kept = registry.manifests[NAME]
    record = own.measurements(REFERENCE)[0].digest
    kept[own_tag(second.descriptor.digest, record)] = kept[record]
    kept[own_tag(second.descriptor.digest, "sha256:" + "0" * 64)] = kept[record]
    assert Referrers(repository(registry.host)).find(second.descriptor.digest) == []
    assert [found.digest for found in Referrers(repository(registry.host)).find(first.descriptor.digest)] == [record]


def test_what_was_measured_here_later_stays(small_registry, tmp_path):
    """A pull puts no older measurement of a device in place of a newer one, but a newer one in place of an older."""
    registry, artifact = small_registry(), branches()
    remote, local = CatalogWriter(tmp_path / "remote"), CatalogWriter(tmp_path / "local")

    def attached(catalog, created, median_s):
        record = profile(artifact, median_s=median_s)
        told = record.provenance.model_copy(update={"created": created})
        catalog.attach(REFERENCE, record.model_copy(update={"provenance": told}))

    for catalog in (remote, local):
        catalog.write(artifact)
    attached(local, "2026-01-02T00:00:00+00:00", 2.0)
    attached(remote, "2026-01-01T00:00:00+00:00", 1.0)
    push_to(registry.host, remote)
    pull_from(registry.host, local.path)
    assert [found.latency_s(1) for found in local.profiles(REFERENCE)] == [2.0]
    attached(remote, "2026-01-03T00:00:00+00:00", 3.0)
    push_to(registry.host, remote)
    pull_from(registry.host, local.path)
    assert [found.latency_s(1) for found in local.profiles(REFERENCE)] == [3.0]
    assert [found.latency_s(1) for found in _pulled(registry, tmp_path / "new")] == [3.0], "of both, the later"


def test_what_was_measured_is_there_before_the_tag(small_registry, catalog):
    """Who pulls while it is pushed gets no unprofiled split: everything else is stored before the tag."""
    registry = small_registry()
    push_to(registry.host, catalog)
    stored = [path.rpartition("/")[2] for method, path, _ in registry.seen if method == "PUT" and "/manifests/" in path]
    assert stored.index(REFERENCE) == len(stored) - 1
    assert len(stored) > 6


@pytest.mark.parametrize("order", [(0.25, 0.5, 0.75), (0.75, 0.5, 0.25), (0.5, 0.75, 0.25)])
def test_of_two_evaluations_the_later_comes(small_registry, tmp_path, order):
    """Each is pushed, so that all lie in the registry: pulled or only looked at, it is the one that superseded them."""
    registry, own, local = small_registry(), CatalogWriter(tmp_path / "own"), tmp_path / "local"
    own.write(branches())
    for top1 in order:
        own.attach(REFERENCE, evaluation(top1))
        push_to(registry.host, own)
        pull_from(registry.host, local)
        assert Catalog(local).evaluations(REFERENCE) == (evaluation(top1),), "beside what was there before"
    pull_from(registry.host, tmp_path / "new")
    assert Catalog(tmp_path / "new").evaluations(REFERENCE) == (evaluation(order[-1]),)
    places = Places(repository(registry.host))
    found = look_up(places, parse_remote(f"oci://{registry.host}/{NAME}:{REFERENCE}"))
    assert len(found.records) == 3
    assert read_split(places, found)[2] == evaluation(order[-1])


def test_the_same_evaluation_again_is_the_same(tmp_path):
    """It supersedes nothing: no digest changes."""
    own = CatalogWriter(tmp_path / "own")
    own.write(branches())
    for top1 in (0.5, 0.75):
        own.attach(REFERENCE, evaluation(top1))
    before = own.measurements(REFERENCE)
    own.attach(REFERENCE, evaluation(0.75))
    assert own.measurements(REFERENCE) == before


def _pulled(registry, path):
    pull_from(registry.host, path)
    return Catalog(path).profiles(REFERENCE)
