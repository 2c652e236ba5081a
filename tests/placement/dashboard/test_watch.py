"""Following a fleet for those who watch: it is asked once for all of them, and who is slow is told less often."""

import asyncio
import json
from contextlib import aclosing

import pytest

from splitplace.errors import NotFoundError, NotReadyError, OverloadedError
from splitplace.placement.dashboard import watch as watch_module
from splitplace.placement.dashboard.watch import FleetWatch

PATIENCE_S = 240.0


class Asked:
    """Runs work in place of a thread, and counts how often the fleet was asked."""

    def __init__(self, broker):
        self.broker, self.count = broker, 0
        self.failure = None

    async def __call__(self, work):
        """Await work."""
        await asyncio.sleep(0)
        return work()

    def status(self):
        """Counted."""
        self.count += 1
        if self.failure:
            raise self.failure
        return self.broker.status()

    def history(self, after=0):
        """The fake broker's."""
        return self.broker.history(after)


@pytest.fixture
def asked(broker):
    """A fleet that counts."""
    return Asked(broker)


@pytest.fixture
def watch(asked):
    """Of that fleet; a tick is a moment."""
    return FleetWatch(asked, asked, watchers=3, of_one=2, fleet_s=PATIENCE_S, tick_s=0.001)


def parsed(message):
    """Kind and document of a server-sent event."""
    kind, data = message.decode().strip().split("\n")
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def run(coroutine):
    """In a loop of its own, within bounds."""
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


async def first(messages):
    """The first that tells something."""
    assert (await anext(messages)).startswith(b"retry: ")
    return parsed(await anext(messages))


def test_who_watches_is_told_all_and_then_what_changes(watch, broker, told):
    """From version 0, then from where the last message ended."""

    async def scenario():
        for event in told(0).whole():
            broker.book.append(event)
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            kind, everything = await first(messages)
            assert kind == "state" and [task["id"] for task in everything["left"]] == [0]
            for event in told(1).whole():
                broker.book.append(event)
            seen, version = [], everything["version"]
            while not seen:
                kind, more = parsed(await anext(messages))
                assert kind == "state" and more["since"] == version
                version = more["version"]
                seen += [task["id"] for task in more["left"]]
            assert seen == [1]

    run(scenario())


def test_a_slow_watcher_is_told_at_once_what_he_missed(watch, asked, broker, told):
    """Meanwhile others are told as ever; nothing is kept for him but where he is."""

    async def scenario():
        slow, fast = watch.messages(lambda: True, ""), watch.messages(lambda: True, "")
        async with aclosing(slow), aclosing(fast):
            _, before = await first(slow)
            await first(fast)
            told_to_fast = 0
            for number in range(50):
                for event in told(number).whole():
                    broker.book.append(event)
                while True:
                    _, more = parsed(await anext(fast))
                    told_to_fast += 1
                    if [task["id"] for task in more["left"]] == [number]:
                        break
            assert told_to_fast >= 50
            _, more = parsed(await anext(slow))
            assert more["since"] == before["version"] and [task["id"] for task in more["left"]] == list(range(50))

    run(scenario())


def test_the_fleet_is_asked_once_a_tick_however_many_watch(watch, asked):
    """One asks for all."""

    async def scenario():
        watchers = [watch.messages(lambda: True, "") for _ in range(3)]
        for messages in watchers:
            await first(messages)
        for _ in range(20):
            for messages in watchers:
                await anext(messages)
        assert watch.watchers == 3 and asked.count - watch._ticks in (0, 1)
        for messages in watchers:
            await messages.aclose()
        assert watch.watchers == 0

    run(scenario())


def test_a_message_is_made_once_for_all_who_were_told_the_same(watch):
    """And anew when the fleet was asked again."""
    watch._ask()
    first_, again = watch._message(0), watch._message(0)
    assert first_[1] is again[1]
    watch._ask()
    assert watch._message(0)[1] is not first_[1]


def test_there_is_room_for_so_many(watch):
    """One more is told to come again, and who leaves makes room."""

    async def scenario():
        watchers = [watch.messages(lambda: True, "") for _ in range(3)]
        for messages in watchers:
            await first(messages)
        with pytest.raises(OverloadedError, match="3 pages are told of this fleet already"):
            watch.check_room("")
        assert [message async for message in watch.messages(lambda: True, "")] == []  # its answer has begun by now
        await watchers[0].aclose()
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            await first(messages)
        for messages in watchers[1:]:
            await messages.aclose()

    run(scenario())


def test_one_token_takes_not_all_the_room(watch):
    """Its pages are told up to a number of its own; of the room that is left, another token has its share."""

    async def scenario():
        anns = [watch.messages(lambda: True, "ann") for _ in range(2)]
        for messages in anns:
            await first(messages)
        with pytest.raises(OverloadedError, match="2 pages of the token ann are told of this fleet already: close one"):
            watch.check_room("ann")
        assert [message async for message in watch.messages(lambda: True, "ann")] == []
        async with aclosing(watch.messages(lambda: True, "bob")) as messages:
            await first(messages)
            with pytest.raises(OverloadedError, match="3 pages are told"):
                watch.check_room("bob")
        await anns[0].aclose()
        watch.check_room("ann")
        await anns[1].aclose()
        assert watch.watchers == 0 and not watch._watching  # nothing is kept of who has left

    run(scenario())


