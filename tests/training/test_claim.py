"""One training at a time in a RUN folder: who is refused, who waits, and what is left of it."""

import logging
import shutil
import threading

import pytest

from splitplace.training.preset import load_preset
from splitplace.training.recipes import carry_out as carrying
from splitplace.training.recipes.claim import claimed, lock_of
from splitplace.training.recipes.full import train_full
from splitplace.training.run import OtherRunError, Run

PATIENCE_S = 300


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run of two steps."""
    quick = load_preset("quick")
    preset = quick.model_copy(update={"full": quick.full.changed(batch_size=16)})
    return train_full(data, preset=preset, epochs=1, samples=32, out=tmp_path_factory.mktemp("claim") / "full")


@pytest.fixture
def waiting(monkeypatch):
    """Set when somebody says that another process is waited for."""
    said = threading.Event()
    logger = logging.getLogger("splitplace.training.recipes.claim")
    monkeypatch.setattr(logger, "warning", lambda *args: said.set())
    return said


def test_another_training_in_the_same_folder_is_refused(finished, tmp_path):
    """At once, with what differs, and the first goes on undisturbed."""
    ours, place = finished.config.request, tmp_path / "run"
    other = ours.model_copy(update={"seed": 9})
    with claimed(place, ours):
        with pytest.raises(OtherRunError, match=r"seed: 0, asked for 9.*choose another --out"), claimed(place, other):
            pass
        assert lock_of(place).exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_training_left_claims_nothing(finished, tmp_path):
    """Its lock ended with it, whatever the file says."""
    ours, place = finished.config.request, tmp_path / "run"
    lock_of(place).write_text(ours.model_copy(update={"seed": 9}).model_dump_json())
    with claimed(place, ours):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_same_training_waits_and_takes_what_was_trained(finished, data, tmp_path, waiting):
    """Nothing is trained twice."""
    place, found = tmp_path / "run", []

    def second():
        found.append(carrying.carry_out(finished.config.request, data, place, lambda folder: pytest.fail("trained")))

    thread = threading.Thread(target=second)
    with claimed(place, finished.config.request):
        thread.start()
        assert waiting.wait(PATIENCE_S)
        assert found == []
        shutil.copytree(finished.path, place)
    thread.join(PATIENCE_S)
    assert [run.path for run in found] == [place]
    assert found[0].config == Run.open(finished.path).config
    assert list(tmp_path.iterdir()) == [place]


def test_who_fails_leaves_the_folder_to_the_next(finished, tmp_path, waiting):
    """Who waits goes on, and nothing is left of the lock."""
    place, went_on = tmp_path / "run", threading.Event()

    def second():
        with claimed(place, finished.config.request):
            went_on.set()

    thread = threading.Thread(target=second)
    with pytest.raises(RuntimeError, match="no memory"), claimed(place, finished.config.request):
        thread.start()
        assert waiting.wait(PATIENCE_S)
        raise RuntimeError("no memory")
    assert went_on.wait(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert list(tmp_path.iterdir()) == []
