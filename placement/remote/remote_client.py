"""A program's end of the front door: as `Client`, of a fleet on whatever machine, by its URL."""

import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from splitplace.errors import NotReadyError, SplitPlaceError, TooLargeError, UsageError, explained
from splitplace.placement.callbacks import Callbacks
from splitplace.placement.http.limits import Limits
from splitplace.placement.http.requests import ELAPSED
from splitplace.placement.outcome import TaskFuture
from splitplace.placement.remote import wire
from splitplace.placement.remote.address import read_address, read_token
from splitplace.placement.remote.exchange import NO_WAIT, HttpExchange, RemoteQuestion, closed
from splitplace.placement.serve.task_inputs import (
    Images,
    Labels,
    check_number,
    check_wish,
    images_of,
    labels_of,
    pick_split,
)
from splitplace.records.split import Split

LOOKING = 64
"""Tasks whose answers are waited for at once, each in a thread that waits for the server."""
LOOK_S, TURN_S = 4.0, 0.5
"""How long one question for an answer waits: where each task has its thread, and where they take turns. Shorter ones
use up the rate of the token that others submit with; a front door that closes waits no longer than the first."""
PATIENCE_S = 30.0
"""How long a server may be away before a task's answer is given up; or until the task's deadline, if that is later."""


class RemoteClient:
    """The front door of a fleet (`splitplace serve`), for any number of threads; a context manager.

    As `Client`, over HTTP: a request whose connection breaks is sent again, and runs once; one that is told to come
    again does so, both until its deadline. Who closes it takes its tasks back, but those with a `key` and those to
    `keep`; of a client that is killed they go on until their deadlines.

    Args:
        url: http://HOST:PORT, or https://HOST:PORT. No proxy is asked, and no redirection followed.
        token: Of `splitplace token add`; where none is given, what the environment variable SPLITPLACE_TOKEN holds.
        token_file: A file that holds it, in place of `token`; for its owner's eyes alone.
        ca: PEM file of who vouches for the server's certificate; none: whom this system trusts.

    Raises:
        UsageError: No such URL; a token would go out unencrypted; files that are not what they should be.
        NotReadyError: Nobody answers there.
        UnknownCallerError: The token is missing, unknown or revoked.
        ForbiddenError: The server's certificate is not trusted.
    """

    @explained()
    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        token_file: str | Path | None = None,
        ca: str | Path | None = None,
    ):
        token = read_token(token, token_file)
        self._exchange = HttpExchange(read_address(url, ca, token), token)
        self._looking = ThreadPoolExecutor(LOOKING, "remote-client")
        self._callbacks = Callbacks()
        self._locked = threading.Lock()
        self._futures: dict[TaskFuture, float] = {}
        """Whose results are to come, each with its task's deadline on the clock."""
        self._leaving = False
        self._unkept: set[str] = set()
        """Tasks that nobody else wants."""
        try:
            self._splits = wire.apps(self._exchange.ask(RemoteQuestion("GET", "/v2/splitplace/apps"), NO_WAIT))
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Of the front door."""
        return self._exchange.address.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave; a second time: nothing."""
        with self._locked:
            self._leaving = True
            futures, self._futures = tuple(self._futures), {}
            unkept, self._unkept = tuple(self._unkept), set()
        for future in futures:
            future.set_exception(closed())
        for ticket in unkept:
            try:
                self._take_back(ticket, NO_WAIT)
            except NotReadyError:  # nobody answers: their deadlines end them all, then
                break
            except SplitPlaceError:
                continue
        self._exchange.close()
        self._looking.shutdown()

    # What may be asked.

    @explained()
    def submit(
        self,
        application: str,
        images: Images,
        deadline_s: float,
        labels: Labels | None = None,
        *,
        key: str | None = None,
        keep: bool = False,
        late: bool = False,
        degrade: bool = False,
    ) -> TaskFuture:
        """Ask for the classes of some images.

        Args:
            application: One that the fleet serves.
            images: (n, ...), n > 0, of the dtype that the application's splits take; an .npy file of them; image files,
                or a folder of image files, which are taken in the order of their names, and read here.
            deadline_s: From now.
            labels: True classes, integers (n,), or an .npy file of them; without, p is the split's measured accuracy.
            key: Of your choice: the same request under the same key is the same task, and gets its result; another
                request under it is refused. It is kept.
            keep: Whether the task goes on when this client leaves; `answer` gets its result then.
            late: Whether an answer after the deadline is wanted.
            degrade: Whether an answer of the branches that can be had in time will do.

        Returns:
            A future that comes to a `TaskResult`, whose outcome may hold an error; `task_id` is the task's number, and
            `ticket` what it is asked for by. The task is taken for good when this returns.

        Raises:
            UsageError: Unknown application, no such file.
            OverloadedError: Too many tasks wait, or the token asks too often, until the deadline.
            ContractError: Images or labels that are not by contract, NaN or infinite ones among them.
            ConflictError: The key stands for another request.
            TooLargeError: More bytes than one request may have.
            NotReadyError: The fleet is draining, or nobody answers, until the deadline.
        """
        check_wish(deadline_s, key)
        begun_s = self._exchange.clock()
        split = pick_split(self._splits, application)
        found = images_of(images, lambda: split)
        wish = {"deadline_s": float(deadline_s), "late": late, "degrade": degrade}
        body = wire.submission(
            split, found, None if labels is None else labels_of(labels), key or secrets.token_hex(16), wish
        )
        if (size := sum(map(len, body))) > (most := Limits().body_bytes):
            raise TooLargeError(f"a task of {size} bytes, expected at most {most}: send its images as several tasks")
        hand_over = partial(self._hand_over, split.application, body, begun_s)
        kept = keep or key is not None
        try:
            ticket = hand_over(begun_s + deadline_s)
        except KeyboardInterrupt:
            # Whether it was taken is not known; asked for again, it is the same task.
            if not kept:
                with suppress(SplitPlaceError):
                    self._take_back(hand_over(NO_WAIT), NO_WAIT)
            raise
        future = TaskFuture(wire.number_of(ticket), key, ticket, self._callbacks)
        return self._expect(future, begun_s + deadline_s, kept)

    @explained()
    def answer(self, task_id: int | str) -> TaskFuture:
        """The result of a task that was submitted with this token: to come, or still kept.

        Args:
            task_id: Its ticket; where the front door takes no tokens, its number.

        Raises:
            NotFoundError: No such task, or its result is not kept any more.
            ForbiddenError: It is of another token.
            NotReadyError: Nobody answers.
        """
        ticket = _ticket(task_id)
        future = TaskFuture(wire.number_of(ticket), ticket=ticket, callbacks=self._callbacks)
        found = wire.result(self._exchange.ask(_question(ticket, 0.0), self._exchange.clock() + PATIENCE_S))
        if found is not None:
            future.set_result(found)
            return future
        return self._expect(future, NO_WAIT, kept=True)

    @explained()
    def cancel(self, task_id: int | str) -> bool:
        """Take back a task that was submitted with this token: it fails, and its devices are told.

        Args:
            task_id: Its ticket; where the front door takes no tokens, its number.

        Returns:
            Whether it was still under way.
        """
        return self._take_back(_ticket(task_id), self._exchange.clock() + PATIENCE_S)

    def applications(self) -> dict[str, Split]:
        """What may be submitted: by application, one of its splits, which says what it takes and answers."""
        return dict(self._splits)

    # What goes on meanwhile.

    def _hand_over(self, application: str, body: wire.Body, begun_s: float, until_s: float) -> str:
        """Have the fleet take a task; what it is asked for by."""

        def headers() -> Mapping[str, str]:
            elapsed_s = self._exchange.clock() - begun_s
            return {"inference-header-content-length": str(len(body[0])), ELAPSED: f"{elapsed_s:.4f}"}

        question = RemoteQuestion("POST", f"/v2/models/{application}/infer", body, headers)
        return wire.ticket(self._exchange.ask(question, until_s))

    def _take_back(self, ticket: str, until_s: float) -> bool:
        told = self._exchange.ask(RemoteQuestion("DELETE", f"/v2/splitplace/tasks/{ticket}"), until_s).json
        return isinstance(told, dict) and told.get("was_under_way") is True

    def _expect(self, future: TaskFuture, deadline_at_s: float, kept: bool) -> TaskFuture:
        future.set_running_or_notify_cancel()
        with self._locked:
            if not self._leaving:
                self._futures[future] = deadline_at_s
                if not kept:
                    self._unkept.add(future.ticket)
                self._looking.submit(self._look, future)
                return future
        if not kept:  # `close` did not see it
            with suppress(SplitPlaceError):
                self._take_back(future.ticket, NO_WAIT)
        raise closed()

    def _look(self, future: TaskFuture) -> None:
        """In a thread: ask for a task's answer; again later, if it is under way."""
        with self._locked:
            deadline_at_s = self._futures.get(future)
            turns = len(self._futures) > LOOKING
        if deadline_at_s is None:
            return  # the client was closed
        question = _question(future.ticket, TURN_S if turns else LOOK_S)
        found: Any = None
        try:
            until_s = max(self._exchange.clock() + PATIENCE_S, deadline_at_s)
            found = wire.result(self._exchange.ask(question, until_s))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            found = error
        if found is None:
            with suppress(RuntimeError):  # the client was closed
                self._looking.submit(self._look, future)
            return
        with self._locked:
            self._unkept.discard(future.ticket)
            if self._futures.pop(future, None) is None:
                return
        if isinstance(found, BaseException):
            future.set_exception(found)
        else:
            future.set_result(found)


def _question(ticket: str, wait_s: float) -> RemoteQuestion:
    """What became of a task, for which the server may wait."""
    return RemoteQuestion("GET", f"/v2/splitplace/tasks/{ticket}?binary=true&wait_s={wait_s:g}", wait_s=wait_s)


def _ticket(task_id: int | str) -> str:
    """As a task is asked for.

    Raises:
        UsageError: It is neither a number nor what a front door calls a task.
    """
    if not isinstance(task_id, str):
        return str(check_number(task_id))
    if wire.number_of(task_id) < 0:
        raise UsageError(f"task {task_id[:60]!r}: expected its number, or what the front door called it")
    return task_id
