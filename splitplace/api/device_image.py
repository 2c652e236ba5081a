"""The image that the engine `podman` runs devices from: this machine's own Python, made anew when something changed."""

import secrets
import tempfile
from pathlib import Path

from splitplace.errors import SplitPlaceError
from splitplace.export.oci_image.contents import gather
from splitplace.export.oci_image.image_writer import ImageBuilder, ImageWriter
from splitplace.extras import needs
from splitplace.placement.engines.podman import IMAGE, LOAD_S, ask_podman


def device_image() -> str:
    """Of podman's images the one with this program in it, built and brought there if need be.

    Raises:
        NotReadyError: There is no podman on this machine.
        MissingExtraError: A package of the extra `serve` is missing: an image can serve as well.
    """
    needs("engine podman", "serve", packages=("starlette", "uvicorn", "httptools"))
    contents = gather()
    name = f"{IMAGE}:{contents.key()}"
    if not ask_podman("image", "exists", name).returncode:
        return name
    with tempfile.TemporaryDirectory(prefix="splitplace-image-") as scratch:
        # Podman calls the image by its folder's path, as it is given, and that has to be a name that an image may have.
        layout = Path(scratch) / f"made-{secrets.token_hex(8)}"
        writer = ImageWriter(layout)
        built = ImageBuilder(writer, contents, lambda what: None).device("device", "SplitPlace: a device")
        pulled = ask_podman("pull", "--quiet", f"oci:{layout.name}:{built.tag}", timeout_s=LOAD_S, folder=layout.parent)
    if pulled.returncode:
        raise SplitPlaceError(f"podman does not take the image of a device: {_last_line(pulled.stderr)}")
    number = pulled.stdout.strip()
    _done("tag", number, name)
    for other in _done("image", "inspect", "--format", "{{range .RepoTags}}{{.}} {{end}}", number).split():
        if not other.startswith(f"{IMAGE}:"):  # that of the folder
            _done("untag", number, other)
    return name


def _done(*command: str) -> str:
    done = ask_podman(*command)
    if done.returncode:
        raise SplitPlaceError(f"podman {command[0]}: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1]
