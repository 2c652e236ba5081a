"""A split: all fragments of one model under one strategy, with their graph (a DAG) and the merge of their outputs."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from graphlib import CycleError
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer, model_validator

from splitplace.errors import NotFoundError, UsageError
from splitplace.records.base import Count, Name, Record
from splitplace.records.dag import topological
from splitplace.records.fragment import Fragment, TensorSpec
from splitplace.records.preprocessing import Preprocessing

Strategy = Literal["layer", "semantic", "full", "compressed"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Value = TypeVar("Value")
MAX_CLASS_NAME = 256
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CLASS_NAME)]
INPUT = "input"
"""The source of an edge that carries the task's own input."""

_REFERENCE = re.compile(
    r"^(?P<application>[a-z0-9_-]+)\.(?P<model>[A-Za-z0-9_-]+)\.(?P<strategy>[a-z]+)(-(?P<variant>[A-Za-z0-9_-]+))?$"
)


def as_seen(name: str) -> str:
    """A class's name in the one form (Unicode's NFC) of all that look alike: macOS writes é as e and an accent."""
    return unicodedata.normalize("NFC", name)


class Edge(Record):
    """A tensor that passes from `src` (`input` or a fragment) to the fragment `dst`, under one name on both sides."""

    src: Name
    dst: Name
    tensor: str
    bytes_per_sample: Count


class Merge(Record):
    """How the sinks' logits become the answer: one sink as it is, or several side by side.

    Column j of the merged logits, in the order of the sinks in `Split.fragments`, is the class `class_order[j]`.
    """

    kind: Literal["identity", "concat"]
    class_order: tuple[Count, ...]
    spare: Name | None = None
    """The sink that predicts every class, class c in its column c: where other sinks give no answer, its logits stand
    in for theirs. It has no part in the answer where all others give one, and none in `class_order`."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A split without a spare is written, and so digested, as if there were none."""
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if name != "spare" or value is not None}


