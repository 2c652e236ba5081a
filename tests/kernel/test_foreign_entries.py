"""What others list in a catalog's folder, which is an OCI layout: signatures, bills of materials, images."""

import json

import pytest

from splitplace.catalog import oci
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.records.evaluation import Evaluation

REFERENCE = "toy.linear.semantic-2"


@pytest.fixture
def catalog(artifact, tmp_path):
    """A catalog of one split."""
    writer = CatalogWriter(tmp_path / "c")
    writer.write(artifact)
    return writer


def put(catalog, data):
    """Store a blob as other tools do."""
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    catalog.blobs.path(oci.digest(data)).write_bytes(data)
    return {"digest": oci.digest(data), "size": len(data)}


def enlist(catalog, entry):
    """Add an entry to index.json."""
    path = catalog.path / "index.json"
    index = json.loads(path.read_text())
    index["manifests"].append(entry)
    path.write_text(json.dumps(index))


def signature(catalog):
    """Attached to the split, as `notation sign --oci-layout` and `oras attach` do."""
    subject = catalog.split_descriptor(REFERENCE)
    kind = "application/vnd.cncf.notary.signature"
    layer, config = put(catalog, b"signed"), put(catalog, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST_TYPE,
        "artifactType": kind,
        "config": {"mediaType": kind, **config},
        "layers": [{"mediaType": "application/jose+json", **layer}],
        "subject": {"mediaType": subject.mediaType, "digest": subject.digest, "size": subject.size},
    }
    return {"mediaType": oci.MANIFEST_TYPE, "artifactType": kind, **put(catalog, document)}


def bare(catalog):
    """An artifact of an older form: its type is its config's, and it has no layer."""
    config = {"mediaType": "application/vnd.example.config.v1+json", **put(catalog, b'{"a": 1}')}
    document = {"schemaVersion": 2, "mediaType": oci.MANIFEST_TYPE, "config": config, "layers": []}
    return {"mediaType": oci.MANIFEST_TYPE, "annotations": {oci.REF_NAME: "latest"}, **put(catalog, document)}


def docker(catalog):
    """An image in Docker's own form, below a list of such."""
    image = {"schemaVersion": 2, "config": put(catalog, b'{"os": "linux"}'), "layers": [put(catalog, b"\x1f\x8blayer")]}
    listed = {"schemaVersion": 2, "manifests": [put(catalog, image)]}
    kind = "application/vnd.docker.distribution.manifest.list.v2+json"
    return {"mediaType": kind, "annotations": {oci.REF_NAME: "v1"}, **put(catalog, listed)}


@pytest.mark.parametrize("foreign", [signature, bare, docker])
def test_gc_keeps_what_others_have_listed(catalog, foreign):
    """The entry and all blobs that it mentions were removed, without a word; what nothing leads to still is."""
    enlist(catalog, foreign(catalog))
    before = {path: path.read_bytes() for path in catalog.blobs.folder.iterdir()}
    index = (catalog.path / "index.json").read_bytes()
    catalog.blobs.path("sha256:" + "0" * 64).write_bytes(b"stray")
    assert catalog.gc() == (1, 5)
    assert {path: path.read_bytes() for path in catalog.blobs.folder.iterdir()} == before
    assert (catalog.path / "index.json").read_bytes() == index


@pytest.mark.parametrize("foreign", [signature, bare])
def test_a_catalog_is_read_and_measured_beside_what_others_attach(catalog, foreign):
    """A signature made `catalog ls` and every measurement fail."""
    enlist(catalog, foreign(catalog))
    measured = Evaluation(dataset="toy", sha256="0" * 64, n=10, top1=0.5, seed=0, source="test")
    catalog.attach(REFERENCE, measured)
    assert catalog.evaluation(REFERENCE) == measured
    assert catalog.profiles(REFERENCE) == ()
    assert len(catalog.measurements(REFERENCE)) == 1
    found = catalog.verify()
    assert (found.problems, found.splits, found.records) == ((), 1, 1)
