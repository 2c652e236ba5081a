"""The formats of what outlives a process: the number that this version writes and reads, and how another is refused.

docs/formats.md says what is promised of each; a test holds its table against this one.
"""

import json
from dataclasses import dataclass
from typing import Any

from splitplace.errors import ContractError


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Args:
        name: As docs/formats.md calls it.
        version: What this version writes, and the one that it reads.
        remedy: What to do with one that an older version wrote.
        key: The field that holds the number.
        absent: What a file without the field is of; None where there was never one without.
    """

    name: str
    version: int
    remedy: str
    key: str = "format"
    absent: int | None = None

    def check(self, found: object, source: str) -> None:
        """Refuse another version.

        Raises:
            ContractError: Says which side is older, and what to do.
        """
        if found is None:
            found = self.absent
        if type(found) is int and found == self.version:
            return
        if type(found) is int and found > self.version:
            raise ContractError(
                f"{source}: a {self.name} of format {found}, and this splitplace, which is older, reads "
                f"{self.version}: update splitplace"
            )
        said = f"of format {found}" if type(found) is int else f"without a whole number as its `{self.key}`"
        raise ContractError(
            f"{source}: a {self.name} {said}, older than {self.version}, which this splitplace reads: {self.remedy}"
        )

    def check_document(self, text: str | bytes, source: str) -> None:
        """Refuse a JSON object of another version, before its other fields are looked at.

        What is no JSON object is left to the parser that comes next.

        Raises:
            ContractError: As `check`.
        """
        try:
            document: Any = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(document, dict):
            self.check(document.get(self.key), source)


RUN = Format("RUN folder", 4, "train it again, elsewhere or after removing the folder")
CHECKPOINT = Format("checkpoint", 2, "delete it and train again")
STAGE = Format("training stage", 2, "delete it and train again", absent=1)
SPLIT = Format("SPLIT folder", 1, "cut the model again (splitplace split)")
CATALOG = Format("catalog split", 2, "export it again (splitplace export)", absent=1)
PROFILE = Format("stored profile", 1, "remove it (splitplace catalog gc) and measure again", key="mediaType")
EVALUATION = Format("stored evaluation", 2, "remove it (splitplace catalog gc) and measure again", key="mediaType")
DEMAND = Format("demand", 1, "take it out of the catalog again (splitplace catalog demand)", absent=1)
DATASET = Format("decoded data set", 1, "delete it and fetch it again", absent=1)
JOURNAL = Format("journal", 4, "record the run again", key="version")
BROKER_JOURNAL = Format("broker's journal", 7, "end its tasks with that version, or start with another folder")
ROSTER = Format("roster", 1, "remove it, and invite the devices again (splitplace fleet invite)")
MEMBERSHIP = Format("membership", 1, "join again (splitplace fleet join TOKEN)")
STATE = Format("policy state", 3, "train it again (splitplace policy train)", key="version")

FORMATS = (
    RUN, CHECKPOINT, STAGE, SPLIT, CATALOG, PROFILE, EVALUATION, DEMAND, DATASET, JOURNAL, BROKER_JOURNAL, ROSTER,
    MEMBERSHIP, STATE,
)  # fmt: skip
