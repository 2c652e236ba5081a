"""`advise`: what to ship to a fleet, what to expect of it, and whether to split at all."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from splitplace.api.asked import amount, share, whole_number
from splitplace.api.demand import demand as gather
from splitplace.api.demand import load_demand
from splitplace.api.simulate import resolve_fleet
from splitplace.catalog import Catalog
from splitplace.errors import UsageError, explained
from splitplace.extras import needs
from splitplace.placement.advice.advice import Advice, advice
from splitplace.placement.advice.offers import offers
from splitplace.placement.advice.trial import Ask
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.scenario import MAX_IMAGES
from splitplace.progress import Progress, silent
from splitplace.records.device import FleetSpec
from splitplace.report.picture import check_picture

LEAST, MOST = 1e-6, 1e6
"""Rates in requests a second and deadlines in seconds that anybody means."""


@explained()
def advise(
    catalog: str | Path | Catalog | DemandLike,
    *,
    fleet: str | Path | FleetSpec,
    rate: float,
    deadline: float,
    accuracy: float | None = None,
    batch: int = 1,
    application: str | Sequence[str] = (),
    violations: float = 0.05,
    seed: int = 0,
    plot: str | Path | None = None,
    progress: Progress = silent,
) -> Advice:
    """Say what to ship to a fleet and which policy, by simulation of the alternatives; the same arguments, the same.

    Args:
        catalog: A catalog folder with profiles and evaluations; or measured, upstream, or a demand file (.json, .toml).
            From Python, also a catalog or a demand.
        fleet: A shipped fleet, NAME:N for N devices in its proportions, or a TOML file. From Python, also a fleet.
        rate: Requests a second, of all applications together, in equal shares; 1e-6 to 1e6.
        deadline: Seconds from a request's arrival to its answer, 1e-6 to 1e6.
        accuracy: The least top-1 accuracy of a split that may be shipped, 0 to 1; any if not stated.
        batch: Images of a request.
        application: One that is asked for, or several; all of the catalog's if none is named.
        violations: Share of requests that may miss the deadline, 0 to 1.
        seed: Of the simulated requests: same seed, same advice.
        plot: A .png, .svg or .pdf for a picture of accuracy against response.
        progress: Told how far it is.

    Returns:
        The verdict, what to ship, what to expect with 95 % intervals over streams of requests, the bottleneck, the rate
        at which it breaks, the memory below which splitting is the only way, and all alternatives.

    Raises:
        MissingExtraError: The extra `sim` is not installed.
        UsageError: Unknown names, or numbers out of range.
        NotReadyError: A fragment without a profile, or an application without an evaluation.
        InfeasibleError: No split is accurate enough.
        SplitPlaceError: Files that are not what they should be, or more kinds of device than a capacity is solved for.
    """
    rate = amount("--rate", rate, LEAST, MOST, "requests a second")
    deadline = amount("--deadline", deadline, LEAST, MOST, "seconds")
    accuracy = None if accuracy is None else share("--accuracy", accuracy)
    violations = share("--violations", violations)
    batch = whole_number("--batch", batch, 1, MAX_IMAGES)
    seed = whole_number("--seed", seed)
    if plot is not None:
        check_picture(Path(plot), "sim")
    needs("advice", "sim", packages=("scipy",))
    devices = resolve_fleet(fleet)
    demand, unprofiled = _gathered(catalog)
    asked = (application,) if isinstance(application, str) else tuple(application)
    offered = offers(demand, asked, accuracy, batch)
    given = advice(
        replace(offered, left_out=unprofiled | offered.left_out),
        devices,
        Ask(rate, batch, deadline, violations),
        accuracy,
        seed,
        lambda share: progress("simulating", share),
    )
    if plot is not None:
        _draw(given, Path(plot).absolute())
    return given


def _gathered(source: str | Path | Catalog | DemandLike) -> tuple[DemandLike, dict[str, str]]:
    """The demand; of a catalog, as a fleet has it: without the splits that nobody has profiled, which are named."""
    if not isinstance(source, str | Path | Catalog | DemandLike):
        raise UsageError(f"catalog {source!r}: expected one by its folder, a demand by name or file, or a Demand")
    if isinstance(source, DemandLike):
        return source, {}
    if not isinstance(source, Catalog) and not Path(source).is_dir():
        return load_demand(source), {}
    catalog = source if isinstance(source, Catalog) else Catalog(Path(source))
    unprofiled = {}
    for reference in catalog.references():
        profiled = {profile.digest for profile in catalog.profiles(reference)}
        if any(fragment.digest not in profiled for fragment in catalog.split(reference).fragments):
            unprofiled[reference] = "it is not profiled"
    known = [reference for reference in catalog.references() if reference not in unprofiled]
    return gather(catalog, known), unprofiled  # of none, the error names the first that is not profiled


def _draw(given: Advice, path: Path) -> None:
    """What was answered at all."""
    from splitplace.report.frontier import FrontierPoint, draw_frontier

    points = [
        FrontierPoint(
            name=one.name,
            response_s=one.response_p95_s.mean,
            accuracy=one.accuracy.mean,
            whole=one.whole,
            keeps_up=one.keeps_up,
            chosen=given.expect is not None and one.name == given.expect.name,
        )
        for one in given.alternatives
        if one.response_p95_s is not None and math.isfinite(one.response_p95_s.mean)
    ]
    draw_frontier(path, points, given.deadline_s, f"{given.verdict}: {given.rate:g} requests/s on {given.fleet}")
