"""`splitplace profile`: what each fragment costs on this device."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from splitplace.cli.verb import Shown, named, verb
from splitplace.tables.profile import as_png_told, profiles_shown

if TYPE_CHECKING:
    from splitplace.records.profile import Profile


@verb("profile", catalog=named("--location", str), plot=Path)
def profile(profiles: "dict[str, tuple[Profile, ...]]", *, catalog: str, plot: Path | None) -> Shown:
    """What was measured."""
    from splitplace.api.profile import held_out
    from splitplace.catalog.location import parse_location

    device = next(iter(profiles.values()))[0].device
    counts = dict.fromkeys(row.device.threads for rows in profiles.values() for row in rows)
    held = {name: [(row, held_out(row)) for row in rows] for name, rows in profiles.items()}
    by_threads = {
        (name, count): [(row, errors) for row, errors in rows if row.device.threads == count]
        for name, rows in held.items()
        for count in counts
    }
    errors_of: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in held}
    for name, rows in held.items():
        for row, errors in rows:
            threads_of = {"threads": row.device.threads} if len(counts) > 1 else {}
            errors_of[name].setdefault(row.fragment, []).extend(asdict(error) | threads_of for error in errors)
    document: dict[str, Any] = {
        "catalog": str(parse_location(catalog)[0].absolute()),
        "device": device.model_dump(mode="json"),
        "profiles": {name: [row.model_dump(mode="json") for row in rows] for name, rows in profiles.items()},
        "held_out": errors_of,
    }
    if plot is not None:
        drawn = [f"{name}.{count}-threads" for name, count in by_threads] if len(counts) > 1 else list(profiles)
        document["plots"] = [str((plot / f"{name}.svg").absolute()) for name in drawn]
    tables = [
        profiles_shown(
            f"{name}, {count} thread(s) on {device.kind}", [row for row, _ in rows], [errors for _, errors in rows]
        )
        for (name, count), rows in by_threads.items()
    ]
    return document, Group(*tables, *map(Text, as_png_told(profiles)))
