"""What a registry may answer, out of malice or misfortune: one clear line, and a catalog that is as it was."""

import copy
import fcntl
import json
import logging
import socket
import threading

import pytest

import splitplace as sp
from splitplace.catalog import oci
from splitplace.catalog.layout_writer import LayoutWriter, canonical
from splitplace.distribution.mirrors import Places
from splitplace.distribution.pull import look_up
from splitplace.distribution.reference import parse_remote
from splitplace.distribution.transport import Patience, Transport
from splitplace.errors import (
    ContractError,
    ForbiddenError,
    IntegrityError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    SplitPlaceError,
    TooLargeError,
    UsageError,
)
from tests.distribution.conftest import NO_WAIT, REFERENCE, everything, pull_from, push_to, repository

NAME = "team/nets"
EMPTY_INDEX = {"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": []}


@pytest.fixture
def filled(small_registry, pushed):
    """A registry with the split in it."""
    registry = small_registry()
    registry.blobs, registry.manifests = copy.deepcopy(pushed)
    return registry


def refused(registry, path, error, message):
    """A pull into an empty and into a filled catalog fails by this message, in one line, and changes nothing."""
    for folder in (path / "new", path / "catalog"):
        before, listed = everything(folder), index_of(folder)
        with pytest.raises(error, match=message) as raised:
            pull_from(registry.host, folder)
        assert "\n" not in str(raised.value)
        assert not list(folder.glob("blobs/sha256/*")) or folder.name == "catalog"
        assert (everything(folder), index_of(folder)) == (before, listed)


def index_of(folder):
    """The list of a catalog: of one that a refused pull made, an empty one."""
    path = folder / "index.json"
    return json.loads(path.read_bytes()) if path.exists() else EMPTY_INDEX


def renamed(registry, change):
    """The split's first manifest changed by somebody who puts everything else right: index and tag lead to it."""
    kept = registry.manifests[NAME]

    def put(media_type, document):
        data = canonical(document).encode()
        kept[oci.digest(data)] = (media_type, data)
        return {"digest": oci.digest(data), "size": len(data)}

    index = json.loads(kept[REFERENCE][1])
    manifest = json.loads(kept[index["manifests"][0]["digest"]][1])
    change(manifest)
    index["manifests"][0] |= put(oci.MANIFEST_TYPE, manifest)
    kept[REFERENCE] = (oci.INDEX_TYPE, canonical(index).encode())
    kept[put(oci.INDEX_TYPE, index)["digest"]] = kept[REFERENCE]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "model.onnx/../x", "weights.bin"])
def test_a_layer_that_is_called_otherwise(filled, catalog, tmp_path, name):
    """No name of a layer ever becomes a path; one that is not ours is refused before a byte of it is fetched."""
    renamed(filled, lambda manifest: manifest["layers"][0].update(annotations={oci.FILEPATH: name, oci.TITLE: name}))
    refused(
        filled, tmp_path, IntegrityError, "a layer application/vnd.cncf.model.weight.v1.raw named .*expected model.onnx"
    )


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha512:" + "0" * 128, "x", ""])
def test_a_digest_that_is_none(filled, tmp_path, digest, catalog):
    """It would be a path of blobs."""
    renamed(filled, lambda manifest: manifest["layers"][0].update(digest=digest))
    refused(filled, tmp_path, IntegrityError, "layers.0.digest")


def test_a_blob_that_is_another(filled, catalog, tmp_path):
    """Same size, other bytes: the digests of both, and nothing of it stays."""
    digest = catalog.fragments(REFERENCE)[0].fragment.digest
    size = len(filled.blobs[NAME][digest])
    filled.blobs[NAME][digest] = bytes(size)
    wrong = oci.digest(bytes(size))
    with pytest.raises(
        IntegrityError, match=f"got {size} bytes with the digest {wrong}, expected {size} with {digest}"
    ):
        pull_from(filled.host, tmp_path / "new")
    found = sp.Catalog(tmp_path / "new")
    assert found.references() == ()
    assert not found.blobs.path(digest).exists()
    assert not list(found.path.glob(".new-*"))


@pytest.mark.parametrize("more", [b"x", b"x" * 5_000_000])
def test_a_blob_that_does_not_end(filled, catalog, tmp_path, more):
    """Not a byte more than its descriptor states is written."""
    digest = catalog.fragments(REFERENCE)[0].fragment.digest
    size = len(filled.blobs[NAME][digest])
    filled.blobs[NAME][digest] += more
    with pytest.raises(IntegrityError, match=f"got more than {size} bytes"):
        pull_from(filled.host, tmp_path / "new")
    assert sp.Catalog(tmp_path / "new").references() == ()


