"""Curves as TensorBoard event files (figure 6), by tensorboard's own writer; no torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def write(folder: Path, points: Iterable[tuple[float, Mapping[str, float]]]) -> Path:
    """One event file in the folder, a step a point; a value that is not known yet (NaN) is left out."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder))
    for step, (at_s, named) in enumerate(points):
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in named.items() if value == value]
        writer.add_event(Event(wall_time=at_s, step=step, summary=Summary(value=values)))
    writer.close()
    return folder
