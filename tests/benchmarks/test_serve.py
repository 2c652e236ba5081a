"""The front door's bench: what is computed of its figures, by hand; and a run of seconds."""

import asyncio

import numpy as np
import pytest

from splitplace.benchmarks import fleets_tables, serve, serve_crowd, serve_models
from splitplace.inference.executor import FragmentSession


@pytest.mark.parametrize("size", serve_models.SHAPES)
def test_the_model_answers_the_largest_byte_of_each_quarter(size):
    """By onnxruntime as by numpy, of two images."""
    artifact = serve_models.build(size)
    x = np.concatenate([serve_models.image(size, seed) for seed in (1, 2)])
    session = FragmentSession(artifact.split.by_name["full"], artifact.models["full"])
    np.testing.assert_array_equal(session.run({"image": x})["logits"], serve_models.answer(x))
    flat = x[1].ravel()
    assert serve_models.answer(x)[1, 3] == flat[3 * len(flat) // 4 :].max()


def test_a_way_is_taken_over_the_direct_call_of_its_round():
    """Drift of the machine, the same for both, is no part of it: 3 ms in every round, whatever a round took."""
    base = [0.001 * round_ for round_ in range(1, 102)]
    (cell,) = serve.cells_of({"": base, "HTTP": [0.003 + seconds for seconds in base]}, "small", 1024)
    assert cell.median_s == pytest.approx(0.003) == cell.tail_s and cell.direct_s == pytest.approx(0.051)


def crowd(clients, median_s, per_s, way="HTTP", lost=0):
    """One number of clients."""
    return serve.CrowdCell(way=way, clients=clients, median_s=median_s, tail_s=median_s, per_s=per_s, lost=lost)


def test_what_queueing_explains():
    """Of 100 answers a second at most, and 20 ms alone: 20 ms up to two clients, then 10 ms a client."""
    cells = [crowd(1, 0.02, 50), crowd(2, 0.02, 100), crowd(4, 0.05, 80), crowd(8, 9.9, 1, "Ray Serve")]
    assert serve.explained_s(cells, "HTTP") == {1: 0.02, 2: 0.02, 4: 0.04}


@pytest.fixture
def results():
    """A run in which everything holds."""

    def make(crowds=(), **medians):
        cells = [
            serve.WayCell(
                way=way, size=size, body_bytes=1, direct_s=1e-3, median_s=medians.get(way, {}).get(size, 0.5e-3),
                tail_s=1e-3, rounds=9,
            )
            for way in ("HTTP", "gRPC", *({"Ray Serve"} & medians.keys()))
            for size in serve_models.SHAPES
        ]  # fmt: skip
        from splitplace import provenance

        return serve.ServeResults(
            load=0.0, load_after=0.0, seconds=1.0, cells=tuple(cells),
            crowds=tuple(crowds) or (crowd(1, 0.01, 100), crowd(4, 0.05, 100)), servers={}, ray={},
            provenance=provenance.collect(0),
        )  # fmt: skip

    return make


def test_each_claim_can_fail(results):
    """By the figure that it is about; what was not run says so."""
    held = serve.verdict(results())
    assert all(holds == ("not run" if "Ray Serve" in claim else True) for claim, holds in held.items())
    slow = serve.verdict(results(HTTP={"10 MB": 6.1e-3}))
    assert [claim for claim, holds in slow.items() if holds is False] == [
        "HTTP, 10 MB: at most 6 ms over a direct call (median)"
    ]
    other = serve.verdict(results(**{"Ray Serve": {"small": 0.4e-3}}))
    assert [claim for claim, holds in other.items() if holds is False] == [
        "HTTP, small: no slower than Ray Serve in the same run (median)"
    ]
    queueing = serve.verdict(results([crowd(1, 0.01, 100), crowd(4, 0.0521, 100)]))
    assert [claim for claim, holds in queueing.items() if holds is False] == [
        "1 to 4 clients: at most 1.3 times what queueing explains (median)"
    ]
    lost = serve.verdict(results([crowd(1, 0.01, 100, lost=1)]))
    assert lost["requests without a right answer: 0"] is False


def test_the_crowd_counts_what_is_not_answered_right():
    """A server that answers every third request wrongly, and hangs up on the next."""
    x, asked = serve_models.image("small", 1), [0]

    async def talk(reader, writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            asked[0] += 1
            if asked[0] % 3 == 2:
                writer.close()
                return
            body = serve_models.answer(x).tobytes() if asked[0] % 3 else b"x" * 16
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async def run():
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await serve_crowd.crowd(port, "/x", {}, x, 1, 0.5)

    found = asyncio.run(run())
    assert found.lost == asked[0] - (asked[0] + 2) // 3 and len(found.seconds) > 0


@pytest.mark.slow
def test_a_short_run(tmp_path):
    """Every way and number of clients, all answers right; the file says it, and so does its table."""
    file = tmp_path / "serve.json"
    found = serve.run(file, tmp_path / "work", 3, 0.5, (1, 8), None, 1, lambda said: None)
    assert {(cell.way, cell.size) for cell in found.cells} == {
        (way, size) for way in ("direct, again", "gRPC", "HTTP") for size in serve_models.SHAPES
    }
    assert [(cell.clients, cell.lost) for cell in found.crowds] == [(1, 0), (8, 0)]
    section = fleets_tables.serve(file.read_bytes(), file)
    assert section.verdict["HTTP, small: no slower than Ray Serve in the same run (median)"] == "not run"
    assert section.tables[0][-1]["way"] == "Ray Serve"