def test_a_manifest_of_100_mb(filled, catalog, tmp_path):
    """Stated: refused before it is read. Not stated: after 4 MiB of it."""
    filled.before = lambda method, path, body: (
        (200, {"Content-Length": "104857600"}, b"") if "/manifests/" in path else None
    )
    refused(filled, tmp_path, TooLargeError, "answers with 104857600 bytes, expected at most 4194304: nothing was kept")
    endless = {"Content-Length": "", "Connection": "close"}
    filled.before = lambda method, path, body: (200, endless, bytes(5 * 2**20)) if "/manifests/" in path else None
    refused(filled, tmp_path, (TooLargeError, NotReadyError), "at most 4194304|ended")


def test_a_manifest_that_states_a_layer_of_exabytes(filled, catalog, tmp_path):
    """No descriptor may state more than a model can have."""
    renamed(filled, lambda manifest: manifest["layers"][0].update(size=2**60))
    refused(filled, tmp_path, IntegrityError, "layers.0.size: Input should be less than or equal to 2147483647")


def test_a_contract_as_large_as_a_model(filled, catalog, tmp_path):
    """Documents are read whole, so they are bounded before they are fetched."""
    renamed(filled, lambda manifest: manifest["layers"][1].update(size=2**30))
    refused(filled, tmp_path, IntegrityError, "1073741824 bytes, expected at most 4194304")


def test_a_manifest_with_another_digest(filled, catalog, tmp_path):
    """What is asked for by digest is held against it, whatever the registry says of it."""
    index = json.loads(filled.manifests[NAME][REFERENCE][1])
    first, second = (entry["digest"] for entry in index["manifests"])
    filled.manifests[NAME][first] = filled.manifests[NAME][second]
    refused(filled, tmp_path, IntegrityError, f"the manifest {first} has the digest {second}, expected {first}")


def test_a_tag_that_moved(filled, catalog, tmp_path):
    """A deployment pins the digest: with the tag beside it, it says that both must hold; alone, it is had as pinned."""
    pinned = catalog.split_descriptor(REFERENCE).digest
    renamed(filled, lambda manifest: manifest.update(annotations={"x": "y"}))
    asked = parse_remote(f"oci://{filled.host}/{NAME}:{REFERENCE}@{pinned}")
    places = Places(repository(filled.host))
    with pytest.raises(ContractError, match=f"has moved: it is sha256:.* now, expected {pinned}: leave out the tag"):
        look_up(places, asked)
    assert look_up(places, asked.at(digest=pinned)).remote.digest == pinned


def test_a_tag_that_moves_while_it_is_pulled(filled, catalog, tmp_path):
    """What the tag was at first is what comes, whole."""
    digest, asked = catalog.split_descriptor(REFERENCE).digest, []

    def before(method, path, body):
        if path.endswith(REFERENCE):
            asked.append(path)
            if len(asked) == 2:
                renamed(filled, lambda manifest: manifest.update(annotations={"x": "y"}))

    filled.before = before
    assert pull_from(filled.host, tmp_path / "new").remote.digest == digest
    assert sp.Catalog(tmp_path / "new").split_descriptor(REFERENCE).digest == digest


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, SplitPlaceError, "answers 401 DENIED: who are you: log in with `docker login"),
        (403, ForbiddenError, "answers 403 DENIED: who are you: whoever is logged in at .* may not do this"),
        (404, NotFoundError, "answers 404 DENIED: who are you: expected a repository, tag or digest that is there"),
        (418, SplitPlaceError, "answers 418 DENIED: who are you: not what the distribution specification has"),
        (503, OverloadedError, "answers 503 DENIED: who are you: the registry is busy or broken: try again later"),
    ],
)
def test_a_registry_that_refuses(filled, catalog, tmp_path, status, error, message):
    """By its status and its own words, made safe for one line."""
    said = b'{"errors": [{"code": "DENIED", "message": "who\\nare you"}]}'.replace(b"\\n", b" ")
    filled.before = lambda method, path, body: (status, {}, said)
    refused(filled, tmp_path, error, message)


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[]", b'{"errors": []}', b'{"errors": [1]}', b"\xff" * 70_000, b"[" * 60_000]
)
def test_a_refusal_that_is_no_json(filled, catalog, tmp_path, said):
    """The status alone is said."""
    filled.before = lambda method, path, body: (403, {}, said)
    refused(filled, tmp_path, (ForbiddenError, TooLargeError), "answers 403: whoever|expected at most 65536")


