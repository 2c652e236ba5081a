"""What an image begins with: a layout's or a registry's, and why another will not do."""

import json

import pytest

from splitplace.errors import ContractError, IntegrityError, NotFoundError, UsageError
from splitplace.export.oci_image.base import architecture, open_base
from splitplace.export.oci_image.base_sources import LayoutSource
from splitplace.export.oci_image.machine_python import python_name
from tests.export.oci_image.conftest import PYTHON

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
