"""Every command on a base install: it works, or says in one line what is missing, before it works.

The commands run in a process that refuses the optional packages; on a real base install (`make installs`) there is
nothing to refuse, and the same tests hold.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitplace.cli import COMMANDS
from splitplace.extras import EXTRAS
from splitplace.splitting import split_folder
from splitplace.splitting.artifact import SplitArtifact
from tests.cli.brightest import MODEL
from tests.distribution.small_registry import SmallRegistry

pytestmark = pytest.mark.base

DEVICES = """
name = "one"

[[devices]]
name = "d"
kind = "base"
cores = 1
core_speed = 1.0
memory_bytes = 1_000_000_000
disk_bytes = 1_000_000_000
disk_bytes_per_s = 1e8
up_bytes_per_s = 1e8
down_bytes_per_s = 1e8
rtt_s = 0.001
power_w = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
labels = { cpu_share = "1" }
"""

WITHOUT = """
import contextlib, io, json, sys, traceback
refused, calls = json.loads(sys.argv[1])
finders = list(sys.meta_path)

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            return None
        return next((spec for finder in finders if (spec := finder.find_spec(name, path, target))), None)

    def find_distributions(self, *args):
        asked = (getattr(finder, "find_distributions", lambda *args: ()) for finder in finders)
        return (found for ask in asked for found in ask(*args))

sys.meta_path[:] = [Without()]
answers = []
for call in calls:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            CALL
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
            code = -1
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""
COMMAND = "from splitplace.cli import main; main(call)"
FUNCTION = "import splitplace as sp; eval(call)"

NEEDS = {
    "demo": ([], "demo,train,export"),
    "data fetch": (["fashionmnist"], "train"),
    "train": (["fashionmnist"], "train"),
    "split": (["model.onnx", "--fragments", "2"], "export"),
    "export": (["STATES", "--catalog", "c"], "train,export"),
    "profile": (["CATALOG", "--plot", "plots"], "export"),
    "evaluate": (["CATALOG"], "train"),
    "simulate": (["--policy", "random+random", "--plot", "run.svg"], "sim"),
    "advise": (["CATALOG", "--fleet", "azure50:3", "--rate", "1", "--deadline", "1"], "sim"),
    "policy train": ([], "train"),
    "policy show": (["STATES"], "sim"),
    "serve": (["CATALOG"], "serve"),
    "image": (["CATALOG", "--out", "IMAGES"], "serve"),
    "bench timings": ([], "demo,train,export"),
    "bench pipeline": ([], "train,export"),
    "bench chaos": ([], "export"),
    "bench ray": ([], "export,ray,sim"),
    "bench soak": ([], "export,sim"),
    "bench demo": ([], "demo,train,export"),
    "bench serve": ([], "export,serve,grpc"),
    "bench requests": ([], "export,serve,grpc"),
    "bench perf-analyzer": (["/bin/true"], "export,serve,grpc"),
    "bench testbed": ([], "train,export,sim"),
    "bench testbed-loaded": ([], "train,export,sim"),
    "bench simulator": ([], "sim"),
    "bench plans": ([], "sim"),
    "bench training": ([], "train"),
    "bench semantic": ([], "train,export"),
    "bench artifacts": ([], "train,export"),
    "bench images": ([], "train,export,serve"),
    "bench demand": ([], "train,export"),
    "bench fig2": ([], "sim"),
    "bench published-code": ([], "sim"),
    "bench adaptation": ([], "train,sim"),
    "bench policies": ([], "sim"),
    "bench robustness": ([], "sim"),
    "bench table4": ([], "sim"),
    "bench paper": (["fig9"], "sim"),
    "bench fair": ([], "sim"),
    "bench placement": ([], "sim"),
    "bench layer-split": ([], "train,export"),
    "bench foreign": ([], "train,export"),
}
"""A call of each command that needs more than the base, and the extras that it should ask for."""

