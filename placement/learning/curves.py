"""Figure 6 as TensorBoard event files, by tensorboard's own writer; no torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from splitplace.placement.deciders.epsilon_greedy import TrainingState
from splitplace.placement.objective import ARMS, CONTEXTS


def points(state: TrainingState, applications: Sequence[str]) -> Iterator[tuple[str, float]]:
    """R, ε, ρ, N and Q of one moment; a value that is not known yet is left out."""
    yield "epsilon", state.epsilon
    yield "rho", state.rho
    for row, application in enumerate(applications):
        yield f"R_seconds/{application}", float(state.bandit.layer_response_s_A[row])
    for c, context in enumerate(CONTEXTS):
        for d, arm in enumerate(ARMS):
            yield f"N/{context}-{arm}", float(state.bandit.count_cd[c, d])
            yield f"Q/{context}-{arm}", float(state.bandit.reward_cd[c, d])


def write(folder: Path, notes: Sequence[tuple[float, TrainingState]], applications: Sequence[str]) -> Path:
    """One event file in the folder, a step an interval."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder))
    for step, (at_s, state) in enumerate(notes):
        values = [
            Summary.Value(tag=tag, simple_value=value) for tag, value in points(state, applications) if value == value
        ]
        writer.add_event(Event(wall_time=at_s, step=step, summary=Summary(value=values)))
    writer.close()
    return folder