def test_a_busy_registry_is_asked_again_when_it_says(filled, tmp_path):
    """429 with Retry-After, three times: so many seconds are waited each time, then it goes on."""
    waits, left = [], [7, 7, 7]
    filled.before = lambda method, path, body: (429, {"Retry-After": str(left.pop())}, b"") if left else None
    pull_from(filled.host, tmp_path / "new", patience=Patience(sleep=waits.append))
    assert waits == [7.0, 7.0, 7.0]


def test_nobody_waits_for_an_hour(filled, tmp_path):
    """Beyond a minute the command ends, and says when to come again."""
    waits = []
    filled.before = lambda method, path, body: (429, {"Retry-After": "3600"}, b"")
    with pytest.raises(OverloadedError, match="answers 429: the registry is busy or broken: try again in 3600 s"):
        pull_from(filled.host, tmp_path / "new", patience=Patience(sleep=waits.append))
    assert waits == []


def test_nobody_there(catalog, tmp_path):
    """A port where nothing listens: at once, with what was expected there."""
    with socket.socket() as probe:  # it keeps the port from others meanwhile
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(
            NotReadyError, match=f"http://{host}: the registry cannot be reached .Connection refused.: expected"
        ):
            sp.pull(f"oci://{host}/team/nets", tmp_path / "new")
        with pytest.raises(NotReadyError, match="cannot be reached"):
            sp.push(catalog.path, f"oci://{host}/team/nets")
    assert not (tmp_path / "new").exists()


def test_a_download_that_breaks_goes_on_by_itself(filled, catalog, tmp_path):
    """Each answer ends after 30,000 bytes: the next one begins there, and no byte comes twice."""
    filled.cut_after = lambda method, path: 30_000 if "/blobs/" in path else None
    pulled = pull_from(filled.host, tmp_path / "new")
    assert pulled.came_bytes == sum(len(data) for data in filled.blobs[NAME].values())
    assert everything(tmp_path / "new") == everything(catalog.path)


def test_a_registry_without_ranges_sends_from_the_beginning(filled, catalog, tmp_path):
    """Then what there was is thrown away, and it is right all the same."""
    answers = iter([30_000])
    filled.cut_after = lambda method, path: next(answers, None) if "/blobs/" in path else None
    whole = filled.answer

    def answer(method, path, body, headers):
        return whole(method, path, body, {name: value for name, value in headers.items() if name != "Range"})

    filled.answer = answer
    pull_from(filled.host, tmp_path / "new")
    assert everything(tmp_path / "new") == everything(catalog.path)


def test_an_upload_that_breaks_goes_on_where_it_stood(small_registry, catalog, monkeypatch):
    """Pieces of 16 KiB, each connection cut within the third: what has arrived is not sent again."""
    monkeypatch.setattr("splitplace.distribution.uploads.PIECE_BYTES", 2**14)
    registry, pieces = small_registry(), []

    def cut_after(method, path):
        pieces.append(method)
        return 5_000 if method == "PATCH" and pieces.count("PATCH") % 3 == 0 else None

    registry.cut_after = cut_after
    pushed = push_to(registry.host, catalog)
    blobs = sum(len(data) for data in registry.blobs[NAME].values())
    documents = sum(len(data) for key, (_, data) in registry.manifests[NAME].items())
    assert pieces.count("PATCH") > 9
    assert pushed.kept_bytes == 0
    assert registry.body_bytes <= blobs + documents


def test_an_upload_that_gets_nowhere_ends(small_registry, catalog, monkeypatch):
    """202 with no Range beyond what was there before: as often as patience has it, then one line."""
    monkeypatch.setattr("splitplace.distribution.uploads.PIECE_BYTES", 2**14)
    registry = small_registry()

    def before(method, path, body):
        assert len(registry.seen) < 200, "it is sent for ever"
        return (202, {"Range": "0-0"}, b"") if method == "PATCH" else None

    registry.before = before
    with pytest.raises(NotReadyError, match=r"the registry kept nothing of a piece of sha256:.*run the same command"):
        push_to(registry.host, catalog)


