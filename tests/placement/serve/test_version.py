"""The version that both sides of the door state: it stands for what may be said there."""

import hashlib
from typing import get_args

import pytest
from pydantic import BaseModel

from splitplace.placement.serve import requests

pytestmark = pytest.mark.base
VERSION, FORM = 8, "b2469fdfc2d7"


def models_in(annotation):
    """The records that an annotation names, and that these name."""
    found, todo = set(), [annotation]
    while todo:
        kind = todo.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in found:
                found.add(kind)
                todo += [field.annotation for field in kind.model_fields.values()]
        else:
            todo += get_args(kind)
    return found


def test_the_version_rises_with_every_change_of_what_is_said():
    """A record refuses fields that it does not know: who is of before, or after, is to be told so by the first word.

    Held are the names of all fields, with which of them may be left out.
    """
    fields = sorted(
        f"{kind.__name__}.{name}{'' if field.is_required() else '?'}"
        for kind in models_in(requests.Request) | models_in(requests.Reply)
        for name, field in kind.model_fields.items()
    )
    assert {"DeviceStatus.loaded_from?", "Split.fragments", "Submission.volatile?"} <= set(fields)
    form = hashlib.sha256("\n".join(fields).encode()).hexdigest()[:12]
    assert (requests.VERSION, form) == (VERSION, FORM), (
        f"got the form {form} of version {requests.VERSION}, expected {FORM} of {VERSION}: raise requests.VERSION if "
        "fields that may be said came or went since it was raised on the main branch, and state both here"
    )
