"""Against Debian's docker-registry (2.8.2, which has no referrers API): what was pushed comes back, whatever breaks."""

import base64
import contextlib
import json
import multiprocessing
import random
import shutil
import subprocess

import pytest

import splitplace as sp
from splitplace.catalog import Catalog
from splitplace.distribution.referrers import fallback_tag
from splitplace.errors import NotReadyError, UnknownCallerError
from splitplace.export.catalog_writer import CatalogWriter
from tests.distribution.conftest import (
    ONCE,
    REFERENCE,
    everything,
    profile,
    pull_from,
    push_to,
    repository,
    serving,
)
from tests.kernel.conftest import branches

PASSWORD = "pass word:1"  # noqa: S105 - of a registry that lives for a second
BCRYPT_OF_PASSWORD = "$2b$05$zGHiAGijNFLIJbY/QuaoQOSqA7L.Nr6bQTXBVwC3c15iJJ0hos.p2"  # noqa: S105


def test_what_was_pushed_comes_back_with_the_same_digests(registry, catalog, tmp_path):
    """Push, delete the catalog, pull: every byte and every measurement is there again, verified."""
    before, digest = everything(catalog.path), catalog.split_descriptor(REFERENCE).digest
    profiles, evaluations = catalog.profiles(REFERENCE), catalog.evaluations(REFERENCE)
    (pushed,) = sp.push(catalog.path, f"oci://{registry}/team/nets")
    assert pushed.remote == sp.RemoteReference(registry, "team/nets", REFERENCE, digest)
    assert (pushed.records, pushed.kept_bytes) == (3, 0)
    shutil.rmtree(catalog.path)
    (pulled,) = sp.pull(f"oci://{registry}/team/nets", tmp_path / "again").splits
    assert (pulled.reference, pulled.remote.digest, pulled.records) == (REFERENCE, digest, 3)
    again = Catalog(tmp_path / "again")
    assert everything(again.path) == before
    assert (again.profiles(REFERENCE), again.evaluations(REFERENCE)) == (profiles, evaluations)
    assert again.verify().problems == ()


def test_nothing_is_sent_or_fetched_twice(registry, catalog, tmp_path):
    """The same push and pull again: no byte of a blob goes over the network."""
    first = push_to(registry, catalog)
    second = push_to(registry, catalog)
    assert (second.sent_bytes, second.kept_bytes) == (0, first.sent_bytes)
    assert pull_from(registry, tmp_path / "again").came_bytes == first.sent_bytes
    assert pull_from(registry, tmp_path / "again").came_bytes == 0


def test_another_repository_of_the_registry_is_enough(registry, catalog, tmp_path):
    """With mount_from its blobs are taken over: no byte of one is sent, and all is there."""
    sp.push(catalog.path, f"oci://{registry}/team/nets")
    (pushed,) = sp.push(catalog.path, f"oci://{registry}/team/copy", mount_from="team/nets")
    assert pushed.sent_bytes == 0
    sp.pull(f"oci://{registry}/team/copy", tmp_path / "again")
    assert everything(tmp_path / "again") == everything(catalog.path)
    with pytest.raises(sp.UsageError, match=r"small letters and numbers"):
        sp.push(catalog.path, f"oci://{registry}/team/copy", mount_from="../x")


def cut_at(count: int) -> list[int]:
    """Random places in what a push or a pull of the catalog sends."""
    rng = random.Random(0)
    return [rng.randrange(230_000) for _ in range(count)]


