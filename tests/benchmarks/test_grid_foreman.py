"""Who measures which cell on a cluster, by a Ray of ours and a fake clock; and what of a cell passes through Ray."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from splitplace.benchmarks import grid_wire, ray_connection
from splitplace.benchmarks.adaptation import AdaptationTask
from splitplace.benchmarks.adaptation import measure_task as adapt
from splitplace.benchmarks.adversary import PointTask, measure_point
from splitplace.benchmarks.bandit_training import TrainingTask, train_once
from splitplace.benchmarks.grid import GridTask, measure_bound, measure_cell
from splitplace.benchmarks.grid_foreman import BUSY_S, MOST_ENDS, NOBODY_S, Foreman, NoNodeError
from splitplace.benchmarks.grid_scenario import GridScenario
from splitplace.benchmarks.grid_wire import CellAsked, CellBatch, CodeFacts, CrewAsked, Luggage, NodeHello
from splitplace.benchmarks.grid_worker import GridWorker
from splitplace.benchmarks.placement import PlacerTask, Setting
from splitplace.benchmarks.placement import measure_task as place
from splitplace.benchmarks.ray_connection import start_client
from splitplace.errors import IntegrityError, SplitPlaceError
from splitplace.placement.simulator.demands import DATA, load_demand
from splitplace.placement.simulator.shipped import load_fleet, load_scenario
from tests.benchmarks.test_grid import LAYER, SCENARIO, figures, task

FACTS = CodeFacts(splitplace="1.0", commit="abc", code="c1", numpy="2.0", scipy="1.9", machine="a board")


@dataclass(eq=False)
class Actor:
    """Of a node; what it answers, the test says."""

    ray: "OurRay"
    node: str
    asked: list = field(default_factory=list)

    @property
    def hello(self):
        """As Ray's methods are called."""
        return Method(self, "hello")

    @property
    def measure(self):
        """Likewise."""
        return Method(self, "measure")


@dataclass
class Method:
    """Of an actor."""

    actor: Actor
    name: str

    def remote(self, *arguments):
        """A reference, to which an answer comes when the test says so."""
        ref = object()
        cell = json.loads(arguments[0])["number"] if arguments else None
        self.actor.ray.waiting[ref] = (self.actor, cell)
        return ref


def id_of(name):
    """Of a node, as Ray has them."""
    return name.encode().hex().ljust(56, "0")


