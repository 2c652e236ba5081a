"""The files that tell others about the project hold to their forms, and to each other."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name):
    """A YAML file of the root."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_citation_has_what_its_format_asks_for():
    """Citation File Format 1.2.0: four keys are required; people are names, works have titles and authors."""
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation.keys() >= {"message", "title", "authors"}
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert all(author.keys() & {"name", "family-names"} for author in work["authors"])
    assert all(work.keys() >= {"type", "title", "authors"} for work in citation["references"])


def test_the_citation_is_of_this_version():
    """Version and license as the package states them."""
    citation = read("CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_hooks_are_local_and_call_what_make_installed():
    """A hook fetches nothing."""
    hooks = read(".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    for hook in hooks[0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith((".venv/bin/", "make "))


def test_the_changelog_is_by_kind_of_change():
    """Keep a Changelog's headings, no others, each once a version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for version in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert len(kinds) == len(set(kinds))
        assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
