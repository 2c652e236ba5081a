"""What `advise` has to say, for people: the verdict, what to expect, where it breaks, and what was tried."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from splitplace.tables.digits import number

if TYPE_CHECKING:
    from splitplace import Advice, Break, Estimate, MemoryLimit, Prospect


def advice_shown(advice: "Advice") -> Group:
    """The verdict in bold, then the figures behind it."""
    shares = " in equal shares" if len(advice.applications) > 1 else ""
    asked = (
        f"{advice.rate:g} requests a second of {_images(advice.images)} each "
        f"({', '.join(advice.applications)}{shares}), {1 - advice.may_be_late:g} of them within "
        f"{advice.deadline_s:g} s, on {advice.devices} devices of {advice.fleet}"
    )
    parts: list[RenderableType] = [Text(f"{advice.verdict}: {advice.reason}", style="bold"), Text(asked)]
    if advice.expect is not None and advice.breaks is not None:
        parts.append(Text(f"ship {', '.join(advice.ship)}; policy {advice.policy}"))
        parts += [_expectations(advice, advice.expect), Text(_breaking(advice, advice.breaks))]
    parts += [Text(_memory(limit)) for limit in advice.memory]
    parts += [Text(f"not tried: {name}: {why}") for name, why in advice.left_out.items()]
    if advice.alternatives:
        parts.append(_alternatives(advice))
    parts.append(Text(f"{advice.simulated_requests} requests were simulated, in {advice.simulated_runs} runs"))
    return Group(*parts)


def _expectations(advice: "Advice", expect: "Prospect") -> Table:
    rate = f" of {number(advice.simulated_rate)} requests a second" if advice.simulated_rate != advice.rate else ""
    title = f"to expect{rate}, with 95 % intervals over {expect.streams} streams"
    table = Table(title=title, title_justify="left")
    kinds = (("best whole", advice.whole), ("best with a split", advice.split))
    others = {heading: one for heading, one in kinds if one is not None and one.name != expect.name}
    for heading in ("", "advised", *others):
        table.add_column(heading)
    shown = [expect, *others.values()]
    table.add_row("", *(one.name for one in shown))
    table.add_row("response, mean s", *(_number(one.response_s, ".3g") for one in shown))
    table.add_row("response, p95 s", *(_number(one.response_p95_s, ".3g") for one in shown))
    table.add_row("late, share", *(_number(one.violations, ".3f") for one in shown))
    table.add_row("accuracy", *(_number(one.accuracy, ".4f") for one in shown))
    table.add_row("reward", *(_number(one.reward, ".4f") for one in shown))
    table.add_row("energy, J a request", *(_number(one.energy_j, ".5g") for one in shown))
    table.add_row("cost, USD a request", *(f"{one.cost_usd:.3g}" for one in shown))
    return table


def _alternatives(advice: "Advice") -> Table:
    table = Table(title="what was tried", title_justify="left")
    table.add_column("splits, policy")
    for heading in ("streams", "response, p95 s", "late", "accuracy", "reward", "keeps up"):
        table.add_column(heading, justify="right")
    for one in advice.alternatives:
        table.add_row(
            one.name,
            str(one.streams),
            "-" if one.response_p95_s is None else f"{one.response_p95_s.mean:.3g}",
            f"{one.violations.mean:.3f}",
            f"{one.accuracy.mean:.4f}",
            f"{one.reward.mean:.4f}",
            "yes" if one.keeps_up else "no",
        )
    return table


def _breaking(advice: "Advice", breaks: "Break") -> str:
    told = (
        f"breaks between {number(breaks.holds)} and {number(breaks.breaks)} requests a second; no policy sustains more "
        f"than {number(breaks.capacity)} with these splits, limited by {breaks.bottleneck}"
    )
    if advice.capacity is None or advice.capacity.tasks_per_interval == breaks.capacity:
        return told
    most = f"{number(advice.capacity.tasks_per_interval)} with all on offer, limited by {advice.capacity.bottleneck}"
    return f"{told}, or {most}"


def _memory(limit: "MemoryLimit") -> str:
    least = f"{limit.least_bytes / 1e6:.1f} MB"
    if limit.whole_bytes is None:
        return f"{limit.application}: no whole model is on offer; on devices below {least} no split fits"
    if limit.whole_bytes == limit.least_bytes:
        return f"{limit.application}: the least whole model takes a device of {least}, and no split takes less"
    return (
        f"{limit.application}: on devices below {limit.whole_bytes / 1e6:.1f} MB splitting is the only way, for no "
        f"whole model fits; below {least} nothing does"
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _number(one: "Estimate | None", form: str) -> str:
    if one is None:
        return "-"
    if one.low is None or one.high is None:
        return f"{one.mean:{form}}"
    return f"{one.mean:{form}} [{one.low:{form}}, {one.high:{form}}]"
