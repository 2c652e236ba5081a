"""What an image begins with: a layout's or a registry's, and why another will not do."""

import gzip
import io
import json
import lzma
import tarfile

import pytest

from splitplace.errors import ContractError, IntegrityError, NotFoundError, UsageError
from splitplace.export.oci_image.base import architecture, open_base
from splitplace.export.oci_image.base_sources import LayoutSource
from splitplace.export.oci_image.layer_tree import MAX_HEAD_BYTES, MAX_PATH, LayerTree
from splitplace.export.oci_image.machine_python import python_name
from tests.export.oci_image.conftest import GZIP, PYTHON, digest_of, packed, repacked

INDEX = "application/vnd.oci.image.index.v1+json"


def opened(layout, tag=""):
    """A base of it."""
    name = f"oci:{layout.path}" + (f":{tag}" if tag else "")
    return open_base(name, LayoutSource(name))


def test_a_base_is_read_as_it_is(layout):
    """Its layers in order, its configuration, and where its Python is."""
    base = layout()
    base.name("slim", base.image({"etc/os-release": b"x"}, PYTHON))
    found = opened(base)
    assert (len(found.layers), found.python) == (2, f"/usr/local/bin/{python_name()}")
    assert found.config.config["Env"] == ["PATH=/usr/local/bin:/usr/bin"]
    assert opened(base, "slim") == found.__class__(f"oci:{base.path}:slim", found.config, found.layers, found.python)


