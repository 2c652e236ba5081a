"""`pull --for DEVICE.toml`: one split of several comes, without a byte of the others' models."""

import json

import pytest

import splitplace as sp
from splitplace.cli import main
from splitplace.export.catalog_writer import CatalogWriter
from tests.distribution.conftest import evaluation, profile
from tests.kernel.conftest import branches

DEVICE = """
name = "cam"
kind = "camera"
cores = 1
core_speed = 1.0
memory_bytes = 1_000_000
disk_bytes = 1_000_000
disk_bytes_per_s = 1e8
up_bytes_per_s = 1e8
down_bytes_per_s = 1e8
rtt_s = 0.001
power_w = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
"""


@pytest.fixture
def several(small_registry, tmp_path):
    """A registry with a good, slow split, a quick one, and one that nobody has profiled."""
    written = CatalogWriter(tmp_path / "catalog")
    for seed, (name, seconds, top1) in enumerate((("good", 0.3, 0.9), ("quick", 0.1, 0.8), ("new", None, 0.99))):
        artifact = branches(seed=10 * seed, variant=name, filling=2000)
        written.write(artifact)
        reference = artifact.split.reference
        written.attach(reference, evaluation(top1))
        for fragment in ("leaf0", "leaf1") if seconds else ():
            written.attach(reference, profile(artifact, fragment, median_s=seconds))
    registry = small_registry()
    sp.push(written.path, f"oci://{registry.host}/team/nets")
    (tmp_path / "cam.toml").write_text(DEVICE)
    return registry


@pytest.mark.parametrize(("deadline", "chosen"), [((), "good"), (("--deadline", "0.25"), "quick")])
def test_one_comes_and_the_table_says_why(several, tmp_path, monkeypatch, capsys, deadline, chosen):
    """The most accurate that keeps the deadline; all that it was chosen from is printed."""
    monkeypatch.chdir(tmp_path)
    several.seen.clear()
    remote = f"oci://{several.host}/team/nets"
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["catalog", "pull", remote, "--catalog", "new", "--for", "cam.toml", *deadline, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [row["reference"] for row in told["pulled"]] == [f"toy.linear.semantic-{chosen}"]
    assert {row["reference"].rpartition("-")[2]: (row["seconds"], row["fits"]) for row in told["variants"]} == {
        "good": (pytest.approx(0.6), "whole"),
        "quick": (pytest.approx(0.2), "whole"),
        "new": (None, "not profiled"),
    }
    assert [row["reference"] for row in told["variants"] if row["chosen"]] == [f"toy.linear.semantic-{chosen}"]
    found = sp.Catalog(tmp_path / "new")
    assert found.references() == (f"toy.linear.semantic-{chosen}",)
    asked = {path.rpartition("/")[2] for method, path, _ in several.seen if method == "GET" and "/blobs/" in path}
    catalog = sp.Catalog(tmp_path / "catalog")
    others = [name for name in catalog.references() if not name.endswith(chosen)]
    models = {fragment.digest for name in others for fragment in catalog.split(name).fragments}
    assert not asked & models


def test_nothing_comes_where_nothing_suits(several, tmp_path):
    """One line, and no catalog is made."""
    device = sp.Device.from_toml(tmp_path / "cam.toml").model_copy(update={"memory_bytes": 1})
    with pytest.raises(sp.InfeasibleError, match="no fragment of toy fits cam"):
        sp.pull(f"oci://{several.host}/team/nets", tmp_path / "new", device=device)
    assert not (tmp_path / "new").exists()
