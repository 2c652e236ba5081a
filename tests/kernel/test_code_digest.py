"""By what two copies of the package are known as the same."""

from types import SimpleNamespace

import pytest

from splitplace import provenance

pytestmark = pytest.mark.base


@pytest.fixture
def digest(tmp_path, monkeypatch):
    """Of a package in a folder, as it is there now."""
    for name in ("plan.py", "data/fleet.toml", "results/x.json", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    found = {"splitplace": SimpleNamespace(submodule_search_locations=[str(tmp_path)])}
    monkeypatch.setattr(provenance, "find_spec", found.get)
    return provenance.code_digest.__wrapped__


@pytest.mark.parametrize("name", ["plan.py", "new.py", "data/fleet.toml", "data/new.safetensors"])
def test_a_change_that_is_in_no_commit_is_seen(digest, tmp_path, name):
    """Of a module, or of what simulations read; of one that is new, too."""
    before = digest()
    (tmp_path / name).write_text("2")
    assert digest() != before


@pytest.mark.parametrize("name", ["README.md", "results/x.json", "plan.pyc"])
def test_what_changes_no_result_is_not(digest, tmp_path, name):
    """What is read by nobody who simulates, and what is written meanwhile."""
    before = digest()
    (tmp_path / name).write_text("2")
    assert digest() == before


def test_a_module_under_another_name_is_another(digest, tmp_path):
    """Names count."""
    before = digest()
    (tmp_path / "plan.py").rename(tmp_path / "plans.py")
    assert digest() != before
