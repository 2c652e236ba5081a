"""Where a figure comes from: commit, versions, machine, seed."""

from splitplace.records.base import Count, PositiveCount, Record


class Machine(Record):
    """The computer a figure was measured on."""

    cpu: str
    architecture: str
    cores: PositiveCount
    memory_bytes: PositiveCount
    system: str

    @property
    def words(self) -> str:
        """What matters of it, on a line."""
        return f"{self.cpu}, {self.cores} core(s), {self.memory_bytes / 2**30:.0f} GiB"


class Provenance(Record):
    """Stamped on every result, so that a reader can ask for it again."""

    splitplace: str
    commit: str
    """The commit of the checkout, with `+dirty` where other files than results differ from it; outside one, what
    SPLITPLACE_COMMIT says, or `unknown`."""
    created: str
    """UTC, ISO 8601."""
    versions: dict[str, str]
    machine: Machine
    seed: Count | None = None
