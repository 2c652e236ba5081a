"""The chaos bench's clients: a stream of tasks, each asked for until it has ended, and what they saw of it, in files.

A client's history is its own: appended to, line by line, before it goes on, and told by nobody but the client.

    sent          a task is about to be handed in, under this key
    acknowledged  the fleet took it, under this number
    refused       it did not take it (a full disk); the client tries again
    ended         its result: the file of its output and that file's digest, or the fleet's reason
    again         the result of a task that had ended, asked for once more
    denied        the fleet does not know a task that it had acknowledged
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as NotYetError
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.benchmarks.chaos_splits import CLASSES, images, task_size
from splitplace.errors import IntegrityError, NotFoundError, NotReadyError, OverloadedError, SplitPlaceError
from splitplace.placement.outcome import TaskFuture, TaskResult
from splitplace.placement.serve.client import Client

MOST_IMAGES = 5000
PATIENT_S = 3600.0
SHORT_PART, SHORT_S = 0.1, (0.05, 2.0)
"""Of the tasks, those that are not wanted after their deadline, and how long that is."""
PAUSE_S = 0.2
AGAIN = 200
"""Results a client asks for once more, at the end."""


class StreamClient(threading.Thread):
    """Hands in one task after another, and stays with each until it has ended.

    Args:
        number: Its own.
        seed: Of its tasks.
        applications: That it asks for.
        data: The fleet's data folder.
        folder: For its history and the outputs.
    """

    def __init__(self, number: int, seed: int, applications: Sequence[str], data: Path, folder: Path):
        super().__init__(name=f"client {number}", daemon=True)
        self.number, self.seed, self.data, self.folder = number, seed, data, folder
        self.applications = applications
        self.enough = threading.Event()
        """Set when it should hand in no more."""
        self.until_s = float("inf")
        """When it gives up, on the monotonic clock."""
        self.failure: BaseException | None = None
        self._rng = np.random.default_rng([seed, number])
        self._client: Client | None = None
        self._ended: list[tuple[str, int]] = []
        self._history = (folder / f"client-{number}.jsonl").open("a", encoding="utf-8")

    def run(self) -> None:
        """Until enough; then ask once more."""
        try:
            while not self.enough.is_set():
                self._task(f"{self.number}-{len(self._ended)}", len(self._ended))
            self._ask_again()
        except BaseException as error:  # noqa: BLE001 - raised by who waits for this thread
            self.failure = error
        finally:
            self._history.close()
            if self._client is not None:
                self._client.close()

    def _note(self, what: str, key: str, **facts: Any) -> None:
        self._history.write(json.dumps({"what": what, "key": key, "at": time.time(), **facts}) + "\n")
        self._history.flush()

    def _asked(self, ask: Callable[[Client], Any]) -> Any:
        """What the fleet says, whichever broker it has; None when time is up."""
        while time.monotonic() < self.until_s:
            try:
                if self._client is None:
                    self._client = Client(self.data)
                return ask(self._client)
            except NotReadyError:
                if self._client is not None:
                    self._client.close()
                    self._client = None
                time.sleep(PAUSE_S)
        return None

    def _task(self, key: str, row: int) -> None:
        n = task_size(self._rng, MOST_IMAGES)
        application = str(self._rng.choice(self.applications))
        short = self._rng.random() < SHORT_PART
        deadline_s = float(self._rng.uniform(*SHORT_S)) if short else PATIENT_S
        seed = [self.seed, self.number, row]
        x, labels = images(seed, n), np.arange(n) % CLASSES
        self._note("sent", key, application=application, n=n, seed=seed, short=short)

        def hand_in(client: Client) -> TaskFuture | None:
            try:
                return client.submit(application, x, deadline_s, labels, key=key, late=not short)
            except OverloadedError as error:
                self._note("refused", key, error=str(error))
                time.sleep(PAUSE_S)
                return None

        task: int | None = None
        while time.monotonic() < self.until_s:
            try:
                ask: Callable[[Client], TaskFuture | None] = hand_in
                if task is not None and self._rng.random() < 0.5:
                    ask = partial(Client.answer, task_id=task)
                future = self._asked(ask)
                if future is None:
                    continue
                if task is None or future.task_id != task:
                    task = future.task_id
                    self._note("acknowledged", key, task=task)
                result = self._wait(future)
            except NotReadyError:  # the broker has ended: the next one is asked
                continue
            except (NotFoundError, IntegrityError) as error:
                self._note("denied", key, task=task, error=str(error))
                break
            if result is not None:
                self._keep("ended", key, result, f"{key}.npy")
                break
        self._ended.append((key, -1 if task is None else task))

    def _wait(self, future: TaskFuture) -> TaskResult | None:
        while time.monotonic() < self.until_s:
            try:
                return future.result(1.0)
            except NotYetError:
                continue
        return None

    def _keep(self, what: str, key: str, result: TaskResult, name: str) -> None:
        outcome, output, digest = result.outcome, None, None
        if result.logits is not None:
            output = name
            with (self.folder / name).open("wb") as file:
                np.save(file, result.logits, allow_pickle=False)
            digest = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        self._note(what, key, task=outcome.id, output=output, digest=digest, error=outcome.error)

    def _ask_again(self) -> None:
        for key, task in self._ended[-AGAIN:]:
            if task < 0:
                continue
            result, denied = None, ""
            while result is None and not denied and time.monotonic() < self.until_s:
                try:
                    future = self._asked(partial(Client.answer, task_id=task))
                    result = None if future is None else self._wait(future)
                except NotReadyError:
                    continue
                except SplitPlaceError as error:
                    denied = str(error)
            if denied:
                self._note("denied", key, task=task, error=denied)
            elif result is not None:
                self._keep("again", key, result, f"{key}-again.npy")
