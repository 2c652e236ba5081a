"""An experiment over a Ray cluster of real `ray start` processes: the same cells, whatever dies; what is refused."""

import logging
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from splitplace.benchmarks import experiment_run, grid_jobs
from splitplace.benchmarks.experiment import Experiment
from splitplace.benchmarks.grid import measure_cell
from splitplace.benchmarks.grid_ray import RayCrew
from splitplace.benchmarks.ray_cluster import RayCluster, free_port
from splitplace.cli import main
from splitplace.errors import NotReadyError, SplitPlaceError, UsageError
from tests.benchmarks.test_grid import figures, task
from tests.benchmarks.test_policies import EXPERIMENT, QUIET, TOML

slow = pytest.mark.slow
patient = pytest.mark.timeout(1800)


@contextmanager
def cluster():
    """A head that computes nothing."""
    with tempfile.TemporaryDirectory(prefix="sp-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = RayCluster(Path(folder), Path(folder) / "devices")
        try:
            made.start_head()
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def two_nodes():
    """A head and two nodes of a core each."""
    with cluster() as made:
        made.start_node("n1")
        made.start_node("n2")
        yield made


@pytest.fixture
def there(two_nodes, monkeypatch):
    """With its address and token."""
    for name, value in two_nodes.environment.items():
        monkeypatch.setenv(name, value)
    return two_nodes


def plain(results):
    """Its cells as they stand in the file, in an order of their own, without what the clock said."""
    parts = {name: getattr(results, name) for name in ("tuning", "cells", "bounds")}
    return {name: sorted(cell.model_dump_json(exclude={"timings"}) for cell in part) for name, part in parts.items()}


@slow
@patient
def test_an_experiment_is_the_same_there_and_here(there, tmp_path, monkeypatch):
    """Byte for byte but for the clock, files of its own included; what is there is not measured again."""
    monkeypatch.chdir(tmp_path)
    demand = Path(str(experiment_run.__file__)).parents[1] / "placement/data/demand.upstream.toml"
    Path("mine.toml").write_bytes(demand.read_bytes())
    experiment = Experiment.parse_toml(TOML.replace('demand = "upstream"', 'demand = "mine.toml"'), "mine")
    here = experiment_run.run(tmp_path / "here.json", experiment, **QUIET)
    said = []
    with closing(RayCrew()) as crew:
        both_hired(crew)
        part = experiment.only(["layer"])
        experiment_run.run(tmp_path / "ray.json", experiment, said.append, part, jobs=crew)
        first = len(said)
        found = experiment_run.run(tmp_path / "ray.json", experiment, said.append, jobs=crew)
        assert set(crew.nodes) == {"127.0.0." + str(2 + sum(map(ord, name)) % 200) for name in ("n1", "n2")}
        again = experiment_run.run(tmp_path / "ray.json", experiment, said.append, jobs=crew)
    assert plain(found) == plain(here) == plain(again)
    assert len(found.cells) == len(here.cells) > 0
    assert {cell.machine for cell in found.cells} == {here.provenance.machine.words}
    assert first == 2 + 2 + 2 and said[first].startswith("judging: 1 of ")


def both_hired(crew):
    """Cells that nobody needs, until both nodes have come to measure."""
    while len(crew.nodes) < 2:
        list(crew.results(measure_cell, [task(seed=seed) for seed in range(8)]))


@slow
@patient
def test_a_cell_whose_node_dies_is_measured_by_another(there, monkeypatch, caplog):
    """While it is measured; the answers are those of this machine. The node comes back, for whoever is next."""
    cells = [task(seed=seed, intervals=60) for seed in range(12)]
    here = [figures(measure_cell(cell)) for cell in cells]
    found, dead = [], []

    def keep(cell):
        found.append(cell)
        if not dead:  # both measure, and there is more to be measured
            dead.append("n2")
            there.kill("n2")

    with closing(RayCrew()) as crew, caplog.at_level(logging.WARNING):
        both_hired(crew)
        grid_jobs.measure(measure_cell, cells, crew, keep, lambda line: None, "cells")
    there.start_node("n2")
    assert dead and "has ended: it is measured again" in caplog.text
    assert sorted(cell.seed for cell in found) == list(range(12))
    by_seed = {cell.seed: figures(cell.model_copy(update={"machine": None})) for cell in found}
    assert [by_seed[seed] for seed in range(12)] == here


@slow
@patient
def test_what_a_cell_raises_ends_it_in_the_same_words(there):
    """As on this machine's own cores; what was measured before is kept."""
    kept = []
    cells = [task(), task(intervals=1)]
    with closing(RayCrew(1)) as crew, pytest.raises(SplitPlaceError, match="in 1 intervals no task is scored: give"):
        grid_jobs.measure(measure_cell, cells, crew, kept.append, lambda line: None, "cells")
    assert len(kept) == 1


@slow
@patient
def test_nodes_of_another_version_are_refused_in_a_sentence(tmp_path, monkeypatch):
    """Each says its own first; where none has ours, that is what the command says."""
    stale = tmp_path / "stale" / "splitplace-0.0.1.dist-info"
    stale.mkdir(parents=True)
    (stale / "METADATA").write_text("Metadata-Version: 2.1\nName: splitplace\nVersion: 0.0.1\n")
    monkeypatch.chdir(tmp_path)  # Ray has workers look there first, and a checkout may hold what an installation left
    with cluster() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        made.environment["PYTHONPATH"] = str(stale.parent)
        made.start_node("old")
        with closing(RayCrew()) as crew, pytest.raises(NotReadyError) as told:
            list(crew.results(measure_cell, [task()]))
    assert "no node of the Ray cluster can measure: node 127.0.0." in str(told.value)
    assert "it has splitplace 0.0.1, expected " in str(told.value) and "\n" not in str(told.value)


@slow
@patient
def test_without_a_cluster_it_says_how_to_have_one(monkeypatch):
    """Nobody answers at the address."""
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with closing(RayCrew()) as crew, pytest.raises(NotReadyError, match=r"no Ray cluster answers at 127\.") as told:
        list(crew.results(measure_cell, [task()]))
    assert "\n" not in str(told.value)


def test_without_rays_token_nothing_begins(monkeypatch):
    """As the engine of that name; nor with a number of cores that is none."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(UsageError, match="set RAY_AUTH_MODE=token"):
        RayCrew()


@slow
@patient
def test_the_command_takes_the_cluster(there, tmp_path, capsys):
    """`bench policies --ray`, from an experiment's file to its table."""
    path = tmp_path / "tiny.toml"
    path.write_text(TOML)
    results = tmp_path / "results.json"
    with pytest.raises(SystemExit) as stop:
        main(["bench", "policies", "--experiment", str(path), "--results", str(results), "--ray", "--json"])
    assert stop.value.code == 0 and results.is_file()
    assert plain(experiment_run.ExperimentResults.parse(results.read_bytes(), "")) == plain(
        experiment_run.run(tmp_path / "here.json", EXPERIMENT, **QUIET)
    )


@slow
@patient
def test_from_a_machine_that_is_no_node_rays_client_server_is_asked(there, monkeypatch):
    """`RAY_ADDRESS=ray://HEAD:10001`: the same cells; and a place where there is none is said as such."""
    cells = [task(seed=seed) for seed in range(3)]
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{there.client_port}")
    with closing(RayCrew()) as crew:
        found = list(crew.results(measure_cell, cells))
    assert sorted(str(figures(cell.model_copy(update={"machine": None}))) for cell in found) == sorted(
        str(figures(measure_cell(cell))) for cell in cells
    )
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{free_port()}")
    with closing(RayCrew()) as crew, pytest.raises(NotReadyError, match="no Ray cluster answers at ray://"):
        list(crew.results(measure_cell, cells))
