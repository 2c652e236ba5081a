"""`profile`: what each fragment costs on this device, kept in the catalog."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import cache
from pathlib import Path

from splitplace.api.asked import whole_number
from splitplace.api.checked import checked
from splitplace.catalog import Catalog
from splitplace.catalog.location import parse_location
from splitplace.errors import MissingExtraError, NotReadyError, UsageError, explained
from splitplace.export.measure.fit import held_out as held_out
from splitplace.extras import needs
from splitplace.files import check_folder
from splitplace.inference.encoded_images import check_decodes, is_image
from splitplace.inference.executor import MAX_THREADS, Array
from splitplace.inference.inputs import named_inputs, read_arrays
from splitplace.progress import Progress, silent
from splitplace.records.encoded_input import EncodedInput
from splitplace.records.profile import Profile
from splitplace.records.split import Split


@explained()
@checked()
def profile(
    catalog: str | Path | Catalog,
    *,
    kind: str | None = None,
    threads: int | str | Sequence[int] = 1,
    cpus: float | None = None,
    quick: bool = False,
    again: bool = False,
    example_inputs: str | Path | Array | Mapping[str, Array] | None = None,
    plot: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, tuple[Profile, ...]]:
    """Measure latency, load time and memory of every fragment on this device, and keep them in the catalog.

    What is measured on this device already stays, so an interrupted run goes on where it stopped. Where images of the
    application are at hand, the example inputs or a data set's held-out ones that lie here, it is measured as well what
    they take as PNG and to decode, for fleets and scenarios in which they travel so; that takes Pillow.

    Args:
        catalog: CATALOG (all its splits) or CATALOG:REF. From Python, also a catalog.
        kind: What to call this kind of device; by default after its CPU.
        threads: onnxruntime threads; of several numbers, as 1,2, each is measured: what the fragments gain by them.
        cpus: Put each measurement under a CPU quota of this many cores, to profile as a slower device.
        quick: Four batch sizes and a quarter of a second each, instead of 1 to 256 and a second.
        again: Measure what is already measured on this device, too.
        example_inputs: Real inputs to measure on (.npy of (n, ...), .npz or NAME=FILE of several inputs), for a model
            whose made-up ones mean nothing, as indices into tables do. What is measured already is measured again, on
            these. From Python, also an array, or several by name.
        plot: A folder for one picture a split, `REF.svg`: cost over the batch size, as measured and as predicted; of
            several thread counts one for each, `REF.N-threads.svg`.
        progress: Told what is being measured.

    Returns:
        By reference, the profiles of a split's fragments in split order, one thread count after another: seconds a
        batch, bytes over the runtime's own.

    Raises:
        MissingExtraError: `plot`, and matplotlib is not installed.
        UsageError: No such catalog or split, or a CPU share that cannot be, or one of several thread counts.
        SplitPlaceError: An empty catalog, one that cannot be written to, or a measuring process that died.
    """
    if plot is not None:
        needs("--plot", "export", packages=("matplotlib",))
        check_folder(Path(plot), "--plot")
    from splitplace.export.catalog_writer import CatalogWriter
    from splitplace.export.measure.profiler import FULL, QUICK, fingerprint, profile_split

    folder, reference = (catalog.path, "") if isinstance(catalog, Catalog) else parse_location(str(catalog))
    writer = CatalogWriter(Catalog(folder).path)
    references = (reference,) if reference else writer.references()
    if not references:
        raise NotReadyError(f"the catalog {folder} holds no split: export one first")
    given = read_arrays(example_inputs) if isinstance(example_inputs, str | Path) else example_inputs
    counts = _thread_counts(threads)
    if cpus is not None and len(counts) > 1:
        said = ",".join(map(str, counts))
        raise UsageError(f"threads {said} under a quota of {cpus:g} cores: expected one count, or no quota")
    devices = [fingerprint(kind, count, 1.0 if cpus is None else cpus / max(count, 1)) for count in counts]
    works = [(name, device) for name in references for device in devices]
    found: dict[str, tuple[Profile, ...]] = dict.fromkeys(references, ())

    @cache
    def encoded(name: str) -> EncodedInput | None:
        return _as_png(writer.split(name), given)

    for i, (name, device) in enumerate(works):

        def of_all(what: str, share: float, i: int = i) -> None:
            progress(what, (i + share) / len(works))

        profiles = profile_split(writer, name, QUICK if quick else FULL, device, again, of_all, given, encoded(name))
        found[name] += profiles
        if plot is not None:
            picture = name if len(counts) == 1 else f"{name}.{device.threads}-threads"
            _draw(Path(plot) / f"{picture}.svg", name, profiles)
    return found


def _thread_counts(stated: int | str | Sequence[int]) -> tuple[int, ...]:
    """Each once."""
    if isinstance(stated, str):
        try:
            stated = [int(part) for part in stated.split(",")]
        except ValueError as error:
            raise UsageError(f"--threads {stated}: expected whole numbers, comma-separated") from error
    several = (stated,) if isinstance(stated, int) else tuple(stated)
    counts = tuple(dict.fromkeys(whole_number("--threads", count, 1, MAX_THREADS) for count in several))
    if not counts:
        raise UsageError("no number of threads to measure with: expected one at least")
    return counts


def _as_png(split: Split, given: Array | Mapping[str, Array] | None) -> EncodedInput | None:
    """What a split's images take as PNG, by those that were given, or those of its data set that lie here."""
    from splitplace.export.measure.encoding import png_input

    (spec, *more) = split.inputs
    try:
        check_decodes()
    except MissingExtraError:
        return None
    if more or not is_image(spec):
        return None
    if given is not None:
        return png_input(named_inputs(split.inputs, given, split.reference)[spec.name], "example inputs")
    from splitplace.training.data.applications import copy_here

    data = copy_here(split.application)
    if data is None or data.x_test_NCHW.shape[1:] != spec.shape[1:]:
        return None
    return png_input(data.x_test_NCHW, data.source)


def _draw(path: Path, reference: str, profiles: tuple[Profile, ...]) -> None:
    from splitplace.report.cost import draw_costs

    draw_costs(path, reference, profiles, [[astuple(error) for error in held_out(row)] for row in profiles])
