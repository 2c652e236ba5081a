"""Writing a catalog: deterministic, atomic, one writer at a time, shared blobs once."""

import itertools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from splitplace import provenance
from splitplace.catalog import Catalog
from splitplace.errors import IntegrityError, SplitPlaceError, UsageError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.records.evaluation import Evaluation
from splitplace.records.profile import DeviceFingerprint, Latency, MemoryIncrement, Profile
from splitplace.splitting.artifact import SplitArtifact

REFERENCE = "toy.linear.semantic-2"


def profile(artifact, fragment="leaf0", kind="board", median_s=0.1, digest=None):
    """A profile record with given figures: storing does not measure."""
    return Profile(
        fragment=fragment,
        digest=digest or artifact.split.by_name[fragment].digest,
        device=DeviceFingerprint(kind=kind, cpu="test", architecture="test", cores=1, onnxruntime="0", threads=1),
        core_speed=1.0,
        load_s=0.1,
        runtime_base_bytes=1,
        memory=(MemoryIncrement(micro_batch=1, fragment_bytes=1),),
        latency=(Latency(batch_size=1, median_s=median_s, p10_s=median_s, p90_s=median_s, runs=1),),
        input_bytes_per_sample=16,
        output_bytes_per_sample=8,
        provenance=provenance.collect(),
    )


def evaluation(top1):
    """An evaluation record with given accuracy."""
    return Evaluation(dataset="toy", sha256="0" * 64, n=10, top1=top1, seed=0, source="test")


def files(path):
    """Every file of a catalog with its bytes, the lock left out."""
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file() and f.name != ".lock"}


def test_the_same_split_gives_the_same_catalog(artifact, make_artifact, tmp_path):
    """Written twice, into one folder or two: the same bytes everywhere."""
    first = CatalogWriter(tmp_path / "a").write(artifact)
    assert CatalogWriter(tmp_path / "b").write(make_artifact()) == first
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert CatalogWriter(tmp_path / "a").write(artifact) == first
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_shared_blobs_are_stored_once(artifact, make_artifact, tmp_path):
    """The same models under another variant add no model."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    before = set(catalog.blobs.digests())
    catalog.write(make_artifact(variant="again"))
    added = set(catalog.blobs.digests()) - before
    assert len(added) == 5  # two configs and manifests, which name the split, and its index
    assert catalog.references() == ("toy.linear.semantic-2", "toy.linear.semantic-again")


def test_measuring_again_never_changes_a_fragments_digest(artifact, tmp_path):
    """Profiles and evaluations are referrers; the newest of one device kind stands, other kinds stay beside it."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    before = catalog.split_descriptor(REFERENCE)
    slow, fast, other = (profile(artifact, median_s=s, kind=k) for s, k in ((2.0, "a"), (1.0, "a"), (3.0, "b")))
    for record in (slow, other, fast, evaluation(0.5), evaluation(0.75)):
        catalog.attach(REFERENCE, record)
    assert catalog.profiles(REFERENCE) == (fast, other)
    assert catalog.evaluations(REFERENCE) == (evaluation(0.75),)
    assert catalog.split_descriptor(REFERENCE) == before
    assert catalog.verify().problems == ()
    index = json.loads((catalog.path / "index.json").read_bytes())
    assert sorted(entry.get("artifactType", "") for entry in index["manifests"]) == [
        "",
        "application/vnd.splitplace.evaluation.v2+json",
        "application/vnd.splitplace.profile.v1+json",
        "application/vnd.splitplace.profile.v1+json",
    ]


def test_a_profile_of_another_model_is_refused(artifact, tmp_path):
    """The digest is the contract, not the name."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    with pytest.raises(SplitPlaceError, match="holds no fragment leaf0 with the model sha256:1111"):
        catalog.attach(REFERENCE, profile(artifact, digest="sha256:" + "1" * 64))
    with pytest.raises(UsageError, match="unknown split"):
        catalog.attach("toy.linear.full", evaluation(0.5))


def test_gc_removes_what_nothing_leads_to_and_nothing_else(artifact, make_artifact, tmp_path):
    """After a split is replaced: its old blobs, its orphaned measurements, a killed writer's leftovers."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(make_artifact(seed=7))
    catalog.attach(REFERENCE, profile(make_artifact(seed=7)))
    catalog.attach(REFERENCE, evaluation(0.5))
    catalog.write(artifact)
    catalog.attach(REFERENCE, evaluation(0.75))
    (catalog.path / ".new-killed").write_bytes(b"half a blob")
    clean = CatalogWriter(tmp_path / "clean")
    clean.write(artifact)
    clean.attach(REFERENCE, evaluation(0.75))
    removed, size_bytes = catalog.gc()
    assert removed > 5
    assert size_bytes > 0
    assert files(catalog.path) == files(clean.path)
    assert catalog.gc() == (0, 0)
    assert catalog.verify().problems == ()