def test_of_several_platforms_this_machines_is_taken(layout):
    """By the index; one without this machine's says which there are."""
    base = layout()
    here = base.image(PYTHON) | {"platform": {"os": "linux", "architecture": architecture()}}
    there = base.image({"x": b""}, architecture="s390x") | {"platform": {"os": "linux", "architecture": "s390x"}}
    for tag, images in (("both", [there, here]), ("other", [there])):
        base.name(tag, base.put_json(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": images}))
    assert opened(base, "both").config.architecture == architecture()
    with pytest.raises(ContractError, match=rf"has images for linux/s390x, expected linux/{architecture()}"):
        opened(base, "other")


@pytest.mark.parametrize(
    ("layers", "config", "said"),
    [
        ([PYTHON], {"architecture": "s390x"}, "is for linux/s390x, expected linux/"),
        ([{"bin/sh": b""}], {}, "has no Python in its PATH, expected python3"),
        ([{"usr/local/bin/python2.7": b""}], {}, "has /usr/local/bin/python2.7 in its PATH, expected python3"),
        ([{f"opt/{python_name()}": b""}], {}, "has no Python in its PATH"),
        ([PYTHON, {f"usr/local/bin/.wh.{python_name()}": b""}], {}, "has no Python in its PATH"),
        ([PYTHON, {"usr/local/.wh..wh..opq": b""}], {}, "has no Python in its PATH"),
        ([PYTHON | {"lib/ld-musl-x86_64.so.1": b""}], {}, "is made of musl, expected glibc"),
        ([{f"usr/local/bin/{python_name()}": b""}], {}, r"has no libstdc\+\+\.so\.6"),
    ],
)
def test_a_base_on_which_the_packages_would_not_run(layout, layers, config, said):
    """Another processor, no Python, another one, one that a later layer takes away, another C library."""
    base = layout()
    base.name("base", base.image(*layers, **config))
    with pytest.raises(ContractError, match=said):
        opened(base)


def test_a_damaged_base(layout):
    """A layer that is gone, one that is no tar, a manifest that is none, an artifact: each said in one line."""
    base = layout()
    entry = base.image(PYTHON)
    base.name("base", entry)
    manifest = json.loads((base.path / "blobs/sha256" / entry["digest"].partition(":")[2]).read_bytes())
    layer = base.path / "blobs/sha256" / manifest["layers"][0]["digest"].partition(":")[2]
    layer.write_bytes(b"other")
    with pytest.raises(IntegrityError, match="missing or damaged"):
        opened(base)
    broken = manifest | {"layers": [base.put("application/vnd.oci.image.layer.v1.tar", b"no tar" * 200)]}
    base.name("broken", base.put_json("application/vnd.oci.image.manifest.v1+json", broken))
    with pytest.raises(IntegrityError, match="no tar that can be read"):
        opened(base, "broken")
    base.name("none", base.put_json("application/vnd.oci.image.manifest.v1+json", {"schemaVersion": 2}))
    with pytest.raises(IntegrityError, match="not an OCI manifest"):
        opened(base, "none")
    artifact = manifest | {"config": base.put("application/vnd.oci.empty.v1+json", b"{}")}
    base.name("artifact", base.put_json("application/vnd.oci.image.manifest.v1+json", artifact))
    with pytest.raises(IntegrityError, match="expected an image"):
        opened(base, "artifact")


def test_which_base(layout, tmp_path):
    """No layout, no such image, and several without a name."""
    with pytest.raises(NotFoundError, match="no OCI image layout"):
        LayoutSource(f"oci:{tmp_path}/nowhere:slim")
    base = layout()
    base.name("a", base.image(PYTHON))
    base.name("b", base.image(PYTHON))
    with pytest.raises(NotFoundError, match=r"no image 'c' in .*, which holds a, b"):
        LayoutSource(f"oci:{base.path}:c")
    with pytest.raises(UsageError, match=r"expected :TAG with one of a, b"):
        LayoutSource(f"oci:{base.path}")


def with_link(kind: bytes, name: str, target: str) -> bytes:
    """The tar of a good base, and one link."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path in PYTHON:
            tar.addfile(tarfile.TarInfo(path))
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        tar.addfile(entry)
    return data.getvalue()


@pytest.mark.parametrize(
    "tar",
    [
        packed(PYTHON | {"../etc/cron.d/x": b""}),
        packed(PYTHON | {"usr/../../x": b""}),
        with_link(tarfile.SYMTYPE, "etc/x", "../../shadow"),
        with_link(tarfile.SYMTYPE, "etc/x", "/../shadow"),
        with_link(tarfile.LNKTYPE, "etc/x", "../shadow"),
    ],
)
def test_a_base_that_leads_out_of_itself_is_refused(layout, tar):
    """By a name or by either kind of link: it would be passed on to whoever unpacks the image."""
    base = layout()
    base.name("base", repacked(base, tar))
    with pytest.raises(IntegrityError, match="leads out of the image"):
        opened(base)


@pytest.mark.parametrize(
    ("kind", "target"),
    [(tarfile.SYMTYPE, "../usr/bin/env"), (tarfile.SYMTYPE, "/bin/env"), (tarfile.LNKTYPE, "usr/bin/env")],
)
def test_links_within_a_base_are_taken(layout, kind, target):
    """Up and down again, absolute, by the archive's own name: as every distribution has them."""
    base = layout()
    base.name("base", repacked(base, with_link(kind, "etc/x", target)))
    assert len(opened(base).layers) == 1


@pytest.mark.parametrize(
    ("media_type", "pack"),
    [(GZIP.removesuffix("+gzip"), gzip.compress), (GZIP, bytes), (GZIP, lzma.compress)],
    ids=["gzip as plain", "plain as gzip", "xz as gzip"],
)
def test_a_layer_is_read_as_what_it_is_stated_to_be(layout, media_type, pack):
    """And as nothing else that its bytes may be as well."""
    base, tar = layout(), packed(PYTHON)
    base.name("base", repacked(base, tar, media_type, pack(tar)))
    with pytest.raises(IntegrityError, match="no tar that can be read"):
        opened(base)


def test_a_plain_layer_is_read(layout):
    """By its media type, as a gzipped one is."""
    base, tar = layout(), packed(PYTHON)
    base.name("base", repacked(base, tar, GZIP.removesuffix("+gzip"), tar))
    assert opened(base).python == f"/usr/local/bin/{python_name()}"


def test_a_damaged_stream_in_a_layer(layout):
    """Of the right digest, but no deflate: said as every other damage."""
    base, tar = layout(), packed(PYTHON)
    whole = gzip.compress(tar)
    base.name("base", repacked(base, tar, data=whole[:10] + b"\xff" * (len(whole) - 10)))
    with pytest.raises(IntegrityError, match="no tar that can be read"):
        opened(base)


def test_another_tar_than_the_config_states(layout):
    """A runtime that unpacks the layer would refuse the image that is built on it."""
    base = layout()
    base.name("base", base.image(PYTHON, rootfs={"type": "layers", "diff_ids": [digest_of(b"")]}))
    with pytest.raises(IntegrityError, match=f"expected {digest_of(b'')}, as its config says"):
        opened(base)


@pytest.mark.parametrize(
    ("bounds", "said"), [({"entries": 3}, "more entries than"), ({"size_bytes": 3 * 10240 - 1}, "more bytes than")]
)
def test_bounds_hold_over_all_layers(tmp_path, bounds, said):
    """Of entries and of unpacked bytes: two layers of two entries, 10,240 bytes each, are below, a third is not."""
    path = tmp_path / "layer"
    path.write_bytes(gzip.compress(packed({"a": b"", "b": b""})))
    tree = LayerTree(**{"entries": 10, "size_bytes": 10**6} | bounds)
    tree.apply(path, GZIP, "it")
    with pytest.raises(IntegrityError, match=said):
        for _ in range(2):
            tree.apply(path, GZIP, "it")


def test_a_path_beyond_what_linux_has(tmp_path):
    """Is refused before it is kept."""
    path = tmp_path / "layer"
    path.write_bytes(packed({"a" * (MAX_PATH + 1): b""}))
    with pytest.raises(IntegrityError, match=r"a path of 4097 letters, expected 4096 at most"):
        LayerTree().apply(path, "plain", "it")


def test_a_layer_takes_away_of_those_below_not_of_itself(tmp_path):
    """Whiteouts, in whatever order they stand: a file, a folder with all in it, and what a folder held."""
    below = {"a/x": b"", "a/y": b"", "b/c/d": b"", "e/f/g": b"", "bc": b""}
    above = {"a/new": b"", "a/.wh.x": b"", ".wh.b": b"", "e/new": b"", "e/.wh..wh..opq": b""}
    tree = LayerTree()
    for name, files in (("below", below), ("above", above)):
        (tmp_path / name).write_bytes(packed(files))
        tree.apply(tmp_path / name, "plain", "it")
    assert tree.paths == {"/a/y", "/a/new", "/bc", "/e/new"}


def test_what_is_said_of_an_entry_is_bounded(tmp_path):
    """Tarfile reads it as a whole, so that a few packed bytes could take all memory; a large file is no such thing."""
    for name, entry in (("said", tarfile.TarInfo("a")), ("large", tarfile.TarInfo("a"))):
        if name == "said":
            entry.pax_headers = {"comment": "x" * (3 * MAX_HEAD_BYTES)}
        else:
            entry.size = 3 * MAX_HEAD_BYTES
        with tarfile.open(tmp_path / name, "w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(entry, io.BytesIO(bytes(entry.size)))
            tar.addfile(tarfile.TarInfo("b"))
    tree = LayerTree()
    tree.apply(tmp_path / "large", "plain", "it")
    assert tree.paths == {"/a", "/b"}
    with pytest.raises(IntegrityError, match="more than 1048576 bytes are said of one entry"):
        tree.apply(tmp_path / "said", "plain", "it")
