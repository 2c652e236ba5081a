"""A fleet on a Ray cluster of real `ray start` processes: fragments from a registry, a broker that is on no node."""

import base64
import json
from contextlib import closing
from pathlib import Path

import pytest

from splitplace.distribution.docker_config import VARIABLES
from splitplace.placement.engines.ray import RayEngine
from tests.distribution.small_registry import SmallRegistry
from tests.placement.engines.conftest import two_nodes
from tests.placement.fleet.test_joined_fleet import fleet, until, until_loaded  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LOGIN = base64.b64encode(b"node:of-the-nodes-alone").decode()


class AskingRegistry(SmallRegistry):
    """Gives nothing to who is not logged in."""

    def answer(self, method, path, body, headers):
        """As a good registry, to the nodes."""
        if headers.get("Authorization") != f"Basic {LOGIN}":
            return 401, {"WWW-Authenticate": 'Basic realm="nets"'}, b""
        return super().answer(method, path, body, headers)


@pytest.fixture(scope="module")
def cluster():
    """A head and the nodes a and b, whose user keeps logins where the broker's does not."""
    with two_nodes(own_logins=True) as cluster:
        yield cluster


@pytest.fixture
def there(cluster, tmp_path, monkeypatch):
    """With its address and token; nobody is logged in anywhere."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, cluster.environment[name])
    return cluster


def test_nodes_pull_fragments_from_the_registry_themselves(fleet, there, images):  # noqa: F811
    """As whoever their user is logged in as; no word of it passes through Ray. What they have, they keep."""
    said = []

    class Noted(RayEngine):
        """What is said to Ray."""

        def _say(self, request):
            said.append(request.model_dump_json())
            super()._say(request)

    with closing(AskingRegistry()) as registry:
        logins = {"auths": {registry.host: {"auth": LOGIN}}}
        Path(there.environment["DOCKER_CONFIG"], "config.json").write_text(json.dumps(logins))
        with fleet.up(Noted, fleet.push_to(registry)) as broker:
            until(broker, a=True, b=True)
            until_loaded(fleet, broker, images(20), a="registry", b="registry")
            assert {headers.get("Authorization", "") for _, _, headers in registry.seen} == {"", f"Basic {LOGIN}"}
            there.kill("a")
            until(broker, a=False)
            there.start_node("a")
            until(broker, a=True)
            registry.close()
            until_loaded(fleet, broker, images(20), a="here")
    assert said and not [line for line in said if registry.host in line or LOGIN in line]


def test_a_broker_that_is_on_no_node_asks_rays_client_server(fleet, there, images, monkeypatch):  # noqa: F811
    """`RAY_ADDRESS=ray://HEAD:10001`: nodes are found, sent for, found again when they die, and their agents ended."""
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{there.client_port}")
    with fleet.up(RayEngine) as broker:
        until(broker, a=True, b=True)
        fleet.check(broker, images(20))
        there.kill("b")
        until(broker, b=False)
        there.start_node("b")
        until(broker, b=True)
        fleet.check(broker, images(20))
