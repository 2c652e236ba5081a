"""What a fleet's policy remembers, in the data folder: saved now and then, and taken up by the next broker."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from splitplace.errors import ContractError, IntegrityError, NotFoundError, raised
from splitplace.files import make_folder, replace_file
from splitplace.placement import states as saved
from splitplace.placement.broker.setup import Setup
from splitplace.placement.policy import Policy
from splitplace.placement.state_files import Storable, save

log = logging.getLogger(__name__)

SAVE_EVERY_S = 5.0
ASIDE = ".before"
"""Ends the name of a part's state that was for other devices or splits, until the next such takes its place."""


class PolicyFolder:
    """Of one broker.

    Args:
        folder: Made as needed.
        setup: Of the run: what was saved for another one is put aside.
    """

    def __init__(self, folder: Path, setup: Setup):
        self.folder, self.setup = folder, setup
        self._saved_s = time.monotonic()

    def restore(self, policy: Policy, given: Any | None, rng: np.random.Generator) -> Any | None:
        """What the policy remembered when it was last saved, its generator set to go on from there.

        Args:
            policy: The fleet's.
            given: What it starts from where nothing was saved of it.
            rng: Its generator.

        Returns:
            The state, or `given` if nothing was saved; what was saved for other splits or another fleet is put aside.

        Raises:
            IntegrityError: What was saved is damaged.
        """
        try:
            state, found = saved.from_folder(policy, self.folder, self.setup.trained_for, given, _put_aside)
        except NotFoundError:
            state = given
        else:
            if given is not None:
                log.warning("%s goes on with what it had learned when %s was left", " and ".join(found), self.folder)
        path = self.folder / "generator.json"
        if path.is_file():
            try:
                rng.bit_generator.state = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, KeyError, TypeError) as error:
                raise IntegrityError(f"{path}: not a generator's state: {error}") from error
        return state

    @property
    def save_is_due(self) -> bool:
        """Whether what the policy remembers was last saved long enough ago."""
        return time.monotonic() - self._saved_s >= SAVE_EVERY_S

    def save(self, policy: Policy, states: Any, rng: np.random.Generator) -> None:
        """Keep what the policy remembers, as far as its parts can be saved; in the planner's thread.

        What goes wrong, in the policy's own `pack` as on the disk, is told in the log: it ends nothing but this.
        """
        self._saved_s = time.monotonic()
        try:
            make_folder(self.folder)
            for part, state in zip(saved.parts(policy), saved.of_parts(policy, states), strict=True):
                if isinstance(part, Storable):
                    save(self.folder, part, state, self.setup.trained_for, {"by": "a broker"})
            replace_file(self.folder / "generator.json", json.dumps(rng.bit_generator.state).encode())
        except BaseException as error:  # noqa: BLE001 - the policy is somebody's code, and may raise anything
            said = str(error) if isinstance(error, OSError) else raised(error)
            log.warning("policy %s: what it remembers could not be saved: %s", policy.name, said)


def _put_aside(path: Path, error: ContractError) -> None:
    """Whoever starts other devices in this folder is not to be asked what became of the former ones."""
    aside = path.with_name(path.name + ASIDE)
    log.warning("%s; what was learned before is in %s now, and nothing of it is used", error, aside)
    path.replace(aside)
