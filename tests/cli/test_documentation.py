"""Every command of the README and of the site's pages works as written."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splitplace.cli import COMMANDS as SUBCOMMANDS
from splitplace.cli import GROUPS, build

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")))
TRAINS_STATES = "twelve runs of 200 intervals; tests/cli/test_policy.py trains, shows and simulates with a small one"
MAKES_A_CELL = "hours; tests/benchmarks/test_demand.py makes one of a tiny network, and simulates with it"
NOT_RUN = {
    "make demo": "minutes; tests/cli/test_demo.py runs it cold and warm",
    "make test": "this suite",
    "splitplace policy train --scenario measured-50 --out states": TRAINS_STATES,
    "splitplace policy show states": TRAINS_STATES,
    "splitplace simulate --policy mab+daso --scenario measured-50 --state states": TRAINS_STATES,
    "splitplace bench demand --cells fashionmnist.mobilenetv2 --work runs/demand "
    "--results runs/demand/kept.json": MAKES_A_CELL,
    "splitplace simulate --policy mab+least-loaded --demand runs/demand/demand.json": MAKES_A_CELL,
}
"""Lines that are not run here, and why; whatever else stands in an sh block is."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `title` is the file that its text stands for."""

    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order, with the files that they take in."""
    found = re.findall(
        r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
    )
    return [Block(language, title, taken_in(text)) for language, title, text in found]


def taken_in(text: str) -> str:
    """The text, with each line that names a file replaced by it."""
    return re.sub(
        r"^--8<-- \"(.+)\"$", lambda named: (ROOT / named[1]).read_text().rstrip("\n"), text, flags=re.MULTILINE
    )


def lines(block: Block) -> list[str]:
    """The commands of an sh block."""
    return [line for line in block.text.splitlines() if line and not line.startswith("#")]


COMMANDS = {page: [line for block in blocks(page) if block.language == "sh" for line in lines(block)] for page in PAGES}
RUN = [page for page in PAGES if set(COMMANDS[page]) - NOT_RUN.keys()]


@pytest.fixture
def photos(tmp_path):
    """What docs/howto/data.md says is there: a folder with a folder for each class."""
    rng = np.random.default_rng(0)
    for name, colour in {"cat": (200, 120, 60), "dog": (60, 120, 200)}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            image_HWC = np.clip(np.array(colour) + rng.integers(-40, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image_HWC).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path


def test_every_make_target_named_exists():
    """`make -n` knows each target that a page names; what they do is this suite, or tested beside it."""
    text = "".join((ROOT / page).read_text() for page in (*PAGES, "CONTRIBUTING.md"))
    for target in sorted(set(re.findall(r"(?:^ *|`)make ([a-z]+)", text, re.MULTILINE))):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=300)  # noqa: S607
        assert done.returncode == 0, done.stderr


def options_of(command):
    """What a command takes, as `--help` lists them."""
    app = build()
    for part in command.split():
        app = app[part]
    return {name for argument in app.assemble_argument_collection() for name in argument.names} | {"--help"}


def test_commands_in_prose_are_commands_with_options_that_they_have():
    """`splitplace fleet start --detach`, and `fleet start --detach` too, on all pages and in all rooms' READMEs."""
    names, seen = [name for name, _, _ in SUBCOMMANDS], 0
    for page in [path for path in ROOT.rglob("*.md") if not {".venv", "runs", "build"} & set(path.parts)]:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose):
            words = code.split()
            whole = words[:1] == ["splitplace"]
            called = [name for name in names if words[int(whole) :][: len(name.split())] == name.split()]
            if whole and len(words) > 1 and words[1:2] != ["bench"] and words[1] not in GROUPS:
                assert called, f"{page}: {code}: no such command"
            asked = re.findall(r"--[a-z][a-z0-9-]*", code)
            if called and asked:
                unknown = set(asked) - options_of(max(called, key=len))
                assert not unknown, f"{page}: {code}: it has no {', '.join(sorted(unknown))}"
                seen += 1
    assert seen > 40


def test_what_is_not_run_is_there_and_tested_elsewhere():
    """No stale exception: each line stands on a page, and the test that its reason names exists."""
    written = {line for page in PAGES for line in COMMANDS[page]}
    for line, reason in NOT_RUN.items():
        assert line in written
        assert all((ROOT / name).is_file() for name in re.findall(r"tests/[\w/]+\.py", reason))


def test_python_on_the_pages_is_an_example_that_runs():
    """Python is taken in from examples/, which has tests of its own; the README's is its first."""
    for page in PAGES:
        for text in re.findall(r"^```python[^\n]*\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE):
            taken = re.fullmatch(r"--8<-- \"(examples/\w+\.py)\"\n", text)
            source = ROOT / (taken[1] if taken else "examples/first.py")
            assert taken or text == source.read_text(), page
            assert source.is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", RUN)
def test_every_command_runs(page, request, tmp_path):
    """One after another in one folder, as a reader would, beside the files that the page shows."""
    folder = tmp_path
    if any("splitplace-demo" in line for line in COMMANDS[page]):
        folder = request.getfixturevalue("warm_demo").folder.parent
    if page == "docs/howto/data.md":
        folder = request.getfixturevalue("photos")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text)
        for line in lines(block) if block.language == "sh" else ():
            if line in NOT_RUN:
                continue
            bash = shutil.which("bash")
            assert bash
            done = subprocess.run(
                [bash, "-euc", line],
                cwd=folder,
                env=os.environ | {"PATH": path},
                capture_output=True,
                text=True,
                timeout=600,
            )
            if done.returncode != 0 and any("fleet start" in line or ".pid" in line for line in COMMANDS[page]):
                ended = "splitplace fleet stop; for file in *.pid; do kill $(cat $file); done"
                subprocess.run(
                    [bash, "-c", ended],
                    cwd=folder,
                    env=os.environ | {"PATH": path},
                    timeout=300,
                )
            assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
