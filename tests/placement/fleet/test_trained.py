"""A fleet that starts from trained states: which it takes, which it refuses, and what a restart goes on with."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from splitplace.errors import ContractError, IntegrityError
from splitplace.placement import states
from splitplace.placement.broker.policy_folder import PolicyFolder
from splitplace.placement.broker.setup import Setup, view_at_rest
from splitplace.placement.policy import States
from splitplace.placement.registry import parse_policy
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.shipped import load_fleet

POLICY = parse_policy("mab+daso")
DEMAND, DEVICES = load_demand("measured"), load_fleet("azure50").units()
RNG = np.random.default_rng(0)


@pytest.fixture
def trained(tmp_path):
    """The states that ship for this fleet, as `policy train` leaves them in a folder."""
    (tmp_path / "states").mkdir()
    for part in ("mab", "daso"):
        shutil.copy(states.SHIPPED / f"state.measured-50.{part}.safetensors", tmp_path / f"states/{part}.safetensors")
    return tmp_path / "states"


@pytest.fixture
def folder(tmp_path):
    """What the policy remembers, for devices that stand for those of the fleet, so many times as fast here."""

    def open_(faster=1.0, stated=DEVICES):
        here = tuple(device.model_copy(update={"core_speed": device.core_speed * faster}) for device in DEVICES)
        return PolicyFolder(tmp_path / "data" / "policy", Setup(DEMAND, here, "pipelined", 4, 300.0, stated))

    return open_


def given():
    """What `--state` says: the shipped states, with an η that nothing else has."""
    found, _ = states.shipped(POLICY, "measured-50", view_at_rest(DEMAND, DEVICES, 300.0))
    return replace(found, placer=replace(found.placer, eta=7.0))


def test_what_the_simulator_trained_is_for_the_live_fleet(trained):
    """Same fleet file, same demand: both parts are taken, though one was seen by a simulator and one by a broker."""
    found, names = states.from_folder(POLICY, trained, view_at_rest(DEMAND, DEVICES, 300.0))
    assert names == ["mab", "daso"]
    assert found.placer.trained


def test_one_device_less_is_another_fleet(trained):
    """DASO knows devices by their place."""
    with pytest.raises(ContractError, match=r"trained for another fleet \(of 50 devices, this one has 49\)"):
        states.from_folder(POLICY, trained, view_at_rest(DEMAND, DEVICES[1:], 300.0))


def test_a_state_that_was_changed_is_refused(trained):
    """One bit of its weights."""
    path = trained / "daso.safetensors"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    with pytest.raises(IntegrityError, match="not the arrays that it was written with"):
        states.from_folder(POLICY, trained, view_at_rest(DEMAND, DEVICES, 300.0))


def test_a_new_data_folder_starts_from_what_is_given(folder):
    """All of it."""
    assert folder().restore(POLICY, given(), RNG).placer.eta == 7.0


def test_a_data_folder_goes_on_with_what_was_learned_there(folder, caplog):
    """The part that was saved there comes from there, the other from what is given; it says so."""
    learned = given().decider.layer_response_s_A + 1.0
    saved = States(replace(given().decider, layer_response_s_A=learned), None)
    folder().save(parse_policy("mab+random"), saved, RNG)
    found = folder().restore(POLICY, given(), RNG)
    np.testing.assert_array_equal(found.decider.layer_response_s_A, learned)
    assert found.placer.eta == 7.0
    assert "mab goes on with what it had learned" in caplog.text


def test_an_emulated_fleet_is_the_same_at_every_start(folder):
    """The probe finds this machine 3 % faster: what DASO learned there is still for this fleet."""
    folder(1.0).save(POLICY, given(), RNG)
    assert folder(1.03).restore(POLICY, None, RNG).placer.eta == 7.0


def test_other_devices_in_the_folder_start_anew(folder, caplog):
    """DASO's is for the former ones: put aside, and said; the bandit's, which is for any with such links, goes on."""
    learned = given().decider.layer_response_s_A + 1.0
    folder().save(POLICY, replace(given(), decider=replace(given().decider, layer_response_s_A=learned)), RNG)
    opened = folder(1.03, stated=None)
    found = opened.restore(POLICY, given(), RNG)
    np.testing.assert_array_equal(found.decider.layer_response_s_A, learned)
    assert found.placer.eta == 7.0
    assert "trained for another fleet" in caplog.text
    assert "daso.safetensors.before now" in caplog.text
    assert sorted(path.name for path in opened.folder.iterdir()) == [
        "daso.safetensors.before", "generator.json", "mab.safetensors",
    ]  # fmt: skip


def test_a_damaged_state_in_the_folder_is_refused(folder):
    """It is not taken for another fleet's, and nothing is put aside."""
    folder().save(POLICY, given(), RNG)
    path = folder().folder / "daso.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        folder().restore(POLICY, None, RNG)
    assert path.exists()
