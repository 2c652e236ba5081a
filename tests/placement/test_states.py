"""Saved states: what comes back, and what is refused by name."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as to_bytes_alone

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement import state_files
from splitplace.placement.deciders.mab import BanditState, Mab
from splitplace.placement.learning.show import saved_states
from splitplace.placement.placers.daso import Daso
from splitplace.placement.placers.daso_warm import DasoWarm
from splitplace.placement.placers.random import RandomPlacer
from splitplace.placement.policy import Composed
from splitplace.placement.registry import parse_policy
from splitplace.placement.state_files import read, save, to_bytes
from splitplace.placement.states import from_folder
from splitplace.placement.surrogates import surrogate
from splitplace.placement.trained_for import TrainedFor

pytestmark = pytest.mark.sim

POLICY = Composed(Mab(), Daso())
BANDIT = BanditState(np.array([12.5]), np.array([[0.8, np.nan], [0.4, 0.9]]), np.array([[3, 0], [2, 7]]), t=9)


@pytest.fixture
def folder(view, tmp_path):
    """A trained bandit and surrogate of two devices."""
    now = view()
    save(tmp_path, POLICY.decider, BANDIT, now, {"scenario": "test"})
    state = POLICY.placer.init(now)
    weights = tuple(w.astype(np.float32).astype(np.float64) for w in state.surrogate.weights)
    net = surrogate.Surrogate("flat", weights)
    save(tmp_path, POLICY.placer, replace(state, surrogate=net, eta=7.0), now, {"scenario": "test"})
    return tmp_path


def test_what_was_learned_comes_back(view, folder):
    """R, Q and N, with t at the start of a new phase; weights and η, with an empty replay."""
    states, found = from_folder(POLICY, folder, view())
    assert found == ["mab", "daso"]
    assert states.decider.layer_response_s_A.tolist() == [12.5]
    assert states.decider.count_cd.tolist() == [[3, 0], [2, 7]]
    np.testing.assert_array_equal(states.decider.reward_cd, BANDIT.reward_cd)
    assert states.decider.t == 0
    assert states.placer.trained
    assert states.placer.eta == 7.0
    again = tuple(w.astype(np.float32).astype(np.float64) for w in POLICY.placer.init(view()).surrogate.weights)
    assert all((a == b).all() for a, b in zip(states.placer.surrogate.weights, again, strict=True))


def test_the_warm_start_uses_the_same_surrogate(view, folder):
    """DASO's file serves both."""
    states, found = from_folder(Composed(Mab(), DasoWarm()), folder, view())
    assert found == ["mab", "daso-warm"]
    assert states.placer.eta == 7.0


def test_a_part_that_learns_nothing_needs_no_file(view, folder):
    """mab+random takes the bandit."""
    assert from_folder(Composed(Mab(), RandomPlacer()), folder, view())[1] == ["mab"]


def test_another_fleet_is_refused(view, folder):
    """Three devices, or two of which one is faster: the surrogate knows them by their place; the bandit learns on."""
    now = view()
    faster = replace(now.devices, core_speed_D=np.array([1.0, 1.03]))
    per_speed = replace(now.fragments, latency_s_FD=now.fragments.latency_s_FD / faster.core_speed_D)
    for other in (view(memory_bytes=(100.0,) * 3), replace(now, devices=faster, fragments=per_speed)):
        with pytest.raises(SplitPlaceError, match=r"state of daso was trained for another fleet \(of 2 devices"):
            from_folder(POLICY, folder, other)
        assert from_folder(Composed(Mab(), RandomPlacer()), folder, other)[1] == ["mab"]


