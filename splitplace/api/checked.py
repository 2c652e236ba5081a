"""A verb's arguments, held against its annotations: in Python, unlike on a command line, anything may come."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np

from splitplace.api.asked import whole_number
from splitplace.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

MOST_SHOWN = 80
"""Letters of what was stated; of something longer its class is told."""

_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a file's or folder's name",
}


def checked(*own: str, **least: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Hold each argument of a function against its annotation before the function is called.

    What is stated by another library's types is what it says: numbers of numpy's are Python's, any path is a Path. An
    annotation that is a text (of a class that is not loaded yet), or has an array or Mapping in it, is left to the
    function, but for that; of a Sequence it is looked at whether there are several.

    Args:
        own: Arguments that the function holds against what can be meant by itself.
        least: Of arguments that are whole numbers, the least that is meant.

    Raises:
        UsageError: Something else than the annotation says, by the option's name.
    """

    def hold(function: Callable[P, R]) -> Callable[P, R]:
        wanted = signature(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            stated = wanted.bind(*args, **kwargs)
            for name, value in ((k, v) for k, v in stated.arguments.items() if k not in own):
                stated.arguments[name] = _held(wanted, name, value, least)
            return function(*stated.args, **stated.kwargs)

        return call

    return hold


def is_made_by(value: object, module: str, name: str) -> bool:
    """Whether a value is of a class that need not be loaded: of one that is not, there is none."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(value, found)


def _held(wanted: Signature, name: str, value: object, least: Mapping[str, int]) -> object:
    """The value as Python's own, if it is what the parameter is annotated with."""
    parameter = wanted.parameters[name]
    # Options have names on a command line, and what is positional here is so there.
    option = f"--{name.replace('_', '-')}" if parameter.kind is Parameter.KEYWORD_ONLY else name
    kinds = _kinds(parameter.annotation)
    plain = _as_python(value, kinds)
    if name in least and plain is not None:
        return whole_number(option, plain, least[name])
    if not _is_any(plain, kinds):
        raise UsageError(f"{option} {_shown(value)}: expected {' or '.join(_expected(kinds))}")
    return plain


def _kinds(annotation: object) -> Sequence[object]:
    """What a value may be, each by itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _as_python(value: object, kinds: Sequence[object]) -> object:
    """Numbers, truth values and paths of other libraries' types as Python's, where one is asked for."""
    if bool in kinds and isinstance(value, np.bool_):
        return bool(value)
    if int in kinds and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if float in kinds and isinstance(value, Real) and not isinstance(value, bool | int):
        return float(value)
    return Path(value) if Path in kinds and isinstance(value, PathLike) and _is_named(value) else value


def _is_named(path: "PathLike[Any]") -> bool:
    """Whether it is one of text."""
    return isinstance(path.__fspath__(), str)


def _is_any(value: object, kinds: Sequence[object]) -> bool:
    """Whether a value is any of these, or it is not ours to say."""
    return any(_is(value, kind) for kind in kinds)


def _is(value: object, kind: object) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is Callable:
        return callable(value)
    if get_origin(kind) is Sequence:
        return isinstance(value, Iterable)
    if get_origin(kind) is not None or not isinstance(kind, type):
        return True
    if kind in (int, float):
        return isinstance(value, (int,) if kind is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _expected(kinds: Sequence[object]) -> list[str]:
    """In words, each once; that nothing may be given goes without saying."""
    said: list[str] = []
    for kind in kinds:
        if kind is NoneType or (kind is str and Path in kinds):
            continue
        if get_origin(kind) is Literal:
            said += map(str, get_args(kind))
        elif isinstance(kind, type):
            said.append(_WORDS.get(kind, f"a {kind.__name__}"))
        else:
            said.append("a list" if get_origin(kind) is Sequence else "a function")
    return said


def _shown(value: object) -> str:
    """What was stated, on a line; what is too long for that by its class."""
    text = repr(value) if isinstance(value, str | bytes | Real | NoneType | list | tuple | dict) else ""
    return text if text and len(text) <= MOST_SHOWN else f"of {type(value).__name__}"
