"""What is missing is said before any work, by one function that knows what pyproject.toml lists."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from splitplace import extras
from splitplace.errors import MissingExtraError

ROOT = Path(__file__).resolve().parents[2]


def names(requirements: list[str]) -> list[str]:
    """The distributions that are required, without extras of our own."""
    found = [re.split(r"[<>=\[ ]", requirement)[0] for requirement in requirements]
    return [name for name in found if name != "splitplace"]


def test_the_table_is_what_pyproject_lists():
    """Every distribution of every extra that a user installs, and no other."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    users = {extra: names(requirements) for extra, requirements in listed.items() if extra not in ("dev", "docs")}
    assert {extra: list(packages) for extra, packages in extras.EXTRAS.items()} == users


def test_each_distribution_is_imported_as_the_table_says():
    """By what is installed here: the development extra brings all of them."""
    providers = {module: {name.lower() for name in found} for module, found in packages_distributions().items()}
    for packages in extras.EXTRAS.values():
        for distribution, module in packages.items():
            assert distribution in providers[module.partition(".")[0]], module


def test_what_is_missing_is_named_with_what_to_install(monkeypatch):
    """One line: who needs it, the distributions that lack, the extras that bring them."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in ("onnx", "PIL") else find_spec(name))
    expected = "^cutting a RUN needs pillow, onnx, not installed here: pip install 'splitplace\\[train,export\\]'$"
    with pytest.raises(MissingExtraError, match=expected) as raised:
        extras.needs("cutting a RUN", "train", "export")
    assert raised.value.exit_code == 2


def test_a_package_within_another_that_is_not_there_is_missing(monkeypatch):
    """Of `google.protobuf` there may be no `google` at all."""
    monkeypatch.setitem(extras.EXTRAS, "odd", {"odd": "no_such_package.inner"})
    with pytest.raises(MissingExtraError, match="needs odd, not installed here"):
        extras.needs("this", "odd")


def test_only_what_is_asked_for_counts(monkeypatch):
    """A picture needs matplotlib, whatever else of the extra is missing."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "onnx" else find_spec(name))
    extras.needs("--plot", "export", packages=("matplotlib",))


def test_looking_imports_nothing():
    """What is there is found by its place on the path: importing torch to see whether it is there takes seconds."""
    code = (
        "import sys\nfrom splitplace.extras import EXTRAS, needs\nneeds('this', *EXTRAS)\n"
        "sys.exit(bool({'torch', 'onnx', 'scipy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