def test_an_upload_that_is_forgotten_begins_anew(small_registry, catalog, monkeypatch):
    """As docker's registry 2.8 does where a connection ends in the middle of a piece."""
    monkeypatch.setattr("splitplace.distribution.uploads.PIECE_BYTES", 2**14)
    registry, cuts = small_registry(keeps_uploads=False), [5_000]

    def cut_after(method, path):
        if method == "PATCH" and cuts:
            registry.uploads.clear()
            return cuts.pop()
        return None

    registry.cut_after = cut_after
    push_to(registry.host, catalog)
    assert set(registry.blobs[NAME]) == {
        part.digest
        for item in (
            *catalog.fragments(REFERENCE),
            *(record(catalog, entry) for entry in catalog.measurements(REFERENCE)),
        )
        for part in (item.manifest.config, *item.manifest.layers)
    }


def record(catalog, entry):
    """A measurement's manifest, as a fragment's is held."""
    manifest = oci.Manifest.parse(catalog.blobs.read(entry, oci.MANIFEST_TYPE), entry.digest)
    return type("Record", (), {"manifest": manifest})


def test_what_lies_damaged_in_the_catalog_is_not_sent(small_registry, catalog):
    """It is named before the first byte goes out."""
    path = catalog.blobs.path(catalog.fragments(REFERENCE)[0].fragment.digest)
    path.write_bytes(bytes(path.stat().st_size))
    registry = small_registry()
    with pytest.raises(IntegrityError, match=f"blob sha256:{path.name} of {REFERENCE} is missing or damaged"):
        push_to(registry.host, catalog)
    assert registry.seen == []


def test_somebody_elses_image_is_no_split(filled, tmp_path):
    """An index without our annotation."""
    data = canonical({"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": []}).encode()
    filled.manifests[NAME][REFERENCE] = filled.manifests[NAME][oci.digest(data)] = (oci.INDEX_TYPE, data)
    refused(filled, tmp_path, IntegrityError, "an image index without the annotation org.splitplace.split: no split")


def test_a_redirection_gets_no_credentials(small_registry, filled, catalog, tmp_path, monkeypatch):
    """Blobs may come from another host; who is logged in here is nobody there."""
    monkeypatch.setattr("splitplace.distribution.transport.read_login", lambda *place: sp_login)
    elsewhere = small_registry()
    elsewhere.blobs = filled.blobs

    def before(method, path, body):
        authorized = filled.seen[-1][2].get("Authorization")
        if authorized is None:
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
        return (307, {"Location": f"http://{elsewhere.host}{path}"}, b"") if "/blobs/" in path else None

    from splitplace.distribution.docker_config import Login

    sp_login = Login("ann", "secret")
    filled.before = before
    pull_from(filled.host, tmp_path / "new")
    assert {headers.get("Authorization") for _, _, headers in elsewhere.seen} == {None}
    assert len(elsewhere.seen) > 3
    assert sp.Catalog(tmp_path / "new").verify().problems == ()


@pytest.mark.parametrize(
    "where",
    [
        "",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://",
        "http://[",
        "http://h:x/",
        "http://h:99999/",
        "/\xe9",
        "http://u@127.0.0.1/",
        "http://u:p@127.0.0.1/",
        "http://a..b/",
        f"http://{'a' * 64}.example.com/",
        "http://127.0.0.1/a b",
    ],
)
def test_a_redirection_to_nowhere(filled, catalog, tmp_path, where):
    """Files and other protocols are not followed."""
    filled.before = lambda method, path, body: (307, {"Location": where}, b"") if "/manifests/" in path else None
    refused(filled, tmp_path, SplitPlaceError, "sends on to|answers 307|cannot be reached")


def test_a_redirection_without_end(filled, catalog, tmp_path):
    """Five are followed."""
    filled.before = lambda method, path, body: (307, {"Location": path}, b"")
    refused(filled, tmp_path, SplitPlaceError, "answers 307: not what the distribution specification has")


def test_tls_is_not_left_by_a_redirection():
    """Neither a download nor an upload goes on in the clear."""
    transport = Transport("registry.example.com", patience=NO_WAIT)
    with pytest.raises(SplitPlaceError, match=r"sends on to .*, without TLS: not followed"):
        transport.joined("https://registry.example.com/v2/", "http://elsewhere.example.com/x")
    own = transport.joined("https://registry.example.com/v2/", "http://registry.example.com/x?y")
    assert own == "https://registry.example.com/x?y"


