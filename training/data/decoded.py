"""The images of a part, decoded and fitted to one size; those that cannot be read are named."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from splitplace.errors import ContractError, IntegrityError, SplitPlaceError, some
from splitplace.inference.images import MORE, decode_image, fit_image
from splitplace.records.preprocessing import ImageRule
from splitplace.training.data.dataset import MAX_DECODED_BYTES, Images, Rows
from splitplace.training.data.parts import EncodedPart


@dataclass(frozen=True)
class DecodedPart:
    """The images of a part that could be read, their rows in it; why others could not, and which have more pages."""

    x_NCHW: Images
    rows: Rows
    unreadable: Sequence[str]
    paged: Sequence[str]


def decode_part(part: EncodedPart, size: int | None, rule: ImageRule | None, skip_corrupt: bool) -> DecodedPart:
    """All images of a part; those that cannot be read are named and counted, or skipped if asked."""
    images: list[Images] = []
    rows: list[int] = []
    unreadable: list[str] = []
    paged: list[str] = []
    decoded_bytes = 0
    for row, (name, image, label) in enumerate(zip(part.names, part.images, part.y_N, strict=True)):
        try:
            if image is None or label < 0:
                raise IntegrityError(f"{name}: no {'image' if image is None else 'label'}")
            plain = decode_image(image, name)
            pixels = _fitted(plain, size, rule)
        except SplitPlaceError as error:
            unreadable.append(f"{name} ({str(error).removeprefix(f'{name}: ')})")
            continue
        if images and pixels.shape[1:] != images[0].shape[1:]:
            raise ContractError(
                f"{name}: {pixels.shape[2]}x{pixels.shape[1]} pixels, the first image has "
                f"{images[0].shape[2]}x{images[0].shape[1]}: give a size to resize to (--size 32)"
            )
        decoded_bytes += pixels.nbytes
        if decoded_bytes > MAX_DECODED_BYTES:
            raise SplitPlaceError(f"more than {MAX_DECODED_BYTES} bytes decoded at {name}: give a smaller --size")
        images.append(pixels)
        rows.append(row)
        if plain.info[MORE]:
            paged.append(name)
    if unreadable and not (skip_corrupt and images):
        raise IntegrityError(
            f"{len(unreadable)} unreadable image(s): {some(unreadable)}: repair or remove them, or --skip-corrupt"
        )
    channels = max(pixels.shape[0] for pixels in images)
    x_NCHW = np.stack([with_channels(pixels[None], channels)[0] for pixels in images])
    return DecodedPart(x_NCHW, np.asarray(rows, np.int64), unreadable, paged)


def _fitted(plain: Image.Image, size: int | None, rule: ImageRule | None) -> Images:
    """One image by the rule, or by that of its own channels and of `size`, or of its own size."""
    if rule is None:
        height, width = (plain.height, plain.width) if size is None else (size, size)
        rule = ImageRule(channels=1 if plain.mode == "L" else 3, height=height, width=width)
    return fit_image(plain, rule)


def with_channels(x_NCHW: Images, channels: int) -> Images:
    """Grey images among coloured ones as `fit_image` makes them: three times the same."""
    return x_NCHW if x_NCHW.shape[1] == channels else np.repeat(x_NCHW, channels, axis=1)