def changed(view, table, **columns):
    """A view whose table has these columns multiplied, or put in their place."""
    now = view()
    before = getattr(now, table)
    new = {name: getattr(before, name) * by if isinstance(by, float) else by for name, by in columns.items()}
    return replace(now, **{table: replace(before, **new)})


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("devices", {"memory_bytes_D": 0.5}),
        ("devices", {"names": ("other", "names")}),
        ("fragments", {"memory_bytes_FD": 3.0}),
        ("fragments", {"latency_s_FD": 1.05}),
        ("links", {"up_bytes_per_s_D": 1.0 + 1e-9}),
    ],
    ids=["memory", "names", "needs", "measured again", "rounding"],
)
def test_what_was_learned_holds_where_only_this_differs(view, folder, table, columns):
    """Memory is a limit that placers keep anyway, names mean nothing, and a profile is measured to some per cent."""
    assert from_folder(POLICY, folder, changed(view, table, **columns))[1] == ["mab", "daso"]


@pytest.mark.parametrize(
    ("table", "columns", "said"),
    [
        ("fragments", {"latency_s_FD": 10.0}, r"costs of the splits \(10, here 100 s a micro-batch\)"),
        ("fragments", {"latency_s_FD": 0.8}, "costs of the splits"),
        ("fragments", {"edge_bytes_X": np.array([50, 25, 50, 51])}, "splits .other edges"),
        ("fragments", {"micro_batch_F": np.array([4, 4, 4, 8])}, "splits .other micro-batches"),
        ("fragments", {"weight_bytes_F": np.array([50, 20, 10, 20])}, "sizes of weights"),
        ("splits", {"top1_S": np.array([0.95, 0.8])}, r"accuracies .mnist.mobilenetv2.semantic-2: 0.9, here 0.8\)"),
        ("splits", {"top1_S": np.array([0.95, np.nan])}, "accuracies"),
        ("links", {"down_bytes_per_s_D": 100.0}, r"links .100, here 1e\+04 bytes/s"),
        ("links", {"up_bytes_per_s_D": np.array([100.0, 50.0])}, "links"),
        ("links", {"rtt_s_D": 0.1}, "links"),
    ],
)
def test_other_numbers_under_the_same_names_are_refused(view, folder, table, columns, said):
    """Ten times the compute, other accuracies, other links: by every part, and by what differs."""
    other = changed(view, table, **columns)
    for policy in (POLICY, Composed(Mab(), RandomPlacer())):
        with pytest.raises(SplitPlaceError, match=f"trained for other {said}.*policy train"):
            from_folder(policy, folder, other)


def test_a_fleet_of_kinds_that_were_there_has_no_other_links(view):
    """Trained on two kinds of links, used on one of them."""
    now = view()
    two = replace(now, links=replace(now.links, rtt_s_D=np.array([0.2, 0.9])))
    assert TrainedFor.of(two).differs(TrainedFor.of(now)) is None
    assert TrainedFor.of(now).differs(TrainedFor.of(two)) is not None


def test_other_splits_are_refused(view, folder):
    """R, Q and the features mean those of the training."""
    now = view()
    other = replace(
        now, splits=replace(now.splits, references=("mnist.mobilenetv2.layer-3", "mnist.mobilenetv2.semantic-2"))
    )
    with pytest.raises(SplitPlaceError, match=r"splits \(mnist.*layer-2 is not here, mnist.*layer-3 was not there\)"):
        from_folder(POLICY, folder, other)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d | {"version": 99}, "policy state of format 99, and this splitplace, which is older, reads 3"),
        (lambda d: {**d, "extra": 1}, "not a saved: extra"),
        (lambda d: d | {"part": "gobi"}, "the state is of gobi, expected mab"),
    ],
)
def test_another_version_or_part_is_refused(view, folder, change, said):
    """By what it is and what was expected."""
    path = folder / "mab.safetensors"
    with safe_open(path, "numpy") as file:
        document = change(json.loads(file.metadata()["splitplace"]))
    save_file(load_file(path), path, {"splitplace": json.dumps(document)})
    with pytest.raises(SplitPlaceError, match=said):
        from_folder(POLICY, folder, view())


