"""What goes wrong has a cause, and one table says what that means to a shell: each by a command that provokes it."""

import numpy as np
import pytest

from splitplace.cli import main
from splitplace.errors import CAUSES, Answer
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.splitting.artifact import SplitArtifact

COMMANDS = {
    "usage": ("data", "fetch"),
    "not-found": ("catalog", "show", "{catalog}:toy.linear.layer-9"),
    "contract": ("infer", "{catalog}", "--input", "{wrong}"),
    "not-ready": ("profile", "{empty}"),
    "overloaded": ("simulate", "--policy", "random+random", "--intervals", "1000", "--rate", "1e9"),
    "integrity": ("infer", "{catalog}", "--input", "{junk}"),
    "failed": ("infer", "{catalog}", "--input", "{right}", "--out", "{folder}"),
}


@pytest.fixture
def places(tmp_path, artifact: SplitArtifact) -> dict[str, str]:
    """A catalog of one split, an empty one, inputs of the right form, of another and of none, and a folder."""
    CatalogWriter(tmp_path / "catalog").write(artifact)
    CatalogWriter(tmp_path / "empty")
    np.save(tmp_path / "right.npy", np.zeros((1, 4), np.float32))
    np.save(tmp_path / "wrong.npy", np.zeros((1, 5), np.float32))
    (tmp_path / "junk.npy").write_bytes(b"no array")
    (tmp_path / "folder.npy").mkdir()
    names = {"catalog": "catalog", "empty": "empty", "folder": "folder.npy"}
    return {name: str(tmp_path / names.get(name, f"{name}.npy")) for name in (*names, "right", "wrong", "junk")}


def test_the_table_says_what_a_shell_gets():
    """2 for what cannot be meant, 1 for what failed; no cause without an answer, and every one provoked below."""
    assert {cause: answer.exit_code for cause, answer in CAUSES.items()} == {
        "usage": 2,
        "not-found": 2,
        "contract": 1,
        "not-ready": 1,
        "overloaded": 1,
        "integrity": 1,
        "failed": 1,
    }
    assert set(COMMANDS) == set(CAUSES)


@pytest.mark.parametrize("cause", COMMANDS)
def test_a_command_exits_as_the_table_says_of_its_cause(cause, places, monkeypatch, capsys):
    """With an exit code for each cause alone, so that neither another cause nor another table can answer it."""
    for code, name in enumerate(CAUSES, 40):
        monkeypatch.setitem(CAUSES, name, Answer(code, 0))
    with pytest.raises(SystemExit) as stopped:
        main([token.format(**places) for token in COMMANDS[cause]])
    said = capsys.readouterr()
    assert stopped.value.code == CAUSES[cause].exit_code, said.err
    assert said.err.count("\n") == 1 and said.out == ""
