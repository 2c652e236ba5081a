"""The unit files and the manifest on the pages: parsed, and what they call is what there is."""

import configparser
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from splitplace.cli import build
from splitplace.errors import CAUSES
from splitplace.placement.engines.ray import LABEL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ray_options() -> set[str]:
    """Of `ray start`, by its source: its help leaves `--labels` out."""
    found = find_spec("ray")
    assert found is not None and found.origin is not None
    source = (Path(found.origin).parent / "scripts" / "scripts.py").read_text()
    start = source[: source.index("\ndef start(")].rpartition("@cli.command(")[2]
    return set(re.findall(r'"(--[a-z-]+)"', start))


def block(page: str, title: str) -> str:
    """What a page shows under a title."""
    text = (ROOT / "docs/howto" / page).read_text()
    (found,) = re.findall(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    return found


def unit(page: str, title: str) -> configparser.ConfigParser:
    """A unit of systemd's: each key once, as these have it."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read_string(block(page, title))
    return parser


@pytest.mark.parametrize(
    ("page", "title"), [("machines.md", "splitplace-device.service"), ("ray.md", "splitplace-node.service")]
)
def test_a_unit_starts_again_what_ends_as_a_user_of_its_own(page, title):
    """Not as root, in a folder that is its own, and in place once the network is."""
    parsed = unit(page, title)
    assert set(parsed) - {"DEFAULT"} == {"Unit", "Service", "Install"}
    service = parsed["Service"]
    assert service["User"] == service["StateDirectory"] == "splitplace" and service["StateDirectoryMode"] == "0700"
    assert service["Restart"] in ("always", "on-failure") and float(service["RestartSec"]) > 0
    assert parsed["Unit"]["After"] == "network-online.target"
    assert parsed["Install"]["WantedBy"] == "multi-user.target"


OF_UNIT = re.compile(r"Description|Documentation|Wants|Requires|After|Before|Condition\\w+|StartLimit\\w+|OnFailure")
"""What systemd reads in [Unit] alone: elsewhere it says so in its log, and does without."""


@pytest.mark.parametrize(
    ("page", "title"), [("machines.md", "splitplace-device.service"), ("ray.md", "splitplace-node.service")]
)
def test_each_key_of_a_unit_stands_where_systemd_reads_it(page, title):
    """What is of the unit there, what is of the service nowhere else."""
    parsed = unit(page, title)
    assert all(OF_UNIT.fullmatch(key) for key in parsed["Unit"])
    assert not [key for section in ("Service", "Install") for key in parsed[section] if OF_UNIT.fullmatch(key)]
    assert set(parsed["Install"]) <= {"WantedBy", "RequiredBy", "Alias", "Also"}


def test_what_is_refused_for_good_is_not_started_again():
    """A device that was revoked, and a machine that has joined no fleet; what failed is."""
    codes = set(unit("machines.md", "splitplace-device.service")["Service"]["RestartPreventExitStatus"].split())
    assert codes == {str(CAUSES[cause].exit_code) for cause in ("forbidden", "usage")}
    assert str(CAUSES["not-ready"].exit_code) not in codes


def test_the_device_unit_calls_a_command_that_there_is():
    """With options that it takes, no token among them: that is said once, by hand."""
    program, *words = shlex.split(unit("machines.md", "splitplace-device.service")["Service"]["ExecStart"])
    assert program.endswith("/bin/splitplace") and words[:2] == ["fleet", "join"]
    _, bound, _ = build().parse_args(words, print_error=False, exit_on_error=False)
    assert bound.arguments == {"data": Path("/var/lib/splitplace")}


def test_the_node_unit_starts_a_node_that_is_a_device(ray_options):
    """By options that Ray has, with sizes, with a token, without its telemetry."""
    service = unit("ray.md", "splitplace-node.service")["Service"]
    program, start, *options = shlex.split(service["ExecStart"])
    given = dict(option.partition("=")[::2] for option in options)
    assert program.endswith("/bin/ray") and start == "start" and set(given) <= ray_options
    assert {"--memory", "--object-store-memory", "--num-cpus", "--disable-usage-stats", "--block"} <= set(given)
    assert given["--labels"].startswith(f"{LABEL}=")
    environment = dict(word.split("=") for word in service["Environment"].split())
    assert environment["RAY_AUTH_MODE"] == "token" and environment["RAY_USAGE_STATS_ENABLED"] == "0"


def test_the_manifest_is_of_a_cluster_whose_workers_are_devices(ray_options):
    """KubeRay's form, by its API's required fields; parameters that `ray start` has; this suite's Ray; a token."""
    parsed = yaml.safe_load(block("ray.md", "raycluster.yaml"))
    assert (parsed["apiVersion"], parsed["kind"]) == ("ray.io/v1", "RayCluster") and parsed["metadata"]["name"]
    spec = parsed["spec"]
    assert f"ray=={spec['rayVersion']}" in (ROOT / "constraints.txt").read_text().split()
    (worker,) = spec["workerGroupSpecs"]
    assert worker["minReplicas"] == worker["maxReplicas"] == worker["replicas"] == 1
    assert worker["labels"] == {LABEL: worker["groupName"]}
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", worker["groupName"])
    for group in (spec["headGroupSpec"], worker):
        parameters = group["rayStartParams"]
        assert "labels" not in parameters  # since 1.5 KubeRay refuses the whole cluster for it
        assert {f"--{name}" for name in parameters} <= ray_options
        assert all(isinstance(value, str) for value in parameters.values())  # KubeRay takes no numbers
        (container,) = group["template"]["spec"]["containers"]
        environment = {entry["name"]: entry for entry in container["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "ray-token", "key": "token"}
        assert container["image"] and container["resources"]["limits"]["memory"]
