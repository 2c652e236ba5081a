"""What `splitplace submit` prints of an answer."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace import cli
from splitplace.cli.submit import AskedFleet


@pytest.fixture
def asked(monkeypatch):
    """A fleet that takes every first image for a cat, every second for a dog; and what it was given."""
    given = []
    told = {"id": 7, "application": "pets", "split": "pets.net.full", "n": 2, "response_s": 0.5, "deadline_s": 1.0}
    outcome = SimpleNamespace(**told, model_dump=lambda mode: told)
    answer = SimpleNamespace(outcome=outcome, logits=np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))

    def submit(application, inputs, deadline, labels, **options):
        given.append(inputs)
        return SimpleNamespace(result=lambda: answer)

    client = SimpleNamespace(submit=submit, applications=lambda: {"pets": SimpleNamespace(class_names=("cat", "dog"))})
    monkeypatch.setattr(AskedFleet, "client", lambda self: nullcontext(client))
    return given


def submitted(*tokens):
    """The command, run."""
    with pytest.raises(SystemExit, match="0"):
        cli.main(["submit", "pets", "--deadline", "1", "--input", *tokens])


def test_each_image_is_called_by_its_file(asked, tmp_path, monkeypatch, capsys):
    """Those of a folder in the order in which they were sent; the document has their paths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new").mkdir()
    for name in ("b.png", "a.png"):
        (tmp_path / "new" / name).touch()
    submitted("new")
    rows = [line for line in capsys.readouterr().out.splitlines() if "new/" in line]
    assert ["a.png" in rows[0], "cat" in rows[0], "b.png" in rows[1], "dog" in rows[1]] == [True] * 4
    assert [path.name for path in asked[0]] == ["a.png", "b.png"]
    submitted("new", "--json")
    assert json.loads(capsys.readouterr().out)["inputs"] == [
        str(tmp_path / "new" / name) for name in ("a.png", "b.png")
    ]


def test_images_of_an_array_are_numbered(asked, tmp_path, monkeypatch, capsys):
    """One file holds all."""
    monkeypatch.chdir(tmp_path)
    submitted("x.npy")
    assert "x.npy" not in capsys.readouterr().out