@pytest.mark.parametrize(
    "where",
    [
        "http://elsewhere.example.com/x?sig=secret",
        "ftp://elsewhere.example.com/x?sig=secret",
        "https://elsewhere.example.com/a b?sig=secret",
        "https://u:secret@elsewhere.example.com/x",
        "?secret\xe9",
    ],
)
def test_no_message_shows_what_opens_a_place_that_is_not_followed(where):
    """A signed URL is a key: the message goes into logs, and from a device to its broker."""
    transport = Transport("registry.example.com", patience=NO_WAIT)
    with pytest.raises(SplitPlaceError, match="the registry sends on to") as told:
        transport.joined("https://registry.example.com/v2/?secret", where)
    assert "secret" not in str(told.value)


def test_a_pull_leaves_gc_nothing_to_break(tmp_path, monkeypatch):
    """Blobs that nothing leads to yet stay while a pull is under way: gc waits for it."""
    flock, waits = fcntl.flock, threading.Event()

    def noting(handle, how):
        try:
            flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            waits.set()
            flock(handle, how)

    layout = LayoutWriter(tmp_path / "new")
    left = layout.blobs.path("sha256:" + "0" * 64)
    with layout.filling():
        left.write_bytes(b"x")
        monkeypatch.setattr(fcntl, "flock", noting)
        cleaner = threading.Thread(target=LayoutWriter(layout.path).gc, daemon=True)
        cleaner.start()
        while cleaner.is_alive() and not waits.wait(0.01):
            pass
        assert waits.is_set(), "gc went on while a pull was under way"
        assert left.exists()
    cleaner.join()
    assert not left.exists()


def test_what_else_lies_in_a_repository_is_left_out(filled, catalog, tmp_path, caplog):
    """Somebody's image beside our splits: they come, and it is said what did not; a tag that is none is no tag."""
    data = canonical({"schemaVersion": 2, "mediaType": oci.INDEX_TYPE, "manifests": []}).encode()
    filled.manifests[NAME] |= dict.fromkeys(("image", oci.digest(data), "a b/../c", "é"), (oci.INDEX_TYPE, data))
    logging.getLogger("splitplace").propagate = True
    (pulled,) = sp.pull(f"oci://{filled.host}/{NAME}", tmp_path / "new").splits
    assert pulled.reference == REFERENCE
    assert [
        record.message for record in caplog.records if "left out" in record.message and "no split" in record.message
    ]
    del filled.manifests[NAME][REFERENCE]
    with pytest.raises(NotFoundError, match="the repository holds no split: push one first"):
        sp.pull(f"oci://{filled.host}/{NAME}", tmp_path / "never")


@pytest.mark.parametrize("what", ["gone", "unparseable", "no json"])
def test_a_tag_of_somebody_else_that_cannot_be_read(filled, tmp_path, what):
    """Gone since the tags were listed, or no image index whatever its type says: left out, and ours come."""
    data = b"{" if what == "no json" else b'{"manifests": [{"digest": "sha512:0"}]}'
    filled.manifests[NAME]["a-tag"] = (oci.INDEX_TYPE, data)
    filled.manifests[NAME][oci.digest(data)] = (oci.INDEX_TYPE, data)
    if what == "gone":
        filled.before = lambda method, path, body: (404, {}, b"") if path.endswith("/a-tag") else None
    assert [pulled.reference for pulled in sp.pull(f"oci://{filled.host}/{NAME}", tmp_path / "new").splits] == [
        REFERENCE
    ]


def test_a_split_of_which_something_is_gone_is_not_left_out(filled, catalog, tmp_path):
    """Its tag is there, so that it is said what is missing."""
    del filled.manifests[NAME][catalog.fragments(REFERENCE)[0].descriptor.digest]
    with pytest.raises(NotFoundError, match="expected a repository, tag or digest that is there"):
        sp.pull(f"oci://{filled.host}/{NAME}", tmp_path / "new")


def test_two_tags_of_one_reference(filled, tmp_path):
    """The same digest under both is one split; of two digests neither is taken without a word."""
    filled.manifests[NAME]["other"] = filled.manifests[NAME][REFERENCE]
    assert len(sp.pull(f"oci://{filled.host}/{NAME}", tmp_path / "new").splits) == 1
    renamed(filled, lambda manifest: manifest.update(annotations={"x": "y"}))
    with pytest.raises(
        UsageError, match=f"the tags other and {REFERENCE} are two different splits {REFERENCE}: say which"
    ):
        sp.pull(f"oci://{filled.host}/{NAME}", tmp_path / "never")
    sp.pull(f"oci://{filled.host}/{NAME}:other", tmp_path / "new")
