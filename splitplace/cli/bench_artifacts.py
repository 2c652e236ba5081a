"""`splitplace bench artifacts`: how well fragments know their own cost."""

from json import dumps
from pathlib import Path

from rich.console import Group
from rich.table import Table

from splitplace.cli.output import emit, err


def artifacts(
    *,
    results: Path = Path("benchmarks/results/artifacts.json"),
    work: Path = Path("runs/bench-artifacts"),
    models: str | None = None,
    fresh: bool = False,
    json: bool = False,
) -> None:
    """Measure what fragments weigh and cost, and how well their profiles tell the cost of other batch sizes.

    The catalogs under --work keep what is measured, so an interrupted run goes on where it stopped.

    Args:
        results: The results file, written at the end.
        work: Folder for the catalogs.
        models: Names, comma-separated; the three families by default.
        fresh: Measure everything again.
        json: Print one JSON document.
    """
    from splitplace.benchmarks import artifacts as bench
    from splitplace.records.profile import Profile

    families = tuple(models.split(",")) if models else bench.FAMILIES
    found = bench.run(results, work, families, again=fresh, say=err.print)
    size = 16
    table = Table(
        *("split", "digest", "fragment", "weights", "load", "batch 1", f"batch {size}", f"memory at {size}"),
        title="Fragments, weights random",
    )
    for reference, row in found["splits"].items():
        for fragment, document in zip(row["fragments"], row["profiles"], strict=True):
            profile = Profile.parse(dumps(document), reference)
            table.add_row(
                reference.partition(".")[2],
                fragment["digest"][7:19],
                fragment["name"],
                f"{fragment['weight_bytes'] / 2**20:.2f} MiB",
                f"{1e3 * profile.load_s:.0f} ms",
                f"{1e3 * profile.latency_s(1):.2f} ms",
                f"{1e3 * profile.latency_s(size):.2f} ms",
                f"{profile.fragment_bytes(size) / 2**20:.1f} MiB",
            )
    chains = Table("chain", "batch", "measured", "summed profile", "error", title="Chains")
    for chain in found["chains"]:
        seconds = [f"{1e3 * chain[name]:.2f} ms" for name in ("measured_s", "summed_s")]
        chains.add_row(chain["reference"], str(chain["batch_size"]), *seconds, f"{chain['error']:+.1%}")
    claims = dict(found["claims"])
    lines = [f"{claims.pop('cells')} held-out cells, of sizes that no profile measured"]
    for name, claim in claims.items():
        figure, sign = (claim["worst"], "<=") if "worst" in claim else (claim["share"], ">=")
        holds = "holds" if claim["holds"] else "does not hold"
        lines.append(f"{name}: {figure:.1%}, expected {sign} {claim['expected']:.0%}: {holds}")
    emit({"results": str(results.absolute()), **found}, Group(table, chains, *lines), json)