class Split(Record):
    """The graph that training, catalog, simulator and fleet all read, and nothing else."""

    application: Name
    model: Name
    strategy: Strategy
    variant: str = ""
    fragments: Annotated[tuple[Fragment, ...], Field(min_length=1)]
    edges: Annotated[tuple[Edge, ...], Field(min_length=1)]
    merge: Merge
    class_names: tuple[ClassName, ...] = ()
    """The name of class c at c; empty for a model that came without."""
    preprocessing: Preprocessing | None = None
    """How an image file becomes the split's input; None for a model that came without, or takes no images."""

    @property
    def reference(self) -> str:
        """The catalog reference, `APP.MODEL.STRATEGY-VARIANT`."""
        return f"{self.application}.{self.model}.{self.strategy}" + (f"-{self.variant}" if self.variant else "")

    @cached_property
    def by_name(self) -> dict[str, Fragment]:
        """The fragments by name."""
        return {fragment.name: fragment for fragment in self.fragments}

    def parents(self, name: str) -> tuple[str, ...]:
        """The fragments that feed `name`, each once, in the order of the edges; without `input`."""
        return tuple(dict.fromkeys(edge.src for edge in self.edges if edge.dst == name and edge.src != INPUT))

    def children(self, name: str) -> tuple[str, ...]:
        """The fragments that `name` (or `input`) feeds, each once, in the order of the edges."""
        return tuple(dict.fromkeys(edge.dst for edge in self.edges if edge.src == name))

    @property
    def roots(self) -> tuple[str, ...]:
        """The fragments that read the task's input."""
        return self.children(INPUT)

    @cached_property
    def sinks(self) -> tuple[str, ...]:
        """The fragments whose outputs are merged into the answer, in fragment order; a spare among them."""
        return tuple(fragment.name for fragment in self.fragments if not self.children(fragment.name))

    @cached_property
    def branches(self) -> tuple[str, ...]:
        """The sinks without the spare: what a whole answer is made of."""
        return tuple(sink for sink in self.sinks if sink != self.merge.spare)

    @cached_property
    def topological(self) -> tuple[str, ...]:
        """The fragments with every parent before its children; fragment order where the graph leaves a choice."""
        return topological({fragment.name: self.parents(fragment.name) for fragment in self.fragments})

    @cached_property
    def feeds(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Where each fragment's inputs come from: by fragment and tensor, (`input` or a fragment, tensor)."""
        found: dict[str, dict[str, tuple[str, str]]] = {fragment.name: {} for fragment in self.fragments}
        for edge in self.edges:
            found[edge.dst][edge.tensor] = (edge.src, edge.tensor)
        return found

    def walk(
        self,
        inputs: Mapping[str, Value],
        run: Callable[[str, dict[str, Value]], Mapping[str, Value]],
        fragments: Iterable[str] | None = None,
    ) -> dict[tuple[str, str], Value]:
        """Run fragment after fragment, each fed by what was made before.

        Args:
            inputs: The task's own, by tensor.
            run: Runs one fragment on its inputs by tensor, and answers its outputs by tensor.
            fragments: Which to run, parents first; all of them if not stated.

        Returns:
            Everything there was, by (`input` or fragment, tensor).
        """
        made: dict[tuple[str, str], Value] = {(INPUT, tensor): value for tensor, value in inputs.items()}
        for name in self.topological if fragments is None else fragments:
            answers = run(name, {tensor: made[place] for tensor, place in self.feeds[name].items()})
            for tensor, value in answers.items():
                made[name, tensor] = value
        return made

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors a task must bring, each once."""
        wanted = {edge.tensor: edge.dst for edge in self.edges if edge.src == INPUT}
        return tuple(
            next(spec for spec in self.by_name[dst].inputs if spec.name == tensor) for tensor, dst in wanted.items()
        )

    @property
    def n_classes(self) -> int:
        """How many classes the merged answer has."""
        return len(self.merge.class_order)

    @model_validator(mode="after")
    def _is_a_split(self) -> Self:
        names = [fragment.name for fragment in self.fragments]
        if len(set(names)) != len(names) or INPUT in names:
            raise ValueError(f"fragment names must differ and none be {INPUT!r}, got {names}")
        self._check_edges()
        try:
            self.topological  # noqa: B018 - evaluated for the cycle check
        except CycleError as error:
            raise ValueError(f"the fragments form a cycle: {error.args[1]}") from error
        self._check_merge()
        self._check_description()
        if not _REFERENCE.match(self.reference):
            raise ValueError(f"{self.reference!r} is no reference of the form APP.MODEL.STRATEGY-VARIANT")
        return self

    def _check_edges(self) -> None:
        fed: set[tuple[str, str]] = set()
        for edge in self.edges:
            if edge.dst not in self.by_name or (edge.src != INPUT and edge.src not in self.by_name):
                raise ValueError(f"edge {edge.src} -> {edge.dst} names a fragment that is not there")
            spec = next((spec for spec in self.by_name[edge.dst].inputs if spec.name == edge.tensor), None)
            if spec is None:
                raise ValueError(f"edge {edge.src} -> {edge.dst}: {edge.dst} has no input {edge.tensor!r}")
            if spec.bytes_per_sample != edge.bytes_per_sample:
                raise ValueError(
                    f"edge {edge.src} -> {edge.dst}: {edge.bytes_per_sample} bytes a sample stated, "
                    f"{spec.bytes_per_sample} by shape"
                )
            given = () if edge.src == INPUT else self.by_name[edge.src].outputs
            if edge.src != INPUT and spec not in given:
                raise ValueError(f"edge {edge.src} -> {edge.dst}: {edge.src} has no output {spec}")
            if (edge.dst, edge.tensor) in fed:
                raise ValueError(f"input {edge.tensor!r} of {edge.dst} is fed twice")
            fed.add((edge.dst, edge.tensor))
        for fragment in self.fragments:
            missing = [spec.name for spec in fragment.inputs if (fragment.name, spec.name) not in fed]
            if missing:
                raise ValueError(f"inputs {missing} of {fragment.name} are fed by no edge")

    def _check_merge(self) -> None:
        order = self.merge.class_order
        if sorted(order) != list(range(len(order))):
            raise ValueError(f"class_order must hold every class 0..{len(order) - 1} exactly once, got {order}")
        spare = self.merge.spare
        if spare is not None and (spare not in self.sinks or self.by_name[spare].classes != tuple(range(len(order)))):
            raise ValueError(
                f"the spare {spare!r} must be a sink that predicts the classes 0..{len(order) - 1} in order"
            )
        if self.merge.kind == "identity" and len(self.sinks) != 1:
            raise ValueError(f"merge identity needs one sink, got {self.sinks}")
        if any(len(self.by_name[sink].outputs) != 1 for sink in self.sinks):
            raise ValueError("every sink must have exactly one output, its logits")
        predicted = tuple(c for sink in self.branches for c in self.by_name[sink].classes)
        if predicted != order:
            raise ValueError(f"the sinks predict the classes {predicted}, the merge orders {order}")

    def _check_description(self) -> None:
        if self.class_names and len(self.class_names) != self.n_classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.n_classes} classes")
        if self.preprocessing is not None:
            before = self.preprocessing.before
            shape = ("batch", before.channels, before.height, before.width)
            taken = [(spec.dtype, spec.shape) for spec in self.inputs]
            if taken != [("uint8", shape)]:
                raise ValueError(f"preprocessing makes uint8 {list(shape)}, the split takes {taken}")


def parse_reference(text: str) -> tuple[str, str, Strategy, str]:
    """Take `APP.MODEL.STRATEGY-VARIANT` apart.

    Raises:
        UsageError: Not of that form, or an unknown strategy.
    """
    match = _REFERENCE.match(text)
    if match is None:
        raise UsageError(f"{text!r} is no catalog reference: expected APP.MODEL.STRATEGY-VARIANT")
    for strategy in STRATEGIES:
        if match["strategy"] == strategy:
            return match["application"], match["model"], strategy, match["variant"] or ""
    raise NotFoundError(f"unknown strategy {match['strategy']!r} in {text!r}: expected one of {', '.join(STRATEGIES)}")
