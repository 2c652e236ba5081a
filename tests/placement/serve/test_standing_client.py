"""A client whose fleet ends and is started anew."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from splitplace.errors import NotReadyError
from splitplace.placement.serve import standing_client
from splitplace.placement.serve.client import Client
from splitplace.placement.serve.door import Door
from splitplace.placement.serve.standing_client import StandingClient

PATIENCE_S = 240.0


def test_it_dials_again(broker, folder, pixels, images):
    """While there is no fleet it says so, also to what was under way; the next fleet is asked as the first was."""
    with folder.claimed():
        with Door(broker, [pixels], folder, lambda: None):
            client = StandingClient(folder.path)
            assert list(client.applications()) == ["pixels"] and client.status().policy == "p"
            assert client.history().events == ()
            task = client.submit("pixels", images(2), 1000.0, key="a", late=True)
        with pytest.raises(NotReadyError, match="has ended"):
            task.result(PATIENCE_S)
        for call in (client.status, lambda: client.submit("pixels", images(1), 1000.0), lambda: client.answer(0)):
            with pytest.raises(NotReadyError):
                call()
        with Door(broker, [pixels], folder, lambda: None):
            again = client.submit("pixels", images(2), 1000.0, key="a")
            assert again.task_id == task.task_id
            broker.finish(again.task_id)
            assert len(again.result(PATIENCE_S).logits) == 2 and client.cancel(again.task_id) is False
            assert client.answer(again.task_id).result(PATIENCE_S).outcome.error is None
            client.close()
            with pytest.raises(NotReadyError, match="closed"):
                client.status()


def test_it_begins_with_a_fleet(folder):
    """A folder that no fleet runs in is a mistake, told at once."""
    with pytest.raises(NotReadyError, match="no fleet runs in"):
        StandingClient(folder.path)


def test_who_dials_holds_up_nobody_who_leaves(broker, folder, pixels, monkeypatch):
    """One thread waits for the next fleet's word, however many ask; the client closes meanwhile, and so does theirs."""
    with folder.claimed():
        with Door(broker, [pixels], folder, lambda: None):
            client = StandingClient(folder.path)
        while not client._client.ended:
            time.sleep(0.01)
        dials, may = [], threading.Event()

        def slowly(data):
            dials.append(threading.current_thread().name)
            assert may.wait(PATIENCE_S)
            return Client(data)

        monkeypatch.setattr(standing_client, "Client", slowly)
        with Door(broker, [pixels], folder, lambda: None), ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(client.status) for _ in range(3)]
            while not dials:
                time.sleep(0.01)
            client.close()
            may.set()
            for asked in asking:
                with pytest.raises(NotReadyError, match="was closed"):
                    asked.result(PATIENCE_S)
    assert len(dials) == 1
