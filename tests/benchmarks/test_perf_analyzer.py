"""Triton's perf_analyzer beside the front door: what is read of it and of the door's log; scripts play its part."""

import pytest

from splitplace.benchmarks import perf_analyzer as bench
from splitplace.benchmarks import serve_models
from splitplace.errors import UsageError

FIGURES = "Concurrency,Inferences/Second,p50 latency,p99 latency\n1,80.6,12000,23959\n"


@pytest.fixture
def program(tmp_path):
    """A shell script in its place."""

    def make(text):
        file = tmp_path / "perf_analyzer"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return file

    return make


def asked(program, tmp_path):
    """One way."""
    return bench.ask(program, "HTTP", ("-i", "http"), "host:1", tmp_path / "x.json", tmp_path / "figures.csv", 7)


def test_its_figures_are_read_from_the_file_that_it_was_told(program, tmp_path):
    """Latencies in microseconds there; what it is asked is on its command line."""
    found = asked(program(f'echo "$@" > {tmp_path}/said; printf "{FIGURES}" > {tmp_path}/figures.csv'), tmp_path)
    assert (found.went_wrong, found.median_s, found.tail_s) == ("", 0.012, 0.023959)
    said = (tmp_path / "said").read_text()
    assert said.startswith("-m small -u host:1") and "--request-count 7" in said and said.endswith("-i http\n")


def test_what_ends_with_an_error_did_not_run(program, tmp_path):
    """Though it left figures, of an earlier run or of this one; it is told in its own words."""
    (tmp_path / "figures.csv").write_text(FIGURES)
    found = asked(program("echo Output doesn\\'t match expected output >&2; exit 99"), tmp_path)
    assert found.went_wrong == "99: Output doesn't match expected output" and found.median_s == 0


def test_another_program_is_refused(program):
    """By what it says of itself, whatever its exit status is."""
    assert bench._version(program("echo Perf Analyzer Version 2.48.0; exit 99")) == "Perf Analyzer Version 2.48.0"
    with pytest.raises(UsageError, match="expected Triton's perf_analyzer, got from --version: nothing"):
        bench._version(program("true"))


def test_the_answers_it_is_given_are_the_models():
    """As many as images, one of each."""
    given = bench.with_answers(seed=3, count=2)
    assert [row["logits"]["content"] for row in given["validation_data"]] == [
        serve_models.answer(serve_models.image("small", seed))[0].tolist() for seed in (3, 4)
    ]
    assert len(given["data"]) == 2 and given["data"][0]["image"]["shape"] == [1, 32, 32]


LOG = (
    '{"route": "/v2/models/{model}/infer", "status": 200}\n'
    "not of the log\n"
    '{"route": "/inference.GRPCInferenceService/ModelStreamInfer", "status": 409}\n'
    '{"route": "/v2/models/{model}/stats", "status": 404}\n'
)


def test_the_log_is_counted_by_status():
    """Inference over HTTP and gRPC; nothing else."""
    assert bench.statuses(LOG) == {"200": 1, "409": 1}


def test_each_claim_can_fail():
    """A way that went wrong, an answer that is no 200, and fewer of them than were asked for."""
    from splitplace import provenance

    def verdict(went_wrong="", **statuses):
        way = bench.WayFigures(
            way="HTTP", options=(), requests=7, median_s=0.1, tail_s=0.1, went_wrong=went_wrong
        )  # fmt: skip
        counted = {name.removeprefix("s"): count for name, count in statuses.items()}
        found = bench.PerfAnalyzerResults(
            version="v", load=0, ways=(way,), statuses=counted, provenance=provenance.collect(0)
        )
        return list(bench.verdict(found).values())

    assert verdict(s200=7) == [True, True]
    assert verdict("99: no", s200=7) == [False, True]
    assert verdict(s200=7, s409=1) == verdict(s200=6) == [True, False]