def test_gc_removes_nothing_when_it_cannot_tell_what_is_needed(artifact, tmp_path):
    """A damaged manifest hides what lies below it: everything stays, and the manifest is named."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    manifest = catalog.blobs.path(catalog.fragments(REFERENCE)[0].descriptor.digest)
    manifest.write_bytes(b"x" * manifest.stat().st_size)
    before = files(catalog.path)
    with pytest.raises(IntegrityError, match=manifest.name):
        catalog.gc()
    assert files(catalog.path) == before


def test_gc_drops_a_damaged_measurement(artifact, tmp_path):
    """It stands in the way of every reader, and can be measured again."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    before = files(catalog.path)
    catalog.attach(REFERENCE, evaluation(0.5))
    (record,) = (path for path in files(catalog.path) if b"top1" in files(catalog.path)[path])
    (catalog.path / record).write_bytes(b"x")
    with pytest.raises(IntegrityError, match="blob sha256"):
        catalog.evaluation(REFERENCE)
    catalog.gc()
    assert catalog.evaluation(REFERENCE) is None
    assert files(catalog.path) == before


def test_a_damaged_blob_is_healed_by_writing_the_split_again(artifact, tmp_path):
    """What lies under a digest is looked at, not trusted."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    path = catalog.blobs.path(artifact.split.by_name["leaf0"].digest)
    path.write_bytes(b"x" * path.stat().st_size)
    assert catalog.verify().problems
    catalog.write(artifact)
    assert catalog.verify().problems == ()


def test_a_model_with_outside_references_is_not_written(make_artifact, tmp_path):
    """Refused before anything is stored."""
    good = make_artifact()
    bad = SplitArtifact.__new__(SplitArtifact)
    object.__setattr__(bad, "split", good.split)
    object.__setattr__(bad, "models", dict.fromkeys(good.models, b"no model"))
    catalog = CatalogWriter(tmp_path / "c")
    with pytest.raises(IntegrityError, match="no ONNX file"):
        catalog.write(bad)
    assert list(catalog.blobs.digests()) == []


def test_a_folder_with_something_else_in_it_is_not_taken(tmp_path):
    """A catalog is made in a new or empty folder only."""
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="no catalog and not empty"):
        CatalogWriter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(SplitPlaceError, match="cannot create"):
        CatalogWriter(tmp_path / "file" / "catalog")


def _write_many(path, make, first, count):
    catalog = CatalogWriter(path)
    for i in range(first, first + count):
        catalog.write(make(seed=i, variant=str(i)))


def test_two_writers_at_once_both_succeed(make_artifact, tmp_path):
    """Every split of both is there, and whole."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path / "c", make_artifact, i, 10)) for i in (0, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(300)
        assert writer.exitcode == 0
    catalog = Catalog(tmp_path / "c")
    assert catalog.references() == tuple(sorted(f"toy.linear.semantic-{i}" for i in range(20)))
    assert catalog.verify().problems == ()


@pytest.mark.slow
def test_writers_may_create_the_catalog_at_once(tmp_path):
    """Four start at the same moment, thirty times: none takes another's half-made catalog for something foreign."""
    context = multiprocessing.get_context("fork")

    def create(path, barrier):
        barrier.wait()
        CatalogWriter(path)

    for i in range(30):
        barrier = context.Barrier(4)
        writers = [context.Process(target=create, args=(tmp_path / str(i), barrier)) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(300)
            assert writer.exitcode == 0


def _at_every_line(step, function):
    """Run a function and call `step` before every line of Python it executes, whoever wrote that line."""

    def trace(frame, event, argument):
        if event == "line":
            step()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)


def _on_disk(path):
    """What a folder holds, so that any change of any file shows."""
    return {(str(f), (at := f.stat()).st_ino, at.st_size, at.st_mode, at.st_mtime_ns) for f in path.rglob("*")}


@pytest.mark.slow
def test_kill_9_at_any_point_leaves_the_old_or_the_new(artifact, make_artifact, tmp_path):
    """A writer killed in every state that the folder passes through: always one whole split, and never back again."""
    context = multiprocessing.get_context("fork")
    path = tmp_path / "c"
    CatalogWriter(path).write(artifact)
    changed_at = context.SimpleQueue()

    def write_and_tell_changes(new):
        lines, seen = itertools.count(), [None]

        def look():
            line, state = next(lines), _on_disk(path)
            if state != seen[-1]:
                seen.append(state)
                changed_at.put(line)

        _at_every_line(look, lambda: CatalogWriter(path).write(new))
        changed_at.put(None)

    def write_up_to(line, new):
        lines = itertools.count()
        _at_every_line(
            lambda: next(lines) < line or os.kill(os.getpid(), signal.SIGKILL),
            lambda: CatalogWriter(path).write(new),
        )

    context.Process(target=write_and_tell_changes, args=(make_artifact(seed=1),)).start()
    is_new = []
    for line in list(iter(changed_at.get, None)):
        old, new = Catalog(path).split(REFERENCE), make_artifact(seed=line + 2)
        writer = context.Process(target=write_up_to, args=(line, new))
        writer.start()
        writer.join(300)
        assert writer.exitcode == -signal.SIGKILL
        catalog = Catalog(path)
        split = catalog.split(REFERENCE)
        assert split in (old, new.split)
        for name in split.by_name:
            catalog.load(split, name)
        assert catalog.verify().problems == ()
        is_new.append(split == new.split)
    assert is_new == sorted(is_new)
    assert set(is_new) == {False, True}
    CatalogWriter(path).gc()
    left = sorted(entry.name for entry in path.iterdir())
    assert left == [".lock", "blobs", "index.json", "oci-layout"]


