"""`demand`: what the splits of a catalog cost and how accurate they are, for the simulator and the broker."""

from collections.abc import Sequence
from pathlib import Path

from splitplace.api.asked import place
from splitplace.api.checked import checked
from splitplace.catalog import Catalog
from splitplace.catalog.demand import demand as gather
from splitplace.catalog.demand import write_demand
from splitplace.errors import explained
from splitplace.files import check_file
from splitplace.placement.simulator.demands import DemandLike
from splitplace.placement.simulator.demands import load_demand as load
from splitplace.records.demand import Demand


@explained()
@checked(micro_batch=1)
def demand(
    catalog: str | Path | Catalog,
    references: Sequence[str] = (),
    *,
    micro_batch: int = 64,
    out: str | Path | None = None,
) -> Demand:
    """Gather the profiles and evaluations of splits into one document.

    Args:
        catalog: The catalog's folder. From Python, also a catalog.
        references: The splits; all by default.
        micro_batch: Samples a device runs at once.
        out: The file to write it to, for `simulate`. From Python, it may be left out.

    Returns:
        Costs in seconds and bytes by batch size and kind of device, and accuracies.

    Raises:
        UsageError: No such catalog or split.
        SplitPlaceError: An empty catalog, a fragment without a profile, or a demand of more than 600 kB.
    """
    if out is not None:
        check_file(Path(out), "--out")
    source = catalog if isinstance(catalog, Catalog) else Catalog(place("catalog", catalog))
    value = gather(source, (references,) if isinstance(references, str) and references else references, micro_batch)
    if out is not None:
        write_demand(value, Path(out))
    return value


@explained()
@checked()
def load_demand(source: str | Path | Catalog) -> DemandLike:
    """A demand by name, from a file, or gathered from a catalog.

    Args:
        source: measured or upstream, which ship; a demand file (.json), a table of constants (.toml), or a catalog or
            its folder.

    Returns:
        A demand, or of upstream and tables their constants; `simulate` takes both.

    Raises:
        UsageError: No such name or file.
        SplitPlaceError: Not what it should be.
    """
    if isinstance(source, Catalog) or Path(source).is_dir():
        return demand(source)
    return load(str(source))
