"""One event at work on the state: what the rules read and change, and what they find is to be done."""

from dataclasses import dataclass, field

from splitplace.placement.broker.effects import Effect, Note, Tell
from splitplace.placement.broker.setup import Setup
from splitplace.placement.broker.state import FleetState
from splitplace.placement.history import Event
from splitplace.placement.protocol.messages import Message


@dataclass(frozen=True, eq=False)
class Turn:
    """Of one `rules.apply`."""

    setup: Setup
    state: FleetState
    todo: list[Effect] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """For the run's history."""
        self.todo.append(Note(event))

    def tell(self, device: int, message: Message) -> None:
        """Send a device a message."""
        self.todo.append(Tell(device, message))
