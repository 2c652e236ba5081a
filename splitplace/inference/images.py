"""Image files to tensors, by the one rule that training and inference share."""

import io
import struct
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from splitplace.errors import ContractError, IntegrityError, NotFoundError, SplitPlaceError
from splitplace.extras import needs
from splitplace.records.preprocessing import ImageRule

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "PPM", "QOI", "ICO", "PCX", "SGI", "TGA")
"""Of what Pillow reads, those that need no other program (EPS runs one) and are pictures."""
MAX_IMAGE_BYTES = 512 * 2**20
"""An image's decoded pixels, the whole of it: 178 million of RGB. A JPEG beyond is decoded at 1/2, 1/4 or 1/8."""

DEEP_WHITE = 2**16 - 1
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
_DEEP_FORMATS = ("PNG", "PPM")
"""Whose mode I is 16 bits."""
_STEPS = {"L;2": 85, "L;4": 17}
"""Between two greys of a PNG of so few bits, when Pillow has widened them to 8."""
_DEEP_COLOURS = "RGB;16B"
"""What Pillow calls colours of a PNG of 16 bits, of which it takes the upper 8."""
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
"""Tags of a TIFF, and what they may say."""
_SHRINKABLE = ("JPEG", "MPO")
MORE = "more"
"""Under which a decoded image's `info` has whether its file holds more pages or frames than this one, the first."""
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What undoes each orientation of EXIF 2.3, as Pillow calls it; the first is none."""
Pixels = npt.NDArray[np.uint8]


class UnreadableError(IntegrityError):
    """A file that is no image, or a damaged one."""


@cache
def image_suffixes() -> frozenset[str]:
    """The endings, in small letters, of files that are taken for images.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    pillow = _pillow()
    return frozenset(suffix for suffix, kind in pillow.registered_extensions().items() if kind in FORMATS)


def read_image(source: Path | bytes, rule: ImageRule, name: str = "") -> Pixels:
    """An image file as a split takes it: the one way from file to tensor, in training as in inference.

    Args:
        source: The file, or what is in it.
        rule: How; `Split.preprocessing.before` of a split.
        name: What to call it in messages; the path by default.

    Returns:
        uint8 [channels, height, width].

    Raises:
        SplitPlaceError: As `decode_image`.
    """
    return fit_image(decode_image(source, name), rule)


def decode_image(source: Path | bytes, name: str = "") -> "Image.Image":
    """Steps 1 to 4 of an `ImageRule`, which are the same for all: turned, 8 bits, nothing transparent; mode L or RGB.

    Raises:
        NotFoundError: No such file.
        UnreadableError: No image, or a damaged one.
        ContractError: An image whose values have no stated range (32-bit whole numbers, floats).
        SplitPlaceError: It is too large to be decoded.
        MissingExtraError: Pillow is not installed.
    """
    pillow = _pillow()
    where = name or (str(source) if isinstance(source, Path) else "image")
    if isinstance(source, Path) and not source.is_file():
        raise NotFoundError(f"no file {where}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of size, which `_bound` decides, and of odd metadata
            with _open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                _bound(image, where)
                _state_clear_value(image)
                tags = getattr(image, "tag_v2", {})
                if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
                    raise ContractError(_unstated(where, "signed numbers"))
                negative = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
                image.load()
                plain = _plain(_turned(image), image.format, where, negative)
                plain.info[MORE] = _more(image)
                return plain
    except SplitPlaceError:
        raise
    except pillow.UnidentifiedImageError as error:
        raise UnreadableError(f"{where}: not an image") from error
    except Exception as error:
        # On damaged files Pillow's decoders raise a dozen unrelated classes; each means that nobody can see the image.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"{where}: not an image that can be read: {reason}") from error


def fit_image(image: "Image.Image", rule: ImageRule) -> Pixels:
    """Steps 5 and 6 of an `ImageRule`: channels and size; uint8 [channels, height, width]."""
    from PIL import Image

    image = image.convert("L" if rule.channels == 1 else "RGB")
    target = (rule.width, rule.height)
    if image.size != target or rule.crop_share < 1:
        wide, high = (int(side / rule.crop_share) for side in target)
        if rule.resize == "cover":
            wide, high = _cover(image.size, wide)
        shrinks = image.width > wide and image.height > high
        name = rule.filter if rule.filter != "area-bicubic" else ("box" if shrinks else "bicubic")
        image = image.resize((wide, high), Image.Resampling[name.upper()])
        left, top = (round((have - want) / 2) for have, want in zip(image.size, target, strict=True))
        image = image.crop((left, top, left + rule.width, top + rule.height))
    pixels = np.asarray(image, np.uint8).reshape(rule.height, rule.width, rule.channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _pillow() -> Any:
    needs("reading image files (an .npy file needs nothing)", "images")
    from PIL import Image

    return Image


def _open(file: Any) -> "Image.Image":
    from PIL import Image, JpegImagePlugin

    try:
        Image.init()
        return Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN])  # not every build has all
    except Image.DecompressionBombError:
        # Pillow's own limit is for what is decoded whole, which a large JPEG is not.
        if isinstance(file, io.BytesIO):
            file.seek(0)
        try:
            return JpegImagePlugin.JpegImageFile(file)
        except SyntaxError:
            raise ContractError(
                f"an image of more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels: make it smaller"
            ) from None


