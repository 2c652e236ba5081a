"""What takes part in an experiment: policies, and what is other about them."""

from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from splitplace.benchmarks.copies import Until
from splitplace.benchmarks.grid_scenario import Fields
from splitplace.errors import UsageError
from splitplace.placement import states as store
from splitplace.placement.policy import Composed, Policy, States
from splitplace.placement.registry import parse_policy
from splitplace.records.base import PositiveCount, Record
from splitplace.records.split import Strategy
from splitplace.records.view import View


class GridRow(Record):
    """What takes part, and what the tables call it; it is what its fields say, whatever its name."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    policies: Annotated[tuple[str, ...], Field(min_length=1)]
    """As `simulate --policy` takes them; of several, the one that gets most on the tuning seeds takes part."""
    strategies: tuple[Strategy, ...] = ()
    """That it needs: it takes part where every application has such a split."""
    options: Fields = Field(default={})
    state: Fields = Field(default={})
    """As `options`, of the state that a part starts from."""
    untrained: tuple[str, ...] = ()
    """Parts that start anew, whatever was trained."""
    frozen: tuple[str, ...] = ()
    """Parts that learn nothing during the run."""
    stops: tuple[str, ...] = ()
    """Parts that learn no more once rate, mix or links of the scenario have shifted."""
    devices: PositiveCount | None = None
    """The largest fleet that it can take."""

    def policy(self, text: str, options: Fields | None = None) -> Policy:
        """One of its policies, with its options; and with these, as far as they are of its parts."""
        return _changed(_changed(parse_policy(text), self.options), options or {})

    def running(self, policy: Policy, shift_s: float) -> Policy:
        """It as it runs: its frozen parts learn nothing, and some nothing more from a moment on."""

        def part(one: Any) -> Any:
            if one.name in self.frozen:
                return Until(one, 0.0)
            return Until(one, shift_s) if one.name in self.stops else one

        if isinstance(policy, Composed):
            return Composed(part(policy.decider), part(policy.placer))
        still: Policy = part(policy)
        return still

    def started(self, policy: Policy, state: Any, view: View) -> Any:
        """Its state at the start, of the one that was trained: untrained parts anew, and fields as the row says."""
        found = [
            _with(part.init(view) if part.name in self.untrained else each, self.state.get(part.name, {}))
            for part, each in zip(store.parts(policy), store.of_parts(policy, state), strict=True)
        ]
        return States(*found) if isinstance(policy, Composed) else found[0]

    @model_validator(mode="after")
    def _known(self) -> Self:
        for text in self.policies:
            policy = parse_policy(text)
            parts = {part.name: part for part in store.parts(policy)}
            for name, options in self.options.items():
                part: Any = parts.get(name)
                there = {field.name for field in fields(part)} if is_dataclass(part) else set[str]()
                if part is not None and (other := set(options) - there):
                    raise ValueError(f"row {self.name}: {name} has no option {', '.join(sorted(other))}")
        known = {part.name for text in self.policies for part in store.parts(parse_policy(text))}
        if other := {*self.options, *self.state, *self.untrained, *self.frozen, *self.stops} - known:
            raise ValueError(f"row {self.name}: {', '.join(sorted(other))} is in none of its policies")
        return self


def _changed(policy: Policy, options: Fields) -> Policy:
    """The policy with these fields of its parts."""
    if isinstance(policy, Composed):
        decider, placer = (_with(part, options.get(part.name, {})) for part in (policy.decider, policy.placer))
        return Composed(decider, placer)
    changed: Policy = _with(policy, options.get(policy.name, {}))
    return changed


def _with(thing: Any, values: dict[str, bool | int | float | str]) -> Any:
    if not values:
        return thing
    try:
        return replace(thing, **values)
    except TypeError as error:
        raise UsageError(f"{type(thing).__name__} has no fields {', '.join(values)}: {error}") from error