FLEET = ["--data", "FLEET"]
REGISTRY: list[str] = []
"""HOST:PORT, once it is up."""
WORKS = {
    "export": ["SPLIT", "--catalog", "CATALOG"],
    "catalog ls": ["CATALOG"],
    "catalog show": ["CATALOG"],
    "catalog verify": ["CATALOG"],
    "catalog gc": ["CATALOG"],
    "profile": ["CATALOG", "--quick", "--kind", "base"],
    "evaluate": ["CATALOG", "--images", "x.npy", "--labels", "y.npy"],
    "infer": ["CATALOG", "--input", "x.npy"],
    "catalog push": ["CATALOG", "oci://REGISTRY/team/nets"],
    "catalog pull": ["oci://REGISTRY/team/nets", "--catalog", "PULLED"],
    "catalog demand": ["CATALOG", "--out", "demand.json"],
    "simulate": ["--policy", "random+random", "--intervals", "2", "--seed", "1"],
    "fleet start": [
        "--devices",
        "fleet.toml",
        "--catalog",
        "oci://REGISTRY/team/nets",
        "--policy",
        "full+random",
        "--detach",
        *FLEET,
    ],
    "fleet status": FLEET,
    "submit": ["pixels", "--input", "x.npy", "--deadline", "1000", "--detach", *FLEET],
    "fleet answer": ["0", *FLEET],
    "fleet cancel": ["0", *FLEET],
    "fleet drain": FLEET,
    "fleet stop": FLEET,
    "fleet history": FLEET,
    "token add": ["ann", "--tokens", "tokens.json"],
    "token ls": ["--tokens", "tokens.json"],
    "token revoke": ["ann", "--tokens", "tokens.json"],
}
"""A call of each command that a base install is enough for, in the order of a story."""

MORE = [
    (["simulate", "--policy", "random+random", "--trace-dir", "traces"], "sim"),
    (["simulate", "--policy", "mab+daso", "--scenario", "measured-50"], "sim"),
    (["simulate", "--policy", "layer+exact", "--scenario", "upstream-10", "--demand", "upstream"], "sim"),
    (["simulate", "--policy", "random+random", "--scenario", "mobile-50"], "sim"),
    (["simulate", "--policy", "random+random", "--load", "0.5"], "sim"),
    (["simulate", "--policy", "random+random", "--scenario", "lan"], "sim"),
    (["simulate", "trace", "--out", "m.parquet"], "sim"),
    (["split", "resnet18", "--fragments", "2", "--random-weights"], "export"),
    (["split", "model.onnx", "--fragments", "2", "--plot", "cuts.svg"], "export"),
    (["export", "SPLIT", "--catalog", "c", "--precision", "int8"], "export"),
    (["infer", "CATALOG", "--input", "a.png"], "images"),
]
"""Options that need more than the command itself."""

FUNCTIONS = {
    "sp.fetch('fashionmnist')": "train",
    "sp.train('fashionmnist')": "train",
    "sp.split('model.onnx', fragments=2)": "export",
    "sp.export('STATES', 'c')": "train,export",
    "sp.export('SPLIT', 'c', precision='float16')": "export",
    "sp.profile('CATALOG', plot='plots')": "export",
    "sp.evaluate('CATALOG')": "train",
    "sp.simulate('random+random', plot='run.svg')": "sim",
    "sp.simulate('random+random', trace_dir='traces')": "sim",
    "sp.simulate('random+random', load=0.5)": "sim",
    "sp.mobility_trace('m.parquet')": "sim",
    "sp.advise('CATALOG', fleet='azure50:3', rate=1.0, deadline=1.0)": "sim",
    "sp.train_policy()": "train",
    "sp.FrontDoor('FLEET')": "serve",
    "sp.build_images('CATALOG', 'IMAGES')": "serve",
}
"""The same of the public API."""


@pytest.fixture(scope="module")
def room(tmp_path_factory, brightest):
    """A folder with a split, a catalog of it, and inputs; a registry beside it."""
    folder = tmp_path_factory.mktemp("base")
    registry = SmallRegistry()
    REGISTRY.append(registry.host)
    split_folder.write(SplitArtifact(brightest(MODEL), {"full": MODEL}), folder / "SPLIT")
    (folder / "model.onnx").write_bytes(MODEL)
    (folder / "a.png").write_bytes(b"")
    (folder / "fleet.toml").write_text(DEVICES)
    np.save(folder / "x.npy", np.eye(4, dtype=np.uint8).reshape(4, 1, 2, 2))
    np.save(folder / "y.npy", np.arange(4))
    states = Path(__file__).resolve().parents[2] / "placement" / "data"
    (folder / "STATES").mkdir()
    (folder / "STATES" / "mab.safetensors").write_bytes((states / "state.measured-50.mab.safetensors").read_bytes())
    yield folder
    registry.close()


