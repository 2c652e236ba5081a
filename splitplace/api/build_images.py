"""`build_images`: a split, and each of its fragments, as OCI images that run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from splitplace.api.checked import checked
from splitplace.api.pull import connected
from splitplace.catalog.layout_writer import check_catalog
from splitplace.catalog.location import open_split
from splitplace.distribution.reference import is_remote, is_tag, parse_remote
from splitplace.errors import UsageError, explained, unknown
from splitplace.export.oci_image.base import Base, open_base
from splitplace.export.oci_image.base_sources import LAYOUT_SCHEME, LayoutSource, RegistrySource
from splitplace.export.oci_image.contents import gather
from splitplace.export.oci_image.image_writer import BuiltImage, ImageBuilder, ImageLayer, ImageWriter
from splitplace.export.oci_image.models import fragment_files, graph_files
from splitplace.extras import needs
from splitplace.progress import Progress, silent

MACHINE = "machine"
"""In place of a base: this machine's own Python."""


@dataclass(frozen=True)
class BuiltImages:
    """What came of a build.

    Args:
        layout: Absolute path of the image layout.
        images: The split's first, if it was asked for, then the fragments'.
    """

    layout: Path
    images: tuple[BuiltImage, ...]

    @property
    def shared(self) -> tuple[ImageLayer, ...]:
        """The layers below the models, which all of them have."""
        return tuple(layer for layer in self.images[0].layers if not layer.is_model)


@explained()
@checked()
def build_images(
    location: str | Path,
    out: str | Path,
    *,
    base: str = MACHINE,
    fragments: Sequence[str] = (),
    ca: str | Path | None = None,
    plain_http: bool = False,
    progress: Progress = silent,
) -> BuiltImages:
    """Build OCI images of a split and of each of its fragments, which serve them by the Open Inference Protocol.

    No daemon takes part, and the same input gives the same digests. Layers that images share are stored once.

    Args:
        location: CATALOG:REF; REF may be left out where the catalog holds one split.
        out: Folder of the image layout; created if need be. An earlier image of the same name is replaced.
        base: What the images begin with: oci:FOLDER[:TAG], oci://HOST/REPOSITORY[:TAG][@DIGEST], or machine: this
            machine's own Python. Its Python must be of the version that runs here.
        fragments: Build the images of these fragments alone.
        ca: PEM file of who vouches for the registry's certificate.
        plain_http: Ask the registry without TLS.
        progress: Told what is being done.

    Returns:
        The images: REF of the split, REF.FRAGMENT of a fragment.

    Raises:
        UsageError: No such catalog, split, fragment or base; or `out` holds something else.
        ContractError: The base is for another kind of processor, or has no Python of this version.
        MissingExtraError: A package that an image runs is not installed here (extra `serve`).
        IntegrityError: A fragment, or a part of the base, is not what its digest says.
    """
    needs("splitplace image", "serve", packages=("starlette", "uvicorn", "httptools"))
    catalog, reference = open_split(location)
    split = catalog.split(reference)
    for name in fragments:
        if name not in split.by_name:
            raise unknown(f"fragment of {reference}", name, split.by_name)
    wanted = tuple(dict.fromkeys(fragments)) or tuple(fragment.name for fragment in split.fragments)
    for name in (reference, *(f"{reference}.{fragment}" for fragment in wanted)):
        if not is_tag(name):
            raise UsageError(f"{name}: no tag of an image, which has 128 letters at most: name the fragments shorter")
    folder = Path(out)
    check_catalog(folder, "--out")
    progress(f"looking into {base}", 0.0)
    contents = gather(_opening(base, folder, ca, plain_http))
    writer = ImageWriter(folder)
    with writer.filling():
        builder = ImageBuilder(writer, contents, lambda what: progress(what, 0.2))
        layers = {
            name: builder.pack(f"fragment {name}", fragment_files(split, name, catalog.load(split, name)))
            for name in wanted
        }
        images = []
        if not fragments:
            graph = builder.pack("graph", graph_files(split))
            images.append(builder.standalone(reference, f"SplitPlace: {reference}", [*layers.values(), graph]))
        for name, layer in layers.items():
            progress(f"building {reference}.{name}", 0.8)
            images.append(builder.standalone(f"{reference}.{name}", f"SplitPlace: {reference}, {name}", [layer]))
    return BuiltImages(folder.absolute(), tuple(images))


def _opening(name: str, out: Path, ca: str | Path | None, plain_http: bool) -> Callable[[], Base] | None:
    """What opens a base, whose parts lie in `out` then; None for this machine's own Python."""
    if name == MACHINE:
        return None
    if is_remote(name):
        return partial(_of_registry, name, out, ca, plain_http)
    if not name.startswith(LAYOUT_SCHEME):
        raise UsageError(
            f"--base {name}: expected {LAYOUT_SCHEME}FOLDER[:TAG], oci://HOST/REPOSITORY[:TAG][@DIGEST] or {MACHINE}"
        )
    return partial(_of_layout, name, LayoutSource(name), out)


def _of_registry(name: str, out: Path, ca: str | Path | None, plain_http: bool) -> Base:
    asked = parse_remote(name)
    with connected(asked, ca, plain_http) as places:
        return open_base(name, RegistrySource(places, asked, lambda: ImageWriter(out)))


def _of_layout(name: str, source: LayoutSource, out: Path) -> Base:
    base = open_base(name, source)
    writer = ImageWriter(out)
    for layer in base.layers:
        writer.adopt_blob(layer, source.bring(layer))
    return base