def _child(function):
    """Run in a forked child; the exit status is the number the function returns."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: os._exit(function()))
    child.start()
    child.join(300)
    return child.exitcode


def test_a_full_disk_leaves_the_catalog_as_it_was(artifact, make_artifact, tmp_path):
    """A write that the system cuts off (a file size limit, as a full disk would): one clear error, nothing changed."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    before = files(catalog.path)

    def write_with_little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            CatalogWriter(catalog.path).write(make_artifact(seed=5))
        except SplitPlaceError as error:
            return 7 if "it is as it was before" in str(error) else 8
        return 9

    assert _child(write_with_little_room) == 7
    assert files(catalog.path) == before


@pytest.mark.parametrize("what_stands_there", ["folder", "damaged list"])
def test_a_refused_write_takes_its_blobs_away(artifact, make_artifact, tmp_path, what_stands_there):
    """Refused at the last step, when its first blobs are there: they go, and what was there before stays."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    if what_stands_there == "folder":
        new = CatalogWriter(tmp_path / "new").write(make_artifact(seed=5))
        catalog.blobs.path(new).mkdir()
    else:
        (catalog.path / "index.json").write_text("{}")
    before = files(catalog.path)
    with pytest.raises((SplitPlaceError, IntegrityError)):
        catalog.write(make_artifact(seed=5))
    assert files(catalog.path) == before


@pytest.mark.parametrize("at_once", [False, True])
def test_no_write_permission_is_one_clear_error(artifact, make_artifact, tmp_path, at_once):
    """Reading goes on; writing says why it cannot, and so does asking for it before a long measurement."""
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(artifact)
    ours = [folder for folder in (tmp_path, *tmp_path.parents) if Path(tempfile.gettempdir()) in folder.parents]
    for folder in ours:
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    for path in (*catalog.path.rglob("*"), catalog.path):
        path.chmod(0o755 if path.is_dir() else 0o644)
    owner_modes = [catalog.path, *(p for p in catalog.path.rglob("*") if p.is_dir())]

    def write_as_nobody():
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        else:
            for path in owner_modes:
                path.chmod(0o555)
            (catalog.path / ".lock").chmod(0o444)
        try:
            Catalog(catalog.path).split(REFERENCE)
            writer = CatalogWriter(catalog.path)
            writer.check_writable() if at_once else writer.write(make_artifact(seed=5))
        except SplitPlaceError as error:
            return 7 if "cannot write to the catalog" in str(error) else 8
        return 9

    status = _child(write_as_nobody)
    for path in owner_modes:
        path.chmod(0o755)
    assert status == 7


@pytest.mark.slow
def test_skopeo_reads_and_copies_it_there_and_back(artifact, make_artifact, tmp_path):
    """A standard tool: raw inspection gives our bytes, two copies keep every digest, our reader takes the result."""
    skopeo = shutil.which("skopeo")
    assert skopeo, "skopeo is not installed: `apt-get install skopeo`, or run .ci/run"
    catalog = CatalogWriter(tmp_path / "c")
    catalog.write(make_artifact(variant="other"))
    digest = catalog.write(artifact)
    catalog.attach(REFERENCE, profile(artifact))

    def run(*arguments):
        return subprocess.run([skopeo, *arguments], capture_output=True, check=True, timeout=300).stdout

    raw = run("inspect", "--raw", f"oci:{catalog.path}:{REFERENCE}")
    assert raw == catalog.blobs.path(digest).read_bytes()
    run("copy", "--all", f"oci:{catalog.path}:{REFERENCE}", f"oci:{tmp_path / 'there'}:{REFERENCE}")
    run("copy", "--all", f"oci:{tmp_path / 'there'}:{REFERENCE}", f"oci:{tmp_path / 'back'}:{REFERENCE}")
    back = Catalog(tmp_path / "back")
    assert back.split_descriptor(REFERENCE).digest == digest
    assert back.split(REFERENCE) == artifact.split
    assert back.verify().problems == ()
    into = CatalogWriter(tmp_path / "there")
    into.attach(REFERENCE, profile(artifact))
    assert len(into.profiles(REFERENCE)) == 1


def test_writing_needs_neither_torch_nor_onnx():
    """A device that profiles writes too."""
    code = "import sys, splitplace.export.catalog_writer; print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
