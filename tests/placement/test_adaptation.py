"""What learns while it runs recovers from a change; a frozen copy does not (Algorithm 1 against a fixed policy)."""

from dataclasses import replace

import numpy as np
import pytest

from splitplace.placement.deciders.mab import BanditState, Mab
from splitplace.placement.placers.best_fit import BestFit
from splitplace.placement.plan import plan
from splitplace.placement.policy import Composed, Frozen, States
from splitplace.records.action import Decide

pytestmark = pytest.mark.base

LAYER, SEMANTIC = 0, 1
TRAINED = BanditState(np.array([10.0]), np.array([[0.97, 0.8], [0.97, 0.8]]), np.full((2, 2), 100), t=100)


def rewards_after_a_network_shift(view, left, frozen):
    """Layer was the better arm; from now on its transfers take longer than any deadline. Mean reward, last 100."""
    policy, states, rng = Composed(Mab(), BestFit()), States(TRAINED, None), np.random.default_rng(0)
    policy = Frozen(policy) if frozen else policy
    finished, got = None, []
    for _ in range(400):
        now = view(memory_bytes=(200.0, 200.0), deadlines_s=(20.0,), finished=finished)
        actions, states = plan(policy, now, states, rng)
        (decision,) = [action for action in actions if isinstance(action, Decide)]
        response_s, accuracy = (60.0, 0.95) if decision.split == LAYER else (4.0, 0.9)
        got.append(((response_s <= 20.0) + accuracy) / 2)
        finished = left((decision.split, 20.0, response_s, accuracy, decision.context))
    return float(np.mean(got[-100:]))


def test_the_bandit_recovers_from_a_shift_and_a_frozen_copy_does_not(view, left):
    """R_a rises over the deadlines, the context turns low, and Q(low, layer) falls: semantic it is."""
    assert rewards_after_a_network_shift(view, left, frozen=False) > 0.9
    assert rewards_after_a_network_shift(view, left, frozen=True) < 0.5


def test_the_surrogate_follows_a_shift_and_a_frozen_copy_does_not(view):
    """Energy and response change under the same placements: after 50 intervals the live surrogate predicts them."""
    from splitplace.placement.placers.daso import Daso
    from splitplace.placement.policy import Leaving
    from splitplace.placement.surrogates import surrogate
    from splitplace.placement.surrogates.problem import carried_out
    from splitplace.records.action import Place

    placer, now = Daso(tune_lr=1e-3), view(deadlines_s=(50.0,))
    state = placer.init(now)
    frozen = state
    actions = [Place(100, 0, 0), Place(100, 1, 1)]
    x = placer.input(state, now, carried_out(now, actions))
    for interval in range(50):
        moment = view(now_s=300.0 * (interval + 1))
        state = replace(state, experience=replace(state.experience, pairs=((x, -0.4),) * 40))
        state = placer.update(state, Leaving(moment, moment.finished))
    error = [abs(float(surrogate.predict(s.surrogate, x[None])[0]) + 0.4) for s in (frozen, state)]
    assert error[1] < 0.1 * error[0]
