"""A command that is a function of the library: its options, their defaults and their words are the function's own.

A sentence of the function's docstring that begins with "From Python" is left out: it says what no command line can
state. Arguments that cannot be stated at all, as functions, are no options.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from inspect import Parameter, Signature, cleandoc, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Parameter as Option
from rich.console import RenderableType

from splitplace.cli.output import bar, emit
from splitplace.progress import Progress

Shown = tuple[dict[str, Any], RenderableType]
"""A command's result for programs, as JSON, and for people."""

TYPED = {"bool": bool, "str": str, "Path": Path, "int": int, "float": float, "None": NoneType}
"""What a command line can state, as it stands in an annotation that is a text."""


def verb(
    name: str, *, positional: int = 1, progress: Progress | None = None, **types: Any
) -> Callable[[Callable[..., Shown]], Callable[..., None]]:
    """Make a command of the function `splitplace.NAME` and of what prints its result.

    What prints is called with what the function returned, and by name with those options that it wants to know. Those
    that the function does not have are the command's alone, and described in the docstring of what prints.

    Args:
        name: The function's.
        positional: How many of its arguments are stated without their names.
        progress: Whom it tells how far it is; a bar if not stated.
        types: Of options that the annotations leave open: for the most part text or a path.
    """
    import splitplace as sp

    function = getattr(sp, name)
    tells = "progress" in signature(function).parameters

    def of_printer(show: Callable[..., Shown]) -> Callable[..., None]:
        json = Parameter("json", Parameter.KEYWORD_ONLY, default=False, annotation=bool)

        def run(asked: Mapping[str, Any], json: bool, **printed: Any) -> None:
            with bar() if tells and progress is None else nullcontext(progress) as at:
                done = function(**asked, **({"progress": at} if tells else {}))
            emit(*show(done, **printed), json)

        return _command(function, positional, types, show, [*_named(show), json], run)

    return of_printer


def options_of(name: str, *, positional: int = 1, **types: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of the function `splitplace.NAME`, which it calls itself, or something like it.

    It is called with them by name, in a dictionary, and with those that it names itself.

    Args:
        name: The function's.
        positional: How many of its arguments are stated without their names.
        types: As of `verb`.
    """
    import splitplace as sp

    def of_command(run: Callable[..., None]) -> Callable[..., None]:
        return _command(getattr(sp, name), positional, types, run, _named(run), run)

    return of_command


def _named(function: Callable[..., Any]) -> list[Parameter]:
    return [p for p in signature(function).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]


def _command(
    function: Callable[..., Any],
    positional: int,
    types: Mapping[str, Any],
    described: Callable[..., Any],
    wanted: Sequence[Parameter],
    run: Callable[..., None],
) -> Callable[..., None]:
    """What cyclopts reads as a command: its signature, annotations and docstring."""
    options = list(_options(signature(function).parameters.values(), positional, types))
    theirs = {option.name: _called(option) for option in options}
    taken = Signature([*options, *(p for p in wanted if p.name not in theirs)])

    def command(*args: Any, **kwargs: Any) -> None:
        stated = taken.bind(*args, **kwargs)
        stated.apply_defaults()
        values = stated.arguments
        asked = {key: value for key, value in values.items() if key in theirs}
        run(asked, **{p.name: values[p.name] for p in wanted})

    command.__name__ = described.__name__
    command.__doc__ = _described(function.__doc__, described.__doc__, theirs)
    command.__signature__ = taken  # type: ignore[attr-defined]  # as documented of inspect.signature
    command.__annotations__ = {p.name: p.annotation for p in taken.parameters.values()}
    return command


def _options(arguments: Iterable[Parameter], positional: int, types: Mapping[str, Any]) -> Iterator[Parameter]:
    """Those arguments that a command line can state."""
    for i, argument in enumerate(arguments):
        type_ = types.get(argument.name) or _stated(argument)
        if type_ is not None:
            annotation = _optional(type_) if argument.default is None else type_
            kind = Parameter.POSITIONAL_OR_KEYWORD if i < positional else Parameter.KEYWORD_ONLY
            yield argument.replace(annotation=annotation, kind=kind, default=_stated_as(argument.default, type_))


def _stated_as(default: Any, type_: Any) -> Any:
    """As a command line would state it: 1 as "1" where text is taken, a file's name as a path."""
    return type_(default) if type_ in (str, Path) and isinstance(default, str | int) else default


def _optional(type_: Any) -> Any:
    """Or nothing; what else is said of an option stays."""
    if get_origin(type_) is Annotated:
        plain, *said = get_args(type_)
        return Annotated[plain | None, *said]
    return Union[type_, None]  # noqa: UP007 - a Literal knows no |


def _stated(argument: Parameter) -> Any:
    """What is stated for an argument; several of it where its default is none of several."""
    kinds = _kinds(argument.annotation)
    if argument.default == ():
        return tuple[str, ...]
    chosen = [kind for kind in kinds if get_origin(kind) is Literal]
    return next((kind for kind in [*chosen, bool, str, Path, int, float] if kind in kinds), None)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """What an argument may be, as far as a command line knows it."""
    if isinstance(annotation, str):
        return tuple(TYPED[part] for part in map(str.strip, annotation.split("|")) if part in TYPED)
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _called(option: Parameter) -> str:
    """As it is stated on a command line."""
    own = (name for said in get_args(option.annotation) if isinstance(said, Option) for name in said.name or ())
    return next(own, f"--{option.name.replace('_', '-')}")


def _described(function: str | None, show: str | None, options: Mapping[str, str]) -> str:
    """A docstring for the command, of the function's and, for options of its own, the printer's."""
    said = {name: text for name, text in _arguments(function) if name in options}
    said |= dict(_arguments(show))
    said.setdefault("json", "Print one JSON document.")
    lines = [cleandoc(function or "").partition("\n")[0], "", "Args:"]
    lines += [f"    {name}: {text}" for name, text in said.items()]
    return "\n".join(_on_command_line(line, options) for line in lines)


def _arguments(docstring: str | None) -> Iterator[tuple[str, str]]:
    """What a docstring says of each argument, on a line."""
    arguments = re.split(r"\n\n\S", cleandoc(docstring or "").partition("\nArgs:\n")[2])[0]
    for found in re.finditer(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
        yield found[1], " ".join(found[2].split())


def _on_command_line(text: str, options: Mapping[str, str]) -> str:
    """Options by the names that they have there; without what is said to Python alone."""
    for name, called in options.items():
        text = text.replace(f"`{name}`", called)
    return re.sub(r" From Python, .*?\.(?= |$)", "", text)


def named(option: str, type_: Any) -> Any:
    """A type whose option is called otherwise than the argument."""
    return Annotated[type_, Option(name=option)]
