"""Which column of a table holds the images and which the labels: by their names, and by what the hub wrote of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splitplace.errors import ContractError

IMAGE_COLUMNS = ("image", "img", "picture", "photo")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")


def column_of(columns: Sequence[str], known: Sequence[str], described: Sequence[str], file: Path) -> str | None:
    """The column of that use: by the very names people give it, else the only one that the hub's description says is.

    Else by these names in other letters (`Label`), which mean nothing where one of the others is there.
    """
    present = [name for name in described if name in columns]
    if exact := next((name for name in known if name in columns), None):
        return exact
    if len(present) == 1:
        return present[0]
    for name in known:
        alike = list(dict.fromkeys(column for column in columns if column.lower() == name))
        if len(alike) > 1:
            raise ContractError(
                f"{file}: the columns {', '.join(alike)} differ in capital letters alone, expected one of them to be "
                f"called {name}"
            )
        if alike:
            return alike[0]
    return None


def described(features: Mapping[str, Any], kind: str) -> list[str]:
    """The columns that the hub says are of this kind."""
    return [name for name, feature in features.items() if feature.get("_type") == kind]


def hub_features(schema: Any) -> dict[str, Any]:
    """What the hub says of each column; nothing where it did not write the file, or in another form."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return (
        {name: kind for name, kind in features.items() if isinstance(kind, dict)} if isinstance(features, dict) else {}
    )
