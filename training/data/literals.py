"""The plain values that a pickle holds, read without running it.

Python's pickles are programs. This walks over the instructions as text (`pickletools`) and keeps what are values; what
the program would import or call is never looked up: it stands in the result as a `Call`, with what it would be given.
But for text that stands for bytes, which is how Python 3 writes bytes in the protocols of Python 2.
"""

import pickletools
import re
from collections.abc import Iterable
from typing import Any

from splitplace.errors import IntegrityError

_VALUES = re.compile(r"(SHORT_)?(BIN)?(INT|FLOAT|LONG|STRING|BYTES|UNICODE|BYTEARRAY)[1248]?")
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME"})
_MARK = object()


class Call(list[Any]):
    """Something that the pickle would have made by a call: what that call was given, and by name what is called."""

    def __init__(self, given: Iterable[Any] = (), name: str = "") -> None:
        super().__init__(given)
        self.name = name


def literals(data: bytes, source: str) -> Any:
    """What the pickle holds, calls left undone.

    Raises:
        IntegrityError: Not a pickle, or one that needs more than values, containers and calls.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    try:
        for operation, argument, _ in pickletools.genops(data):
            name = operation.name
            if name == "STOP":
                return stack.pop()
            if _VALUES.fullmatch(name):
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name.endswith("PUT"):
                memo[argument] = stack[-1]
            elif name.endswith("GET"):
                stack.append(memo[argument])
            elif name == "GLOBAL":
                stack.append(Call(name=str(argument)))
            elif name not in _IGNORED:
                _apply(name, stack)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{source}: not a pickle of plain values: {' '.join(str(error).split())[:100]}") from error
    raise IntegrityError(f"{source}: not a whole pickle")


def _apply(name: str, stack: list[Any]) -> None:
    """One instruction that takes from the stack."""
    if name in ("MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
        stack.append({"MARK": _MARK, "EMPTY_TUPLE": ()}.get(name, {} if name == "EMPTY_DICT" else []))
    elif name in _TUPLES:
        stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
    elif name == "TUPLE":
        stack.append(tuple(_since_mark(stack)))
    elif name in ("SETITEM", "SETITEMS"):
        items = _since_mark(stack) if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in ("APPEND", "APPENDS"):
        items = _since_mark(stack) if name == "APPENDS" else [stack.pop()]
        stack[-1].extend(items)
    elif name == "LIST":
        stack.append(_since_mark(stack))
    elif name == "DICT":
        items = _since_mark(stack)
        stack.append(dict(zip(items[::2], items[1::2], strict=True)))
    elif name == "STACK_GLOBAL":
        stack[-2:] = [Call()]
    elif name in ("REDUCE", "NEWOBJ"):
        given = stack.pop()
        stack[-1] = _made(stack[-1], given)
    elif name == "BUILD":
        given = stack.pop()
        stack[-1].append(given)
    else:
        raise ValueError(f"instruction {name}")


def _made(called: Any, given: Any) -> Any:
    """What a call gives: bytes, where it is how protocols 0 to 2 write them (letters of the same numbers); else it."""
    match getattr(called, "name", ""), given:
        case "_codecs encode", (str(letters), "latin1"):
            return letters.encode("latin-1")
        case "__builtin__ bytes" | "builtins bytes", ():
            return b""
    return Call([given])


def _since_mark(stack: list[Any]) -> list[Any]:
    at = len(stack) - 1 - [value is _MARK for value in reversed(stack)].index(True)
    items = stack[at + 1 :]
    del stack[at:]
    return items