def test_damaged_arrays_are_refused(folder):
    """One byte changed."""
    path = folder / "daso.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(SplitPlaceError, match=r"daso\.safetensors: not the arrays that it was written with"):
        read(folder, "daso")


def test_a_folder_with_nothing_for_the_policy_is_refused(view, tmp_path):
    """Or one that is not there."""
    with pytest.raises(UsageError, match="holds no state of mab or daso"):
        from_folder(POLICY, tmp_path, view())
    with pytest.raises(UsageError, match="no folder"):
        from_folder(POLICY, tmp_path / "x", view())


def test_a_folder_with_states_of_others_is_refused_by_their_names(view, folder):
    """So that who named no policy sees which one to name."""
    with pytest.raises(UsageError, match="holds no state of joint, but of daso, mab: name a policy of these"):
        from_folder(parse_policy("joint"), folder, view())


def test_what_is_no_file_is_no_state(view, folder):
    """A link to nowhere, or a folder, of a state's name: it is not there, nor is it offered in its own place."""
    (folder / "mab.safetensors").unlink()
    (folder / "mab.safetensors").symlink_to("nowhere")
    with pytest.raises(UsageError, match="holds no state of mab or random, but of daso: name a policy of these"):
        from_folder(Composed(Mab(), RandomPlacer()), folder, view())


def test_no_more_of_a_file_is_read_than_a_state_can_have(folder, monkeypatch):
    """A file that is not ours may be as large as the disk."""
    (folder / "mab.safetensors").write_bytes(b"\0" * 2000)
    monkeypatch.setattr(state_files, "MAX_BYTES", 1000)
    with pytest.raises(SplitPlaceError, match="expected at most 1000 bytes of a state"):
        read(folder, "mab")


def test_a_folder_for_a_policy_that_learns_nothing_is_refused(folder, view):
    """And a state's own file, which the folder is meant by: each by what it is."""
    with pytest.raises(UsageError, match=r"layer\+least-loaded learns nothing: leave out"):
        from_folder(parse_policy("layer+least-loaded"), folder, view())
    with pytest.raises(UsageError, match=r"daso.safetensors is a file: give the folder that it is in"):
        from_folder(POLICY, folder / "daso.safetensors", view())


def test_arrays_without_a_word_on_them_are_no_state(folder):
    """As any other safetensors file: weights of a network."""
    save_file({"w": np.zeros(3)}, folder / "weights.safetensors")
    with pytest.raises(SplitPlaceError, match=r"weights\.safetensors: safetensors, but no saved state"):
        read(folder, "weights")


def test_a_state_that_cannot_be_written_leaves_the_former(view, folder, monkeypatch):
    """One file, put in place at once: what was there is what is read."""
    before = read(folder, "mab")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save(folder, POLICY.decider, replace(BANDIT, t=0, count_cd=BANDIT.count_cd + 1), view(), {"scenario": "other"})
    after = read(folder, "mab")
    assert after.saved == before.saved
    assert (after.arrays["n"] == before.arrays["n"]).all()
    assert sorted(path.name for path in folder.iterdir()) == ["daso.safetensors", "mab.safetensors"]


@pytest.mark.parametrize(
    "arrays", [{}, {"r": np.zeros(1)}, {"r": np.zeros((9, 9)), "q": np.zeros(1), "n": np.zeros(0)}]
)
def test_arrays_that_the_part_did_not_write_are_refused(view, folder, arrays):
    """Whole by their digest, and yet others: by what reads them, when it runs as when it is shown."""
    saved = read(folder, "mab").saved
    digest = hashlib.sha256(to_bytes_alone(arrays)).hexdigest()
    (folder / "mab.safetensors").write_bytes(to_bytes(saved.model_copy(update={"arrays_sha256": digest}), arrays))
    for use in (lambda: str(saved_states(folder)[1]), lambda: from_folder(POLICY, folder, view())):
        with pytest.raises(SplitPlaceError, match=r"state of mab (does not hold what|has not)"):
            use()