def _bound(image: "Image.Image", where: str) -> None:
    """Refuse what takes too much memory; a JPEG is decoded at a fraction of its size, where that is enough."""
    bytes_a_pixel = {"1": 1, "L": 1, "LA": 4}.get(image.mode, 2 if image.mode in _DEEP_GREY else 4)
    for shrink in (1, 2, 4, 8):
        if image.width * image.height * bytes_a_pixel <= MAX_IMAGE_BYTES * shrink**2:
            if shrink > 1:
                image.draft(image.mode, (image.width // shrink, image.height // shrink))
            return
        if image.format not in _SHRINKABLE:
            break
    raise ContractError(
        f"{where}: {image.width}x{image.height} pixels take more than {MAX_IMAGE_BYTES} bytes: make it smaller"
    )


def _turned(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(Image.Transpose[turn])


def _state_clear_value(image: "Image.Image") -> None:
    """Tell what is transparent in a PNG in the range of its decoded pixels, where Pillow leaves it as it was."""
    tiles = getattr(image, "tile", ())
    clear, depth = image.info.get("transparency"), tiles[0].args if tiles and image.format == "PNG" else None
    if isinstance(clear, int) and depth in _STEPS:
        image.info["transparency"] = clear * _STEPS[depth]
    elif isinstance(clear, tuple) and depth == _DEEP_COLOURS:
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _more(image: "Image.Image") -> bool:
    """Whether more pages or frames follow that can be told; a camera's MPO holds the same picture again."""
    try:
        return image.format != "MPO" and getattr(image, "is_animated", False)
    except (SyntaxError, ValueError, TypeError, LookupError, EOFError, OSError, struct.error):  # it is damaged behind
        return False


def _orientation(image: "Image.Image") -> Any:
    """What the EXIF note says; nothing where the note is damaged, as viewers have it: the picture is all there."""
    try:
        return image.getexif().get(_ORIENTATION)
    except (SyntaxError, ValueError, TypeError, LookupError, EOFError, OSError, struct.error):  # Pillow parses a TIFF
        return None


def _plain(image: "Image.Image", kind: str | None, where: str, negative: bool) -> "Image.Image":
    """Any of Pillow's modes to L or RGB, 8 bits a channel, over white.

    Args:
        image: As its file has it, but turned.
        kind: The file's.
        where: What to call it.
        negative: Whether its zero is white, which Pillow turns round in all but 16 bits.
    """
    from PIL import Image

    if image.mode in _DEEP_GREY or (image.mode == "I" and kind in _DEEP_FORMATS):
        values = np.asarray(image).astype(np.uint32)
        values = DEEP_WHITE - values if negative else values
        # The value that is transparent, if one is, is told in the image's own range.
        clear = image.info.get("transparency")
        grey = Image.fromarray(((values * 255 + DEEP_WHITE // 2) // DEEP_WHITE).astype(np.uint8))
        if isinstance(clear, int):
            grey.paste(255, mask=Image.fromarray(values == clear))
        return grey
    if image.mode in ("I", "F"):
        raise ContractError(_unstated(where, "32-bit whole numbers" if image.mode == "I" else "floats"))
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    layered = image.convert(f"{mode}A")
    plain = Image.new(mode, image.size, "white")
    plain.paste(layered.convert(mode), mask=layered.getchannel("A"))
    return plain


def _unstated(where: str, numbers: str) -> str:
    return f"{where}: its pixels are {numbers}, and nothing says which of them is white: save it with 8 or 16 bits"


def _cover(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The shorter side brought to `side`, the ratio kept."""
    wide, high = size
    return (side, int(side * high / wide)) if wide <= high else (int(side * wide / high), side)
