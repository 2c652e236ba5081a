"""A learning policy of a user's own: trained, saved, shown and read back by its own file alone."""

import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

from splitplace.api.policy import train_policy
from splitplace.errors import PolicyError, SplitPlaceError, UsageError
from splitplace.placement.learner import Learner
from splitplace.placement.learning.show import saved_states
from splitplace.placement.learning.traces import LearningSettings, SimulatedTraces
from splitplace.placement.learning.train import train
from splitplace.placement.learning.workload import Explorer
from splitplace.placement.registry import names, parse_policy, part
from splitplace.placement.simulator.demands import load_demand
from splitplace.placement.simulator.run import simulate
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from splitplace.placement.states import from_folder

OWN = '''
    import numpy as np
    from splitplace.placement.learner import Taught
    from splitplace.placement.placers.best_fit import BestFit
    from splitplace.placement.states import Packed

    class Busiest(BestFit):
        """Remembers how busy each device was in the training workload."""

        name = "busiest"

        def train(self, traces):
            seen = []
            for run in range(traces.runs):
                traces.replay(run, lambda view, actions: seen.append(view.devices.cpu_D))
            return Taught(np.mean(seen, axis=0), {"plans": len(seen)})

        def describe(self, loaded):
            return [f"busy for {loaded.arrays['cpu'].mean():.3f} of the time"]

        def pack(self, state):
            return Packed({"cpu": state}, {})

        def unpack(self, packed, view):
            return packed.arrays["cpu"]
'''


def settings(parts=(), intervals=20):
    """Two short runs on ten devices."""
    scenario = load_scenario("upstream-10")
    return LearningSettings(
        scenario, load_fleet(scenario.fleet), load_demand("upstream"), "upstream", 2, intervals, 0, parts
    )


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The learner above in a module of the current folder; and, if asked to, installed as a package's placer."""
    (tmp_path / "my_learner.py").write_text(textwrap.dedent(OWN), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def install() -> None:
        info = tmp_path / "my_learner-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-learner\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text("[splitplace.placers]\nbusiest = my_learner:Busiest\n", encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def read_by(called, folder):
    """Which states of a folder a policy begins a simulation with."""
    policy, scenario, read = parse_policy(called), load_scenario("upstream-10"), []

    def first(view):
        states, found = from_folder(policy, folder, view)
        read.append(found)
        return states

    simulate(scenario, load_fleet(scenario.fleet), load_demand("upstream"), policy, 2, states=first)
    (found,) = read
    return found


@pytest.mark.parametrize(
    "name",
    ["busiest", "my_learner:Busiest"],
    ids=["installed", "by its module"],
)
def test_ones_own_learner_is_trained_saved_shown_and_used(own, tmp_path, name):
    """By its name alone; nothing else is trained; its own class tells what it learned."""
    if ":" not in name:
        own()
    found = train(settings((name,)), tmp_path / "states")
    assert list(found["learned"]) == ["busiest"]
    assert found["learned"]["busiest"]["about"]["plans"] > 20
    (state,) = saved_states(tmp_path / "states")
    assert state.plain()["shapes"] == {"cpu": [10]}
    assert "busiest: state of busiest, for 10 devices" in str(state)
    assert "busy for 0." in str(state)
    assert read_by(f"layer+{name}", tmp_path / "states") == ["busiest"]


NAMELESS = "init, place, update = BestFit.init, BestFit.place, BestFit.update"


@pytest.mark.parametrize(
    ("head", "name", "stem"),
    [
        (f"class Busiest:\n    {NAMELESS}", "my_oddly_called:Busiest", "my_oddly_called-Busiest"),
        ("class Busiest(BestFit):\n    name = '../busy / interval'", "../busy / interval", "busy-interval"),
    ],
    ids=["nameless", "oddly named"],
)
def test_whatever_a_learner_is_called_its_state_has_a_file(own, tmp_path, monkeypatch, head, name, stem):
    """In the folder, and it finds it again; one without a name is called module:Class, as it was asked for."""
    text = textwrap.dedent(OWN).replace('    name = "busiest"\n', "").replace("class Busiest(BestFit):", head)
    (tmp_path / "my_oddly_called.py").write_text(text, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "my_oddly_called", raising=False)
    found = train(settings(("my_oddly_called:Busiest",)), tmp_path / "states")
    assert list(found["learned"]) == [stem]
    (state,) = saved_states(tmp_path / "states")
    assert state.name == stem and "busy for 0." in str(state)
    assert read_by("layer+my_oddly_called:Busiest", tmp_path / "states") == [name]


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ("seen = []", "1 / 0", "policy busiest failed: ZeroDivisionError: division by zero"),
        ("seen = []", "raise SystemExit(3)", "policy busiest failed: SystemExit: 3"),
        ("return Taught(", "return dict(", "policy busiest failed: TypeError"),
        ("return Packed(", "return dict(", "policy busiest failed: TypeError"),
        ('name = "busiest"', 'name = "busiest"\n    def init(self, view): self.nothing', "policy busiest failed: Attr"),
    ],
)
def test_a_learner_that_fails_is_told_by_its_name(own, tmp_path, changed, to, said):
    """In one line, as a policy that fails its plan is."""
    (tmp_path / "my_broken.py").write_text(textwrap.dedent(OWN).replace(changed, to, 1), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "my_broken", raising=False)
        with pytest.raises(PolicyError, match=said):
            train(settings(("my_broken:Busiest",), intervals=2), tmp_path / "states")
        sys.modules.pop("my_broken")


