"""What a command prints: a table for people, or with --json one document on stdout. Progress goes to stderr."""

import json as json_module
import os
import sys
from typing import Any, NoReturn

from pydantic import BaseModel
from rich.console import Console, RenderableType

err = Console(stderr=True)
"""Progress and remarks, away from what another program may read."""


def emit(document: BaseModel | dict[str, Any], people: RenderableType, json: bool) -> None:
    """Print a command's result: `document` if `json`, else `people`; once, where several processes train together."""
    if any(int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK")):  # torchrun's and Lightning's
        return
    if json:
        plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
        sys.stdout.write(json_module.dumps(plain, indent=2, allow_nan=False, default=str) + "\n")
    else:
        Console().print(people)


def fail(message: str, code: int) -> NoReturn:
    """One clear line on stderr, then exit."""
    sys.stderr.write("splitplace: " + " ".join(message.split()) + "\n")
    sys.exit(code)
