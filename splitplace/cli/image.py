"""`splitplace image`: a split, and each of its fragments, as images that run."""

from pathlib import Path

from rich.table import Table

from splitplace.cli.output import bar, emit


def image(
    location: str,
    *,
    out: Path,
    base: str = "machine",
    fragment: tuple[str, ...] = (),
    ca: Path | None = None,
    plain_http: bool = False,
    json: bool = False,
) -> None:
    """Build OCI images of a split and of each of its fragments, which serve them over HTTP; no daemon takes part.

    They lie in an OCI image layout, from which podman runs them and skopeo brings them into a registry. The same input
    gives the same digests.

    Args:
        location: CATALOG:REF; REF may be left out where the catalog holds one split.
        out: Folder of the image layout; created if need be. An earlier image of the same name is replaced.
        base: What the images begin with: oci:FOLDER[:TAG], oci://HOST/REPOSITORY[:TAG][@DIGEST], or machine: this
            machine's own Python. Its Python must be of the version that runs here.
        fragment: Build the images of these fragments alone.
        ca: PEM file of who vouches for the registry's certificate.
        plain_http: Ask the registry without TLS.
        json: Print one JSON document.
    """
    import splitplace as sp

    with bar() as progress:
        built = sp.build_images(
            location, out, base=base, fragments=fragment, ca=ca, plain_http=plain_http, progress=progress
        )
    table = Table("image", "digest", "size", "own layers")
    for one in built.images:
        own = sum(layer.size_bytes for layer in one.layers if layer not in built.shared)
        table.add_row(one.tag, one.digest, f"{one.size_bytes / 2**20:.1f} MiB", f"{own / 2**20:.2f} MiB")
    rows = [
        {
            "tag": one.tag,
            "digest": one.digest,
            "layers": [
                {"what": layer.what, "digest": layer.digest, "size_bytes": layer.size_bytes} for layer in one.layers
            ],
        }
        for one in built.images
    ]
    emit({"layout": str(built.layout), "images": rows}, table, json)