@pytest.mark.parametrize("count", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_a_push_that_is_cut_anywhere_goes_on(registry, catalog, tmp_path, cut, count):
    """Cut off after so many bytes: what the registry has by then is not sent again, and the rest makes it whole."""
    digest = catalog.split_descriptor(REFERENCE).digest
    blobs = {part.digest: part for item in catalog.fragments(REFERENCE) for part in item.manifest.layers}
    for number, after in enumerate(cut_at(count)):
        name, proxy = f"team/n{number}", cut(registry)
        proxy.left_up = after
        with contextlib.suppress(NotReadyError):
            push_to(proxy.host, catalog, name, ONCE)
        there = sum(part.size for part in blobs.values() if repository(registry, name).has_blob(part.digest))
        counting = cut(registry)
        pushed = push_to(counting.host, catalog, name)
        assert pushed.kept_bytes >= there
        assert pushed.sent_bytes <= sum(part.size for part in blobs.values()) - there + 10_000  # configs and records
        assert counting.up < pushed.sent_bytes + 40_000, "more than the missing blobs went out"
        assert pull_from(registry, tmp_path / str(number), name).remote.digest == digest


@pytest.mark.parametrize("count", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_a_pull_that_is_cut_anywhere_goes_on(registry, catalog, tmp_path, cut, count):
    """To the byte: what came before the cut and what comes after it is all there is; no reader sees a half."""
    whole = push_to(registry, catalog).sent_bytes
    for number, after in enumerate(cut_at(count)):
        proxy, path = cut(registry), tmp_path / str(number)
        proxy.left_down = after
        with contextlib.suppress(NotReadyError):
            pull_from(proxy.host, path, patience=ONCE)
        kept = 0
        if path.exists():
            assert Catalog(path).references() in ((), (REFERENCE,))
            assert Catalog(path).verify().problems == ()
            kept = sum(file.stat().st_size for file in (*path.glob("blobs/sha256/*"), *path.glob(".new-blob-*")))
            if Catalog(path).references():
                continue
        assert pull_from(registry, path).came_bytes == whole - kept
        assert everything(path) == everything(catalog.path)


def _push_own(host, path, kind, barrier):
    artifact = branches(filling=1000)
    own = CatalogWriter(path)
    own.write(artifact)
    own.write(branches(seed=ord(kind[-1]), variant=kind))
    own.attach(REFERENCE, profile(artifact, kind=kind))
    own.attach(REFERENCE, profile(artifact, "leaf1", kind=kind))
    barrier.wait()
    sp.push(path, f"oci://{host}/team/nets")


@pytest.mark.parametrize(("writing", "rounds"), [(3, 1), pytest.param(8, 10, marks=pytest.mark.slow)])
def test_writers_at_once_lose_nothing(docker_registry, tmp_path, writing, rounds):
    """Each pushes the same split with a measurement of its own, and a split of its own: all of it is there."""
    context = multiprocessing.get_context("fork")
    for number in range(rounds):
        folder = tmp_path / str(number)
        kinds = [f"kind{i}" for i in range(writing)]
        with serving(docker_registry, folder / "registry") as host:
            barrier = context.Barrier(writing, timeout=120)
            writers = [
                context.Process(target=_push_own, args=(host, folder / kind, kind, barrier), daemon=True)
                for kind in kinds
            ]
            try:
                for writer in writers:
                    writer.start()
                for writer in writers:
                    writer.join(120)
                    assert writer.exitcode == 0
            finally:
                for writer in writers:
                    if writer.pid is not None:
                        writer.kill()
                        writer.join()
            sp.pull(f"oci://{host}/team/nets", folder / "all")
            found = Catalog(folder / "all")
            subject = found.fragments(REFERENCE)[0].descriptor.digest
            listed = repository(host).find_manifest(fallback_tag(subject))
        assert found.references() == (REFERENCE, *(f"toy.linear.semantic-{kind}" for kind in kinds))
        assert sorted(item.device.kind for item in found.profiles(REFERENCE)) == sorted(kinds * 2)
        assert found.verify().problems == ()
        assert len(json.loads(listed.data)["manifests"]) == writing, "what other tools read is whole, too"


@pytest.mark.slow
def test_skopeo_copies_to_it_and_back(registry, catalog, tmp_path):
    """A standard tool puts there what we pull, and takes from there what we push; the digests are the same."""
    skopeo = shutil.which("skopeo")
    assert skopeo, "skopeo is not installed: `apt-get install skopeo`, or run .ci/run"
    digest = catalog.split_descriptor(REFERENCE).digest

    def copy(source, target):
        told = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        subprocess.run([skopeo, "copy", "--all", *told, source, target], check=True, timeout=300, capture_output=True)

    copy(f"oci:{catalog.path}:{REFERENCE}", f"docker://{registry}/by-skopeo:{REFERENCE}")
    (pulled,) = sp.pull(f"oci://{registry}/by-skopeo:{REFERENCE}", tmp_path / "ours").splits
    assert pulled.remote.digest == digest
    assert Catalog(tmp_path / "ours").verify().problems == ()
    sp.push(catalog.path, f"oci://{registry}/ours")
    copy(f"docker://{registry}/ours:{REFERENCE}", f"oci:{tmp_path / 'theirs'}:{REFERENCE}")
    back = Catalog(tmp_path / "theirs")
    assert back.split_descriptor(REFERENCE).digest == digest
    assert back.verify().problems == ()


def test_who_is_logged_in_is_let_in(docker_registry, catalog, tmp_path, monkeypatch):
    """By the file that `docker login` writes; nobody, and somebody with another password, in one line each."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    (tmp_path / "htpasswd").write_text(f"ann:{BCRYPT_OF_PASSWORD}\n")
    auth = f"auth: {{htpasswd: {{realm: test, path: {tmp_path / 'htpasswd'}}}}}\n"
    with serving(docker_registry, tmp_path / "registry", auth) as host:
        with pytest.raises(UnknownCallerError, match=f"answers 401: log in with `docker login {host}`"):
            push_to(host, catalog)
        for password, is_let_in in (("wrong", False), (PASSWORD, True)):
            auth = base64.b64encode(f"ann:{password}".encode()).decode()
            (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
            if not is_let_in:
                with pytest.raises(UnknownCallerError) as raised:
                    push_to(host, catalog)
                assert password not in str(raised.value)
                continue
            push_to(host, catalog)
            assert pull_from(host, tmp_path / "again").reference == REFERENCE


def certificate(folder, name):
    """A certificate for 127.0.0.1 that vouches for itself, and its key: two paths."""
    openssl = shutil.which("openssl")
    assert openssl
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    told = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            *told,
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-out",
            paths[0],
            "-keyout",
            paths[1],
        ],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return paths


def test_a_certificate_is_taken_from_who_is_trusted_alone(docker_registry, catalog, tmp_path):
    """With its own authority as --ca it works; with another one, and over plain HTTP, one line each."""
    (own, key), (other, _) = certificate(tmp_path, "own"), certificate(tmp_path, "other")
    tls = f"  tls: {{certificate: {own}, key: {key}}}\n"
    with serving(docker_registry, tmp_path / "registry", tls) as host:
        remote = f"oci://{host}/team/nets"
        sp.push(catalog.path, remote, ca=own)
        sp.pull(remote, tmp_path / "again", ca=own)
        with pytest.raises(sp.SplitPlaceError, match=f"https://{host}: the certificate is not trusted .*--ca FILE"):
            sp.pull(remote, tmp_path / "never", ca=other)
        with pytest.raises(sp.SplitPlaceError, match="answers 400"):
            sp.pull(remote, tmp_path / "never")
        with pytest.raises(sp.UsageError, match="--ca goes with TLS"):
            sp.pull(remote, tmp_path / "never", ca=own, plain_http=True)
    assert not (tmp_path / "never").exists()
