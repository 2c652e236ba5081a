"""Whole images: the same digests from the same input, what a container runtime reads, what they are built on."""

import json
import shutil
import subprocess

import pytest

from splitplace import build_images
from splitplace.catalog.layout_writer import LayoutWriter
from splitplace.errors import NotFoundError, UsageError
from splitplace.export.oci_image.machine_python import python_name
from tests.distribution.conftest import docker_registry as docker_registry
from tests.distribution.conftest import serving
from tests.distribution.small_registry import SmallRegistry
from tests.export.oci_image.conftest import PYTHON, REFERENCE

pytestmark = pytest.mark.slow
"""Each packs the packages of a device."""

SKOPEO = shutil.which("skopeo") or "skopeo is not installed: run .ci/run"


def read(layout, digest):
    """A document of a layout."""
    return json.loads((layout / "blobs/sha256" / digest.partition(":")[2]).read_bytes())


def config(layout, digest):
    """Of an image."""
    return read(layout, read(layout, digest)["config"]["digest"])


def test_the_same_input_has_the_same_digests(built, built_again):
    """Whoever builds it, with whatever hashes, umask, zone, folder."""
    assert [image.digest for image in built.images] == built_again


def test_an_image_a_split_and_one_a_fragment(built, graph):
    """They share all but their models; a fragment's layer is the same in both."""
    assert [image.tag for image in built.images] == [REFERENCE, *(f"{REFERENCE}.{name}" for name in graph.models)]
    whole, *single = built.images
    assert len(built.shared) == 3
    for image in single:
        assert image.layers[:3] == built.shared
        (own,) = image.layers[3:]
        assert own in whole.layers and own.is_model
    assert len(whole.layers) == 3 + len(graph.models) + 1


def test_what_a_runtime_is_told(built):
    """Nobody's user, one command, its port, how to stop it and how to ask for its health; no time, no place of ours."""
    told = config(built.layout, built.images[0].digest)
    run = told["config"]
    assert run["User"] == "65532:65532" and run["StopSignal"] == "SIGTERM" and run["ExposedPorts"] == {"8000/tcp": {}}
    command = [f"/usr/local/bin/{python_name()}", "-P", "-m", "splitplace.placement.standalone"]
    assert run["Entrypoint"] == command and run["Healthcheck"]["Test"] == ["CMD", *command, "--health"]
    assert "ORT_DISABLE_TELEMETRY=1" in run["Env"]
    assert len(told["rootfs"]["diff_ids"]) == len(built.images[0].layers) == len(told["history"])
    assert "created" not in told and str(built.layout) not in json.dumps(told)


def test_other_tools_read_them(built, tmp_path):
    """Skopeo copies every layer, and holds each against its digest."""
    for image in built.images[:2]:
        target = f"oci:{tmp_path}/copy:{image.tag}"
        subprocess.run([SKOPEO, "copy", "-q", f"oci:{built.layout}:{image.tag}", target], check=True)
    copied = json.loads((tmp_path / "copy/index.json").read_text())
    assert [entry["digest"] for entry in copied["manifests"]] == [image.digest for image in built.images[:2]]


def test_on_somebodys_base(catalog, layout, tmp_path):
    """Of a layout and, byte for byte the same, of a registry: its layers below, its environment, not its command."""
    base = layout()
    entry = base.image({"etc/issue": b"x"}, PYTHON)
    base.name("slim", entry)
    place = f"{catalog}:{REFERENCE}"
    one = build_images(place, tmp_path / "one", base=f"oci:{base.path}", fragments=["leaf0"])
    registry = SmallRegistry()
    try:
        blobs = {f"sha256:{path.name}": path.read_bytes() for path in (base.path / "blobs/sha256").iterdir()}
        registry.blobs["slim"] = blobs
        manifest = entry["mediaType"], blobs[entry["digest"]]
        registry.manifests["slim"] = {"3": manifest, entry["digest"]: manifest}
        name = f"oci://{registry.host}/slim:3"
        two = build_images(place, tmp_path / "two", base=name, fragments=["leaf0"])
    finally:
        registry.close()
    assert one.images == two.images
    (image,) = one.images
    told = config(one.layout, image.digest)
    assert [layer["digest"] for layer in read(one.layout, image.digest)["layers"][:2]] == [
        layer["digest"] for layer in read(base.path, entry["digest"])["layers"]
    ]
    assert "PATH=/usr/local/bin:/usr/bin" in told["config"]["Env"] and "Cmd" not in told["config"]
    assert told["history"][0] == {"created_by": "hand"}
    assert [layer.what for layer in image.layers[:2]] == ["base", "base"]


def test_what_no_image_has_any_more_is_removed(built, catalog, tmp_path):
    """`catalog gc` on a layout of images: all of them stay, whole; a layer of a former one goes."""
    folder = tmp_path / "images"
    subprocess.run([SKOPEO, "copy", "-q", f"oci:{built.layout}:{REFERENCE}", f"oci:{folder}:{REFERENCE}"], check=True)
    before = {path.name for path in (folder / "blobs/sha256").iterdir()}
    (folder / "blobs/sha256" / ("0" * 64)).write_bytes(b"former")
    assert LayoutWriter(folder).gc() == (1, 6)
    assert {path.name for path in (folder / "blobs/sha256").iterdir()} == before
    assert read(folder, built.images[0].digest)["layers"]


def test_through_a_registry_and_back(built, docker_registry, catalog, tmp_path):
    """Debian's: pushed by skopeo, the digest stays, and the image is a base of another."""
    with serving(docker_registry, tmp_path / "registry") as host:
        source, tls = f"oci:{built.layout}:{REFERENCE}", "--dest-tls-verify=false"
        subprocess.run([SKOPEO, "copy", "-q", tls, source, f"docker://{host}/team/toy:1"], check=True)
        base = f"oci://{host}/team/toy@{built.images[0].digest}"
        (image,) = build_images(
            f"{catalog}:{REFERENCE}", tmp_path / "out", base=base, fragments=["leaf0"], plain_http=True
        ).images
    below = [layer["digest"] for layer in read(built.layout, built.images[0].digest)["layers"]]
    assert [layer.digest for layer in image.layers[: len(below)]] == below


def test_what_it_refuses(catalog, tmp_path):
    """A fragment that is not there, a base that is none, a catalog as the place for images; nothing is left."""
    place = f"{catalog}:{REFERENCE}"
    with pytest.raises(NotFoundError, match=r"unknown fragment of toy\.tiny\.semantic-2x2 'leaf9'"):
        build_images(place, tmp_path / "out", fragments=["leaf9"])
    with pytest.raises(UsageError, match="--base slim: expected oci:FOLDER"):
        build_images(place, tmp_path / "out", base="slim")
    with pytest.raises(UsageError, match="is a catalog of splits: give a folder of its own to images"):
        build_images(place, catalog)
    with pytest.raises(NotFoundError, match="no catalog"):
        build_images(str(tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