class OurRay:
    """In place of the module: nodes, actors on them, and answers that come when the test says so."""

    def __init__(self, **cores):
        self.cores, self.waiting, self.answers, self.killed = cores, {}, {}, []

    def nodes(self):
        """As Ray tells of them."""
        return [
            {
                "NodeID": id_of(name),
                "NodeManagerAddress": f"at-{name}",
                "Alive": True,
                "Resources": {"CPU": 1.0 * count},
            }
            for name, count in self.cores.items()
        ]

    def remote(self, worker):
        """The class as an actor's."""
        assert worker is GridWorker
        return self

    def options(self, scheduling_strategy, **options):
        """Where it is to be."""
        assert options["num_cpus"] == 1 and options["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1"
        assert scheduling_strategy.soft is False
        return Made(self, next(name for name in self.cores if id_of(name) == scheduling_strategy.node_id))

    def put(self, files):
        """For all nodes."""
        return files

    def wait(self, refs, num_returns, timeout):
        """Who has answered."""
        return [ref for ref in refs if ref in self.answers][:num_returns], []

    def get(self, ref):
        """Its answer."""
        del self.waiting[ref]
        answer = self.answers.pop(ref)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else answer.model_dump_json().encode()

    def kill(self, actor):
        """It ends."""
        self.killed.append(actor.node)


@dataclass
class Made:
    """An actor's class, on a node."""

    ray: OurRay
    node: str

    def remote(self):
        """The actor."""
        return Actor(self.ray, self.node)


class Place:
    """A foreman, its cluster, a clock, and what it has reported."""

    def __init__(self, most=None, **cores):
        self.now_s, self.said, self.ray = 100.0, [], OurRay(**cores)
        self.foreman = Foreman(CrewAsked(facts=FACTS, most=most), self.ray, self.said.append, lambda: self.now_s)

    def ask(self, count):
        """So many cells."""
        self.foreman.heed(CellBatch(number=1, files={}))
        for number in range(count):
            self.foreman.heed(CellAsked(batch=1, number=number, work="w", task="{}"))
        self.step()

    def step(self, seconds=0.0):
        """Some time passes."""
        self.now_s += seconds
        self.foreman.step()

    def greet(self, facts=FACTS, problem="", nodes=None):
        """Everybody who was hired (on these nodes) says hello, one after another."""
        for ref, (actor, cell) in list(self.ray.waiting.items()):
            if cell is None and actor.node in (nodes or self.ray.cores):
                self.ray.answers[ref] = NodeHello(facts=facts, problem=problem)
                self.step()

    def measures(self):
        """Who measures which cell."""
        return sorted((cell, actor.node) for actor, cell in self.ray.waiting.values() if cell is not None)

    def hired(self):
        """Who has yet to say hello, by node."""
        return sorted(actor.node for actor, cell in self.ray.waiting.values() if cell is None)

    def answer(self, number, answer):
        """Of who measures a cell."""
        (ref,) = (ref for ref, (_, cell) in self.ray.waiting.items() if cell == number)
        self.ray.answers[ref] = answer
        self.step()

    def done(self, number):
        """It is measured."""
        self.answer(number, grid_wire.CellDone(batch=1, number=number, result="1"))

    def told(self, kind):
        """The reports of a kind, which are taken away."""
        found = [report for report in self.said if report.type == kind]
        self.said[:] = [report for report in self.said if report.type != kind]
        return found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """The clock is ours."""
    monkeypatch.setattr(ray_connection.time, "sleep", lambda seconds: None)


class Unreliable:
    """A Ray whose first connections come to nothing."""

    def __init__(self, failures):
        self.failures, self.tried, self.left = failures, 0, 0

    def init(self, address, **options):
        """Connect, in the end."""
        self.tried += 1
        if self.tried <= self.failures:
            raise ConnectionAbortedError("Starting Ray client server failed")

    def shutdown(self):
        """Leave what was begun."""
        self.left += 1


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_process_of_rays_that_ends_as_it_begins_is_started_again(failures):
    """By the client server, up to three times; what was begun is left before."""
    ray = Unreliable(failures)
    start_client(ray, "ray://head:10001")
    assert (ray.tried, ray.left) == (failures + 1, failures)


@pytest.mark.parametrize(("address", "tries"), [("ray://head:10001", 3), ("head:6379", 1), ("auto", 1)])
def test_a_cluster_that_lets_nobody_in_is_told_as_ray_does(address, tries):
    """And a cluster's own address once: there is no such process."""
    ray = Unreliable(9)
    with pytest.raises(ConnectionAbortedError, match="Starting Ray client server failed"):
        start_client(ray, address)
    assert ray.tried == tries


def test_a_core_for_each_cell_node_by_node_in_turns():
    """No more than there are cells, or cores; what is left comes when one is done."""
    place = Place(a=3, b=1, c=0)
    place.ask(3)
    assert place.hired() == ["a", "a", "b"]
    place.greet()
    assert [report.node for report in place.told("hired")] == ["at-a", "at-b", "at-a"]
    assert [cell for cell, _ in place.measures()] == [0, 1, 2]
    place = Place(a=1)
    place.ask(2)
    place.greet()
    assert place.measures() == [(0, "a")]
    place.done(0)
    assert place.measures() == [(1, "a")]
    (report,) = place.told("done")
    assert (report.number, report.result, report.machine) == (0, "1", "a board")


def test_no_more_cores_than_are_asked_for():
    """Of all nodes together."""
    place = Place(most=2, a=4, b=4)
    place.ask(8)
    assert place.hired() == ["a", "b"]


def test_a_cell_whose_node_dies_is_measured_elsewhere_and_first():
    """The node is not refused: it may come back, under another id."""
    place = Place(a=1, b=1)
    place.ask(3)
    place.greet()
    assert place.measures() == [(0, "a"), (1, "b")]
    del place.ray.cores["a"]
    place.answer(0, RuntimeError("the actor died"))
    assert [(again.number, again.node) for again in place.told("again")] == [(0, "at-a")]
    place.done(1)
    assert place.measures() == [(0, "b")]
    place.ray.cores["a2"] = 1
    place.step(1.0)
    place.greet(nodes=["a2"])
    assert place.measures() == [(0, "b"), (2, "a2")]
    assert place.told("refused") == []


def test_a_cell_that_ends_whoever_measures_it_fails():
    """After so many; the sentence says what to do."""
    place = Place(a=1)
    place.ask(1)
    for _ in range(MOST_ENDS):
        place.greet()
        place.answer(0, RuntimeError("the actor died of memory"))
        place.step(1.0)
    (failed,) = place.told("failed")
    assert "3 times who measured a cell ended by itself" in failed.problem and "fewer --jobs" in failed.problem
    assert "the actor died of memory" in failed.problem
    assert len(place.told("again")) == MOST_ENDS - 1


@pytest.mark.parametrize(
    ("change", "problem", "said"),
    [
        ({"splitplace": "0.9"}, "", "it has splitplace 0.9, expected 1.0 as here: install that there"),
        ({"numpy": "1.0"}, "", "it has numpy 1.0, expected 2.0 as here"),
        ({"scipy": "1.8"}, "", "it has scipy 1.8, expected 1.9 as here"),
        ({"commit": "def", "code": "c2"}, "", "its splitplace is of commit def, expected abc as here: update it there"),
        ({"commit": "unknown", "code": "c2"}, "", "its splitplace is of commit unknown, expected abc as here"),
        ({"commit": "abc+dirty", "code": "c2"}, "", "its splitplace is of commit abc+dirty, expected abc as here"),
        ({"code": "c2"}, "", "its splitplace is another than here, though both say commit abc: install there"),
        ({"scipy": ""}, "a node that measures needs scipy", "a node that measures needs scipy"),
        ({}, "a node that measures needs scipy", "a node that measures needs scipy"),
    ],
)
def test_a_node_that_is_other_is_refused_in_a_sentence(change, problem, said):
    """The others measure; where there is none, nothing is measured, and the sentence says why."""
    place = Place(a=2, b=1)
    place.ask(3)
    place.greet(nodes=["b"])
    place.greet(FACTS.model_copy(update=change), problem, nodes=["a"])
    (refused,) = place.told("refused")
    assert refused.node == "at-a" and refused.reason.startswith(said) and "\n" not in refused.reason
    assert place.measures() == [(0, "b")] and place.ray.killed == ["a", "a"]
    alone = Place(a=1)
    alone.ask(1)
    with pytest.raises(NoNodeError, match="no node of the Ray cluster can measure: node at-a: ") as told:
        alone.greet(FACTS.model_copy(update=change), problem)
        alone.step()
    assert said in str(told.value) and "\n" not in str(told.value)


def hello_without(*missing, **more):
    """As another version's node says it."""
    facts = {name: value for name, value in FACTS.model_dump().items() if name not in missing}
    return json.dumps({"facts": facts | more, "problem": ""}).encode()


@pytest.mark.parametrize(
    ("hello", "which"),
    [
        (hello_without("code", "scipy"), "facts.code: Field required"),
        (hello_without(compiler="gcc"), "facts.compiler: Extra inputs are not permitted"),
        (b"hello", "not a nodehello"),
    ],
    ids=["older", "newer", "else"],
)
def test_a_node_of_another_form_of_hello_is_left_out(hello, which):
    """As any whose splitplace is another one: the others measure."""
    place = Place(a=2, b=1)
    place.ask(3)
    place.greet(nodes=["b"])
    ref = next(ref for ref, (actor, _) in place.ray.waiting.items() if actor.node == "a")
    place.ray.answers[ref] = hello
    place.step()
    (refused,) = place.told("refused")
    said = "its splitplace is another than here (1.0): install there what is here"
    assert refused.node == "at-a" and refused.reason.startswith(said) and which in refused.reason
    assert "\n" not in refused.reason
    assert place.measures() == [(0, "b")] and place.ray.killed == ["a", "a"]


def test_a_node_without_splitplace_is_told_how_to_have_it():
    """As Ray says that it could not load the class."""
    place = Place(a=1)
    place.ask(1)
    (ref,) = place.ray.waiting
    place.ray.answers[ref] = RuntimeError("failed to import: ModuleNotFoundError: No module named 'splitplace'")
    with pytest.raises(NoNodeError, match=r"it has no splitplace, expected 1\.0: pip install 'splitplace\[ray,sim\]'"):
        place.step()
        place.step()


@pytest.mark.parametrize("commit", ["def", "unknown", "abc+dirty"])
def test_the_same_code_measures_whatever_it_is_called(commit):
    """Commits that differ in no module, a copy without its history, a checkout with changes elsewhere."""
    place = Place(a=1)
    place.ask(1)
    place.greet(FACTS.model_copy(update={"commit": commit}))
    assert place.measures() == [(0, "a")] and place.told("refused") == []


def test_cores_that_do_not_come_free_are_not_waited_for_without_end():
    """Others' work is there; another core is looked for after some time."""
    place = Place(a=1)
    place.ask(2)
    place.ray.cores["b"] = 1
    place.step(BUSY_S - 1)
    assert place.hired() == ["a", "b"]
    place.step(2 * BUSY_S)
    with pytest.raises(NoNodeError, match="no core of the Ray cluster's 2 nodes came free within 120 s"):
        place.step(NOBODY_S)


def test_a_cluster_without_cores_says_so():
    """A head alone, as it is started for a fleet."""
    place = Place(a=0)
    place.ask(1)
    with pytest.raises(NoNodeError, match="none of the Ray cluster's 1 nodes has a core to give"):
        place.step(NOBODY_S + 1)


def test_a_cell_may_take_as_long_as_it_takes():
    """Who measures is somebody; after it, a node that is gone is waited for anew."""
    place = Place(a=1)
    place.ask(1)
    place.greet()
    for _ in range(5):
        place.step(NOBODY_S)
    place.ray.cores.clear()
    place.answer(0, RuntimeError("the node died"))
    place.step(NOBODY_S / 2)
    with pytest.raises(NoNodeError):
        place.step(NOBODY_S)


def test_cells_of_a_new_batch_take_the_place_of_those_that_were_left():
    """Which is so where somebody stopped listening."""
    place = Place(a=1)
    place.ask(3)
    place.greet()
    place.foreman.heed(CellBatch(number=2, files={}))
    place.foreman.heed(CellAsked(batch=2, number=7, work="w", task="{}"))
    place.answer(0, RuntimeError("the actor died"))
    place.step(1.0)
    place.greet()
    assert place.measures() == [(7, "a")] and place.told("again") == []


def through(work, task, luggage=None):
    """What a node answers, all in this process."""
    luggage = luggage or Luggage()
    takes, gives = grid_wire.adapters(work)
    packed = takes.dump_json(luggage.packed(task)).decode()
    asked = CellAsked(batch=1, number=0, work=grid_wire.name_of(work), task=packed)
    answer = GridWorker().measure(asked.model_dump_json().encode(), grid_wire.FILES.dump_json(luggage.files))
    said = grid_wire.ANSWERS.validate_json(answer)
    return gives.validate_json(said.result) if said.type == "done" else said


def test_a_cell_is_the_same_by_way_of_a_node():
    """To the last digit; so is a bound."""
    assert figures(through(measure_cell, task(load=0.9, details=True))) == figures(
        measure_cell(task(load=0.9, details=True))
    )
    assert through(measure_bound, task()) == measure_bound(task())


def test_what_a_cell_raises_is_told_as_it_is_here():
    """A user's mistake as such."""
    with pytest.raises(SplitPlaceError) as here:
        measure_cell(task(intervals=1))
    failed = through(measure_cell, task(intervals=1))
    assert (failed.problem, failed.usage) == (str(here.value), False)
    nowhere = GridScenario(name="nowhere")
    assert through(measure_cell, task(scenario=nowhere)).usage


def test_a_mistake_of_the_program_is_told_with_where_it_is():
    """Its own traceback, for whoever mends it."""
    asked = CellAsked(batch=1, number=0, work=grid_wire.name_of(measure_cell), task='{"load": "much"}')
    failed = grid_wire.ANSWERS.validate_json(GridWorker().measure(asked.model_dump_json().encode(), b"{}"))
    assert not failed.usage and "mistake of this program" in failed.problem and "Traceback" in failed.problem


def test_files_that_a_cell_names_travel_with_it(tmp_path, monkeypatch):
    """By relative paths or absolute ones; the same content once; the node needs none of them in its place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    Path("my/scenario.toml").write_bytes((DATA / "scenario.upstream-10.toml").read_bytes())
    Path("fleet.toml").write_bytes((DATA / "fleet.upstream-10.toml").read_bytes())
    Path("demand.toml").write_bytes((DATA / "demand.upstream.toml").read_bytes())
    scenario = GridScenario(
        name="published", scenario="my/scenario.toml", fleet="fleet.toml:10", demand=str(tmp_path / "demand.toml")
    )
    luggage, here = Luggage(), figures(measure_cell(task(scenario=scenario)))
    takes, gives = grid_wire.adapters(measure_cell)
    first, second = (luggage.packed(task(scenario=scenario, seed=seed)) for seed in (3, 4))
    assert len(luggage.files) == 3
    assert str(tmp_path) not in takes.dump_json(first).decode()
    assert first.scenario == second.scenario
    monkeypatch.chdir("/")
    for path in tmp_path.rglob("*.toml"):
        path.unlink()
    text = takes.dump_json(first).decode()
    asked = CellAsked(batch=1, number=0, work=grid_wire.name_of(measure_cell), task=text).model_dump_json().encode()
    answer = GridWorker().measure(asked, grid_wire.FILES.dump_json(luggage.files))
    assert figures(gives.validate_json(grid_wire.ANSWERS.validate_json(answer).result)) == here


def test_recorded_workloads_and_trained_states_travel_too(tmp_path):
    """A trace that the scenario names, and the states of a folder."""
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,application,n,deadline_s\n0,mnist,20000,2000\n400,mnist,30000,2000\n")
    states = tmp_path / "states"
    states.mkdir()
    (states / "mab.safetensors").write_bytes(b"1")
    (states / "runs.parquet").write_bytes(b"not for this")
    changes = {"workload": {"trace": str(trace), "rate": None, "mix": {}}}
    scenario = SCENARIO.model_copy(update={"changes": changes})
    luggage = Luggage()
    packed = luggage.packed(task(scenario=scenario, load=None, folder=str(states)))
    assert sorted(name.partition("/")[2] for name in luggage.files) == ["mab.safetensors", "trace.csv"]
    assert packed.scenario.changes["workload"]["trace"] in luggage.files
    assert f"{packed.folder}/mab.safetensors" in luggage.files
    got = through(measure_cell, task(scenario=scenario, load=None))
    assert figures(got) == figures(measure_cell(task(scenario=scenario, load=None)))


@pytest.mark.parametrize("name", ["x", "../0123456789abcdef/x", "0123456789abcdef/..", "0123456789abcdef/a/b"])
def test_a_file_is_unpacked_nowhere_else(tmp_path, name):
    """Whatever it is called."""
    with pytest.raises(IntegrityError, match="expected 16 hexadecimal digits"):
        grid_wire.unpack({name: "AA=="}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_a_benchs_function_is_called():
    """By whatever name it is asked for."""
    with pytest.raises(IntegrityError, match=r"expected a function of splitplace\.benchmarks"):
        grid_wire.work_named("os:_exit")


def test_every_kind_of_task_passes_as_json(tmp_path):
    """What the benches of the grid are made of comes out as it went in, with its files."""
    setting = Setting(
        load_scenario("measured-50"), load_fleet("azure10"), load_demand("measured"), "measured", tmp_path, 24
    )
    tasks = {
        measure_cell: task(folder="states"),
        train_once: TrainingTask("epsilon-greedy+random", SCENARIO, 1, 5),
        measure_point: PointTask(SCENARIO, "{}", LAYER, 1, 12, None),
        place: PlacerTask(setting, 1, LAYER),
        adapt: AdaptationTask(tmp_path, load_demand("upstream"), "rate", "daso", "online", 1, 20),
    }
    for work, each in tasks.items():
        takes, _ = grid_wire.adapters(work)
        assert isinstance(each, grid_wire.NamesFiles)
        again = takes.validate_json(takes.dump_json(each))
        assert type(again) is type(each)
        assert takes.dump_json(again) == takes.dump_json(each)
        assert grid_wire.work_named(grid_wire.name_of(work)) is work
    assert isinstance(tasks[measure_cell], GridTask)
