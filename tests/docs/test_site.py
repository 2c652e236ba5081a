"""The site: complete, strict, and whole without a network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import splitplace

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site's folder, and a copy of the configuration that builds there."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(["make", "-s", ".typing"], cwd=ROOT, check=True, timeout=300)  # noqa: S607
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def test_every_public_name_is_in_the_reference():
    """Each name of `splitplace.__all__` has its directive on one page, under the module that holds it."""
    pages = "".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))
    shown = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    aliases = {"Action", "Feedback"}  # unions, whose members are shown
    missing = []
    for name in sorted(set(splitplace.PUBLIC) - aliases):
        thing = getattr(splitplace, name)
        home = getattr(thing, "__module__", splitplace.PUBLIC[name])
        home = splitplace.PUBLIC[name] if not home.startswith("splitplace") else home
        if not {f"{home}.{name}", home} & shown:
            missing.append(f"{home}.{name}")
    assert not missing


def test_every_page_is_in_the_navigation():
    """And every page of the navigation exists, here or where `_site.py` takes it from."""
    listed = set()

    def walk(entries):
        for entry in entries:
            value = next(iter(entry.values())) if isinstance(entry, dict) else entry
            walk(value) if isinstance(value, list) else listed.add(value)

    walk(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} <= listed
    assert all((DOCS / page).is_file() or (ROOT / page).is_file() for page in listed)


@pytest.mark.slow
def test_the_site_builds_strictly(site):
    """No broken link, no unknown name: `make docs` fails on either."""
    assert (site / "index.html").is_file()
    assert (site / "benchmarks" / "results" / "semantic.svg").is_file()


@pytest.mark.slow
def test_the_site_needs_no_network(site):
    """No page takes a script, style, font or picture from elsewhere; links to follow are no such thing."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        taken = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"", text)
        taken += re.findall(r"<link\b[^>]*\bhref=\"([^\"]+)\"", text)
        assert not [address for address in taken if re.match(r"(https?:)?//", address)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_a_broken_link_fails_the_build(tmp_path):
    """The strictness itself can fail."""
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[there](nowhere.md)\n", encoding="utf-8")
    kept = {key: configuration[key] for key in ("site_name", "theme", "validation")}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