def without(room, body, calls):
    """Exit code, stdout and stderr of each call where no extra is installed."""
    refused = sorted({module for packages in EXTRAS.values() for module in packages.values()})
    told = json.dumps([refused, calls]).replace("REGISTRY", REGISTRY[-1])
    command = [sys.executable, "-c", WITHOUT.replace("CALL", body), told]
    env = os.environ | {"SPLITPLACE_CATALOGS": str(room / "PULLED" / "cache")}
    done = subprocess.run(command, cwd=room, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def answers(room):
    """What every command answers, one after another in one process."""
    calls = [[*name.split(), *arguments] for name, arguments in WORKS.items()]
    calls += [[*name.split(), *arguments] for name, (arguments, _) in NEEDS.items()]
    calls += [arguments for arguments, _ in MORE]
    return dict(zip(map(tuple, calls), without(room, COMMAND, calls), strict=True))


def test_every_command_is_tried():
    """One that is added is held to this too."""
    assert {name for name, _, _ in COMMANDS} == {*NEEDS, *WORKS, "fleet invite", "fleet join", "fleet revoke"}


@pytest.mark.parametrize("name", WORKS)
def test_the_base_install_is_enough(answers, name):
    """Exit 0: what a device does with a catalog, and the simulator."""
    code, _, err = answers[(*name.split(), *WORKS[name])]
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "extras"),
    [*(([*name.split(), *arguments], extras) for name, (arguments, extras) in NEEDS.items()), *MORE],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_is_missing_is_said_in_one_line(answers, arguments, extras):
    """Exit 2, nothing on stdout, no traceback, and what to install."""
    code, out, err = answers[tuple(arguments)]
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("splitplace: ")
    assert err.endswith(f", not installed here: pip install 'splitplace[{extras}]'\n")


def test_nothing_was_begun(room, answers):
    """Before it works: no folder, no file but those of the commands that worked."""
    assert {path.name for path in room.iterdir()} == {
        *(
            "SPLIT",
            "STATES",
            "CATALOG",
            "PULLED",
            "FLEET",
            "fleet.toml",
            "model.onnx",
            "a.png",
            "x.npy",
            "y.npy",
            "demand.json",
        ),
        "tokens.json",
    }


def test_a_front_door_is_asked_with_nothing_but_the_base(room):
    """A device that only asks needs no extra: the command comes as far as to a server, which is not there."""
    call = ["submit", "pixels", "--input", "x.npy", "--deadline", "1", "--url", "http://127.0.0.1:9"]
    ((code, _, err),) = without(room, COMMAND, [call])
    assert code == 1 and "http://127.0.0.1:9 does not answer" in err


def test_machines_join_with_nothing_but_the_base(room, answers):
    """A fleet that nobody has joined yet, an invitation, a token that is none, a machine that is put out."""
    fleet = ["--data", "FLEET/joined"]
    calls = [
        ["fleet", "start", "--devices", "fleet.toml", "--catalog", "CATALOG", "--policy", "full+random",
         "--engine", "joined", "--detach", *fleet],
        ["fleet", "invite", "d", *fleet],
        ["fleet", "join", "sp1-nonsense", "--data", "FLEET/machine"],
        ["fleet", "revoke", "d", *fleet],
        ["fleet", "stop", *fleet],
        ["fleet", "start", "--devices", "fleet.toml", "--catalog", "CATALOG", "--engine", "ray", *fleet],
    ]  # fmt: skip
    start, invite, join, revoke, stop, ray = without(room, COMMAND, calls)
    assert start[0] == invite[0] == revoke[0] == stop[0] == 0, (start, invite, revoke, stop)
    assert "0 of 1 machines are there" in start[1]
    assert invite[1].startswith("splitplace fleet join sp1-") and invite[1].count("\n") == 1
    assert (join[0], join[2].count("\n")) == (2, 1) and "no token" in join[2]
    assert ray[0] == 2 and ray[2].endswith("ray, not installed here: pip install 'splitplace[ray]'\n")


def test_functions_say_it_too(room, answers):
    """The public API raises MissingExtraError with the same words."""
    for call, (code, _, err) in zip(FUNCTIONS, without(room, FUNCTION, list(FUNCTIONS)), strict=True):
        last = err.splitlines()[-1]
        assert code == -1
        assert last.startswith("splitplace.errors.MissingExtraError: "), err
        assert last.endswith(f"pip install 'splitplace[{FUNCTIONS[call]}]'"), call