def test_a_fleet_that_nobody_watches_is_not_asked(watch, asked, monkeypatch):
    """A while after the last has left; it is followed again when somebody comes."""
    monkeypatch.setattr(watch_module, "LINGER_S", 0.005)

    async def scenario():
        assert asked.count == 0
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            await first(messages)
        await watch._following
        before = asked.count
        await asyncio.sleep(0.02)
        assert asked.count == before
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            kind, _ = await first(messages)
            assert kind == "state" and asked.count > before

    run(scenario())


def test_a_fleet_that_ends_is_said_and_found_again(watch, asked):
    """With the reason, on one line; watchers stay."""

    async def scenario():
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            _, before = await first(messages)
            asked.failure = NotReadyError("no fleet\nruns there")
            while (found := parsed(await anext(messages)))[0] != "gone":
                pass
            assert found[1] == {"reason": "no fleet runs there"}
            asked.failure = None
            while (found := parsed(await anext(messages)))[0] != "state":
                pass
            assert found[1]["since"] >= before["version"]

    run(scenario())


def test_a_fleet_that_says_nothing_is_said_in_time_and_asked_once_until_it_speaks(watch, asked, broker):
    """As when its process is stopped: one thread waits for it, and who watches is told, again and again."""
    watch._fleet_s = watch._word._patience_s = 0.01
    silent = asyncio.Event()

    async def asking(work):
        if work == watch._ask and not silent.is_set():
            asked.count += 1
            await silent.wait()
        return work()

    watch._asking = asking
    watch._word._ask = lambda: asking(watch._ask)

    async def scenario():
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            for _ in range(3):
                kind, told = await first(messages) if not asked.count else parsed(await anext(messages))
                assert kind == "gone" and "did not answer within 0.01 s" in told["reason"] and asked.count == 1
            silent.set()
            while parsed(await anext(messages))[0] != "state":
                pass

    run(scenario())


def test_who_watches_is_told_where_every_thread_waits_for_a_silent_fleet(watch):
    """Also where no message can be made: other questions have all threads."""

    async def scenario():
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            await first(messages)
            watch._fleet_s, asking = 0.01, watch._asking

            async def busy(work):
                return await (asking(work) if work == watch._ask else asyncio.Event().wait())

            watch._asking = busy
            kind, told = parsed(await anext(messages))
            assert kind == "gone" and "did not answer within 0.01 s" in told["reason"]

    run(scenario())


def test_a_failure_of_ours_does_not_leave_watchers_without_a_word(watch, asked, caplog):
    """It is in the log, and the page says so."""

    async def scenario():
        asked.failure = RuntimeError("a mistake")
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            assert await first(messages) == ("gone", {"reason": "the front door failed: its log has why"})

    run(scenario())
    assert "a mistake" in caplog.text


def test_an_event_that_cannot_be_taken_does_not_end_the_following(watch, monkeypatch, caplog):
    """Watchers are told that something failed, and go on with what comes next."""
    take, pages = watch._board.take, []

    def fails_once(page):
        pages.append(page)
        if len(pages) == 1:
            raise AssertionError("no such event")
        take(page)

    monkeypatch.setattr(watch._board, "take", fails_once)

    async def scenario():
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            assert (await first(messages))[0] == "gone"
            while parsed(await anext(messages))[0] != "state":
                pass

    run(scenario())
    assert "no such event" in caplog.text


def test_who_may_watch_no_more_is_told_nothing_more(watch):
    """From the next message on."""

    async def scenario():
        may = [True]
        async with aclosing(watch.messages(lambda: may[0], "")) as messages:
            await first(messages)
            may[0] = False
            with pytest.raises(StopAsyncIteration):
                await anext(messages)

    run(scenario())


def test_closing_ends_every_watch(watch):
    """Also of one who waits for news."""

    async def scenario():
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            await first(messages)
            watch._tick_s = 1_000.0
            with pytest.raises(StopAsyncIteration):
                waiting = asyncio.ensure_future(_until_the_end(messages))
                await asyncio.sleep(0.01)
                watch.close()
                await waiting

    async def _until_the_end(messages):
        while True:
            await anext(messages)

    run(scenario())


def test_a_task_that_is_not_known(watch, broker, told):
    """Is said so; one that is known is told."""

    async def scenario():
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            for event in told(3).whole():
                broker.book.append(event)
            await first(messages)
            assert json.loads(await watch.task(3))["id"] == 3
            with pytest.raises(NotFoundError, match="task 4: not one of the last"):
                await watch.task(4)

    run(scenario())


def test_a_long_history_is_read_page_by_page_and_another_run_from_its_beginning(watch, asked, broker, told):
    """More events than a page has; then a broker that counts from 0 again."""
    from splitplace.placement.broker.history import History

    async def scenario():
        for number in range(300):
            for event in told(number).whole():
                broker.book.append(event)
        async with aclosing(watch.messages(lambda: True, "")) as messages:
            _, everything = await first(messages)
            assert len(everything["left"]) == 200 and everything["missed_events"] == 0
            broker.book = History()
            for event in told(1_000).whole():
                broker.book.append(event)
            while not (more := parsed(await anext(messages))[1])["left"]:
                pass
            assert [task["id"] for task in more["left"]] == [1_000]

    run(scenario())