def test_one_part_is_named_as_a_text(tmp_path):
    """As on the command line; its letters are no parts."""
    taught = train_policy("upstream-10", demand="upstream", out=tmp_path, runs=2, intervals=2, parts="mab")
    assert list(taught["learned"]) == ["mab"]


def test_what_was_not_learned_yet_is_no_number(tmp_path):
    """A bandit that saw no task leave shows a dash where a reward will stand."""
    train(settings(("mab",), intervals=2), tmp_path)
    (state,) = saved_states(tmp_path)
    assert "semantic: Q -, N" in str(state) and "nan" not in str(state)


def test_a_state_of_a_class_that_is_not_here_says_so(own, tmp_path, monkeypatch):
    """Its file names the class: the current folder is not searched for it, and what else has the name is not called."""
    train(settings(("my_learner:Busiest",)), tmp_path / "states")
    (state,) = saved_states(tmp_path / "states")
    monkeypatch.delitem(sys.modules, "my_learner")
    assert "10 numbers in 1 arrays" in str(state)
    assert "learned by my_learner:Busiest, which is not here" in str(state)
    called = []
    monkeypatch.setitem(sys.modules, "my_learner", SimpleNamespace(Busiest=lambda: called.append(1)))
    assert "which is not here" in str(state)
    assert not called


def test_every_learner_of_the_registry_is_one():
    """Those that training teaches have all four methods: `policy train` asks nothing else."""
    learners = {name for name in names() if isinstance(part(name), Learner)}
    assert learners >= {"mab", "daso", "daso-slots", "daso-tasks", "daso-warm", "gobi", "gillis", "compressed"}
    assert all(hasattr(part(name), "train") == (name in learners) for name in names())


def test_what_another_learner_needs_is_trained_first_and_once(tmp_path):
    """Asked for again, the bandit answers what it learned."""
    asked = []
    traces = SimulatedTraces(settings(), tmp_path, lambda what, share: asked.append(what))
    _, state = traces.trained("mab")
    assert traces.trained("mab")[1] is state
    assert traces.learned == ["mab"]
    assert (tmp_path / "mab.safetensors").is_file()
    assert asked.count("training mab") == 1


def test_learners_that_ask_for_each_other_are_refused(own, tmp_path, monkeypatch):
    """By both names, not by a stack that overflows."""
    own()
    from splitplace.placement.deciders.mab import Mab

    monkeypatch.setattr(Mab, "train", lambda self, traces: traces.trained("busiest"))
    monkeypatch.setattr(part("busiest").__class__, "train", lambda self, traces: traces.trained("mab"))
    with pytest.raises(SplitPlaceError, match="mab asks for busiest asks for mab: neither can be trained first"):
        train(settings(("mab",)), tmp_path)


@pytest.mark.parametrize(
    ("parts", "error", "said"),
    [
        (("layer",), UsageError, "layer is no learner"),
        (("daso-warm",), UsageError, "daso-warm uses what daso learns: train daso"),
        (("nobody",), UsageError, "unknown decider, placer or policy 'nobody'"),
        (("compressed",), UsageError, "has no compressed split"),
        (("daso-tasks",), SplitPlaceError, "nothing to learn from: no task left in 1 intervals"),
    ],
)
def test_what_cannot_be_trained_is_one_line(parts, error, said, tmp_path):
    """Asked for by name, it is refused; among all, it is left out."""
    with pytest.raises(error, match=said):
        train(settings(parts, intervals=1), tmp_path)


def test_where_nothing_can_be_trained_says_why_of_each(tmp_path, monkeypatch):
    """Of all that learn, one has nothing to choose from, and another no split to compress: nobody is left."""
    monkeypatch.setattr("splitplace.placement.learning.train.registry.names", lambda: ("layer", "compressed"))
    with pytest.raises(SplitPlaceError, match=r"nothing learns on scenario .*: compressed: .*has no compressed split"):
        train(settings(()), tmp_path)


def test_the_training_workload_is_the_same_each_time():
    """The explorer draws from what it is handed and keeps one rule an interval."""
    drawn = [Explorer.drawn(1, 50, np.random.default_rng(7)) for _ in range(2)]
    assert (drawn[0].rule_I == drawn[1].rule_I).all()
    assert set(drawn[0].rule_I) == {0, 1, 2}
    seen = ([], [])
    for views in seen:
        traces = SimulatedTraces(settings(), None, lambda what, share: None)
        traces.replay(1, lambda view, actions, views=views: views.append((view.now_s, tuple(actions))))
    assert seen[0] == seen[1]
