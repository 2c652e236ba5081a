"""What may be asked over gRPC, call by call: each answers a message or raises one of our errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from splitplace.errors import SplitPlaceError, UsageError
from splitplace.placement.grpc import translate
from splitplace.placement.grpc.protocol import Message, message
from splitplace.placement.http import models, routes
from splitplace.placement.http.asking import parameters
from splitplace.placement.http.desk import TaskOrder, key_of, patience_s
from splitplace.placement.http.refusals import one_line
from splitplace.placement.http.service import HttpService, Ongoing

AT_ONCE = 64
"""Requests of one stream that are under way; the next is read when one has ended."""


@dataclass(kw_only=True)
class CallUnderWay(Ongoing):
    """One call, or one request of a stream."""

    left_s: float | None
    """What the client's own deadline leaves of it; none stated."""
    raw: tuple[memoryview, ...] = ()
    """The raw tensors of a request, wherever they lie."""


class GrpcCalls:
    """One front door's calls; named as the service has them.

    Args:
        front: What the HTTP routes use as well: tasks, ids and counts are of both.
    """

    def __init__(self, front: HttpService):
        self.front = front

    async def ServerLive(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """There is a server."""
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """And its fleet takes tasks."""
        return message("ServerReadyResponse")(ready=await self._is_ready())

    async def ModelReady(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """Whether a model may be asked now."""
        split = models.pick(await self.front.splits(), asked.name, asked.version)
        ready = split.application not in self.front.unloaded and await self._is_ready()
        return message("ModelReadyResponse")(ready=ready)

    async def ServerMetadata(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """What this is."""
        told = {"name": "splitplace", "version": self.front.version, "extensions": models.EXTENSIONS}
        return message("ServerMetadataResponse")(**told)

    async def ModelMetadata(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """What a model takes and answers."""
        split = models.pick(await self.front.splits(), asked.name, asked.version)
        return message("ModelMetadataResponse")(**models.metadata(models.served(split)))

    async def ModelConfig(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """As Triton's configurations say it."""
        split = models.pick(await self.front.splits(), asked.name, asked.version)
        return message("ModelConfigResponse")(config=translate.configuration(split))

    async def ModelStatistics(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """Of one model, or of all."""
        splits = await self.front.splits()
        names = [models.pick(splits, asked.name, asked.version).application] if asked.name else sorted(splits)
        told = [self.front.statistics_of(name).document() for name in names]
        for one in told:  # what nobody here counts
            del one["response_stats"], one["batch_stats"], one["memory_usage"]
        return message("ModelStatisticsResponse")(model_stats=told)

    async def RepositoryIndex(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """Every model, and whether it is served here."""
        return message("RepositoryIndexResponse")(models=await self.front.index(asked.ready))

    async def RepositoryModelLoad(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """Serve a model that was unloaded."""
        self.front.load(models.pick(await self.front.splits(), asked.model_name), asked.parameters)
        return message("RepositoryModelLoadResponse")()

    async def RepositoryModelUnload(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """Take no more requests for a model at this front door."""
        self.front.unloaded.add(models.pick(await self.front.splits(), asked.model_name).application)
        return message("RepositoryModelUnloadResponse")()

    async def refused(self, asked: Message, call: CallUnderWay) -> Message:
        """Shared memory and settings."""
        raise UsageError(routes.SHARED_MEMORY if "SharedMemory" in call.visited.route else routes.SETTINGS)

    async def ModelInfer(self, asked: Message, call: CallUnderWay) -> Message:  # noqa: N802
        """Tensors in, logits out; who leaves, cancels or lets a deadline of its own pass takes the task back."""
        front = self.front
        split = models.pick(await front.splits(), asked.model_name, asked.model_version)
        with front.noting(call, split.application) as note:
            size = call.visited.bytes_in
            reading = partial(translate.question, asked, call.raw, size, split, front.limits)
            question = await front.decoding(size - sum(map(len, call.raw)), size, reading)
            said = partial(translate.all_of, asked, call.raw)
            named = await front.named(call.caller, split.application, question.id, size, said)
            wish, key = question.wish, key_of(named, question.wish)
            left_s = front.left_s(call, wish.deadline_s, call.left_s)
            (images,) = question.inputs.values()
            order = TaskOrder(split.application, images, question.labels, wish, left_s, key, named)
            future = await front.hand_over(call, order)
            question = question.without_tensors()
            call.raw = ()
            del order, images, asked, reading, said
            if wish.detach:
                note.detached = True
                front.desk.leave(future)
                return translate.answer(question.id, {"task": call.caller.ticket(future.task_id)}, None, (), split)
            never = asyncio.get_running_loop().create_future()  # who leaves is told by a cancellation
            wait_s = patience_s(wish, front.left_s(call, wish.deadline_s, call.left_s))
            result = await front.desk.result(future, never, key is not None, wait_s)
            note.outcome = result.outcome
        assert result.logits is not None
        told = parameters(call.caller, result.outcome, split)
        return await front.computing(
            result.logits.nbytes,
            partial(translate.answer, question.id, told, result.logits, question.outputs, split),
        )

    async def one_of_a_stream(self, asked: Message, call: CallUnderWay) -> Message:
        """An answer, or why there is none: a stream goes on."""
        try:
            response = message("ModelStreamInferResponse")(infer_response=await self.ModelInfer(asked, call))
        except SplitPlaceError as error:
            return self.failed_in_stream(asked, call, error)
        call.visited.status, call.visited.bytes_out = 200, response.ByteSize()
        return response

    def failed_in_stream(self, asked: Message, call: CallUnderWay, error: SplitPlaceError) -> Message:
        """Why one request of a stream has no answer, and which it was."""
        said = one_line(str(error))
        call.visited.status, call.visited.error = error.http_status, said
        which = message("ModelInferResponse")(id=asked.id, model_name=asked.model_name)
        return message("ModelStreamInferResponse")(error_message=said, infer_response=which)

    async def _is_ready(self) -> bool:
        with suppress(SplitPlaceError):
            await self.front.check_ready()
            return True
        return False


async def as_they_end(answering: AsyncIterator[asyncio.Task[Message]]) -> AsyncIterator[Message]:
    """The answers of a stream, each as soon as it is there; its requests are cancelled when nobody waits any more.

    No more than `AT_ONCE` are under way or wait to be sent: a client that does not read is not read from.
    """
    answers: asyncio.Queue[asyncio.Task[Message] | None] = asyncio.Queue()
    room, under_way = asyncio.Semaphore(AT_ONCE), set[asyncio.Task[Message]]()

    async def read() -> None:
        try:
            await room.acquire()
            async for task in answering:
                under_way.add(task)
                task.add_done_callback(answers.put_nowait)
                await room.acquire()
            while under_way and not all(task.done() for task in under_way):
                await asyncio.wait(under_way)
        finally:
            await asyncio.sleep(0)  # the last one's callback
            answers.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        while (task := await answers.get()) is not None:
            yield task.result()
            under_way.discard(task)
            room.release()
        reading.result()
    finally:
        reading.cancel()
        for task in under_way:
            task.cancel()
