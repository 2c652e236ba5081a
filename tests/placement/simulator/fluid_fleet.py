"""An independent simulator to hold the engine against: no heaps and no virtual time, all rates anew at every event.

Of the rules that it covers (one micro-batch at a time on all cores or a fragment a core, equal shares of them and of
both ends of a transfer, the broker's card each way, inputs by broadcast or in a ring, raw or encoded, strict or by
micro-batch) it shares no line with the engine. Everything has its
device from its arrival on, memory is never short, nothing fails.
"""

import math
from dataclasses import dataclass, field

BROKER = -1
NEAR = 1e-9


@dataclass
class Piece:
    """A fragment: seconds of a micro-batch on a core of speed 1, images of one, seconds to load.

    Where all cores of a host work together, they share those seconds, and nobody helps with the serial ones besides.
    """

    batch_s: float
    micro_batch: int
    load_s: float = 0.0
    serial_s: float = 0.0


@dataclass
class Shape:
    """A split: its pieces, and edges (from, to, bytes an image); the broker is -1 at either end."""

    pieces: list[Piece]
    edges: list[tuple[int, int, float]]


@dataclass
class Host:
    """A device."""

    cores: int
    speed: float
    up: float
    down: float
    rtt_s: float


@dataclass
class Stream:
    """An edge of a task: chunks that left, chunks that came; bytes still to go of the one under way."""

    src: int
    dst: int
    size: float
    sent: int = 0
    came: int = 0
    left: float | None = None
    ends: tuple[int, int] = (0, 0)


@dataclass
class Job:
    """A task on its devices; of each piece, chunks done and core-seconds left of the one that runs."""

    at_s: float
    n: int
    chunk: int
    shape: Shape
    where: list[int]
    streams: list[Stream]
    done: list[int] = field(default_factory=list)
    left: list[float | None] = field(default_factory=list)
    ended_s: float | None = None

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.n // self.chunk)

    def images(self, k: int) -> int:
        """In chunk k."""
        return min(self.chunk, self.n - k * self.chunk)


@dataclass
class FluidFleet:
    """Hosts around a broker with a card."""

    hosts: list[Host]
    card: float = math.inf
    ring: bool = False
    grain: int | None = None
    """Micro-batches handed on together; none for whole tasks."""
    together: bool = False
    """All cores of a host work on one micro-batch, and its fragments take turns; else each has a core of its own."""

    def answers(self, tasks: list[tuple[float, Shape, int, list[int]]], end_s: float) -> list[float | None]:
        """When each task (arrival, split, images, host of each piece) is answered; None if not by the end."""
        jobs = []
        for at_s, shape, n, where in tasks:
            streams = [Stream(*edge) for edge in shape.edges]
            chunk = n if self.grain is None else min(self.grain * shape.pieces[0].micro_batch, n)
            count = len(shape.pieces)
            jobs.append(Job(at_s, n, chunk, shape, where, streams, [0] * count, [None] * count))
        now, coming = 0.0, list[tuple[float, Job, Stream]]()
        while now < end_s:
            self._begin(jobs, now)
            running = [(job, p) for job in jobs for p, left in enumerate(job.left) if left is not None]
            moving = [(job, stream) for job in jobs for stream in job.streams if stream.left is not None]
            pace, rate = self._paces(running), self._rates([stream for _, stream in moving])
            times = [job.at_s for job in jobs] + [at_s for at_s, *_ in coming]
            times += [job.at_s + self._load_s(job, p) for job in jobs for p in range(len(job.where))]
            times += [now + job.left[p] / speed for (job, p), speed in zip(running, pace, strict=True)]
            times += [now + stream.left / speed for (_, stream), speed in zip(moving, rate, strict=True) if speed]
            then = min([end_s, *(at_s for at_s in times if at_s > now + NEAR * max(now, 1.0) * 1e-3)])
            for (job, p), speed in zip(running, pace, strict=True):
                job.left[p] -= speed * (then - now)
            for (_, stream), speed in zip(moving, rate, strict=True):
                stream.left -= speed * (then - now)
            now = then
            for job, p in running:
                if job.left[p] <= NEAR * max(now, 1.0):
                    job.left[p], job.done[p] = None, job.done[p] + 1
            for (job, stream), speed in zip(moving, rate, strict=True):
                if stream.left <= NEAR * max(now, 1.0) * max(speed, 1.0):
                    stream.left, stream.sent = None, stream.sent + 1
                    coming.append((now + sum(self._rtt_s(end) for end in stream.ends) / 2, job, stream))
            for delivery in [each for each in coming if each[0] <= now + NEAR * max(now, 1.0) * 1e-3]:
                coming.remove(delivery)
                delivery[2].came += 1
            for job in jobs:
                back = [stream for stream in job.streams if stream.dst == BROKER]
                if job.ended_s is None and all(stream.came == job.chunks for stream in back):
                    job.ended_s = now
        return [job.ended_s for job in jobs]

    def _begin(self, jobs: list[Job], now: float) -> None:
        """Whatever can start at this instant does; what stays on a host is there at once."""
        going = True
        while going:
            going = False
            for job in jobs:
                if now < job.at_s - NEAR:
                    continue
                for stream in job.streams:
                    source = self._source(job, stream)
                    if stream.left is not None or stream.sent == job.chunks or source is None:
                        continue
                    target = BROKER if stream.dst == BROKER else job.where[stream.dst]
                    if source == target:
                        stream.sent, stream.came, going = stream.sent + 1, stream.came + 1, True
                    else:
                        stream.left, stream.ends = stream.size * job.images(stream.sent), (source, target)
                for p, done in enumerate(job.done):
                    there = all(stream.came > done for stream in job.streams if stream.dst == p)
                    loaded = now >= job.at_s + self._load_s(job, p) - NEAR
                    if job.left[p] is None and done < job.chunks and there and loaded:
                        piece = job.shape.pieces[p]
                        batches = -(-job.images(done) // piece.micro_batch)
                        host = self.hosts[job.where[p]]
                        split_s = piece.batch_s / host.cores if self.together else piece.batch_s
                        job.left[p] = batches * (split_s + piece.serial_s) / host.speed

    def _source(self, job: Job, stream: Stream) -> int | None:
        """The host that has the stream's next chunk; None where nobody has."""
        if stream.src != BROKER:
            return job.where[stream.src] if job.done[stream.src] > stream.sent else None
        if self.ring:
            inputs = sorted((other for other in job.streams if other.src == BROKER), key=lambda other: other.dst)
            at = inputs.index(stream)
            if at:
                before = inputs[at - 1]
                return job.where[before.dst] if before.came > stream.sent else None
        return BROKER

    def _load_s(self, job: Job, p: int) -> float:
        return job.shape.pieces[p].load_s / self.hosts[job.where[p]].speed

    def _rtt_s(self, node: int) -> float:
        return 0.0 if node == BROKER else self.hosts[node].rtt_s

    def _paces(self, running: list[tuple[Job, int]]) -> list[float]:
        hosts = [job.where[p] for job, p in running]
        at_once = [1 if self.together else host.cores for host in self.hosts]
        return [min(1.0, at_once[host] / hosts.count(host)) for host in hosts]

    def _rates(self, moving: list[Stream]) -> list[float]:
        out, into = [stream.ends[0] for stream in moving], [stream.ends[1] for stream in moving]
        ups = [self.card if node == BROKER else self.hosts[node].up for node in out]
        downs = [self.card if node == BROKER else self.hosts[node].down for node in into]
        return [
            min(up / out.count(a), down / into.count(b)) for up, down, a, b in zip(ups, downs, out, into, strict=True)
        ]
