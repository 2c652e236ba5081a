"""From an image file to a split's answer: what is done to the file before the split, and what the split does itself."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from splitplace.records.base import Positive, PositiveCount, Record

Filter = Literal["area-bicubic", "nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


class ImageRule(Record):
    """How an image file becomes uint8 [channels, height, width]: all that is done before the split, in this order.

    1. Decode the first frame. Colour profiles are not applied.
    2. Turn and mirror it as its EXIF orientation says.
    3. Bring it to 8 bits: 16-bit v of grey, and of PPM in colour, becomes v / 257, rounded; of PNG and TIFF in colour
       or with alpha, and of SGI, the high byte stays; JPEG2000 in colour is what Pillow makes of it.
    4. Lay what is transparent over white. A palette is looked up before that.
    5. Make it grey (ITU-R BT.601 luma) or RGB.
    6. Resize it, unless it has the size already, antialiased where it shrinks; then cut the middle out.

    `splitplace.inference.images.read_image` is this rule, as training and every later consumer apply it.
    """

    channels: Literal[1, 3]
    """1 is grey, 3 is RGB."""
    height: PositiveCount
    width: PositiveCount
    orientation: Literal["exif"] = "exif"
    depth: Literal["8-bit"] = "8-bit"
    background: Literal["white"] = "white"
    resize: Literal["stretch", "cover"] = "stretch"
    """stretch: to height x width, whatever the sides' ratio was; cover: the shorter side to that of the square."""
    filter: Filter = "area-bicubic"
    """area-bicubic: the mean of the covered area where both sides shrink, else bicubic."""
    crop_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Below 1, it is first resized to floor(side / crop_share), and the middle height x width is cut out."""

    @model_validator(mode="after")
    def _cover_is_square(self) -> Self:
        if self.resize == "cover" and self.height != self.width:
            raise ValueError(f"resize cover is for squares, got {self.height}x{self.width}")
        return self


class Normalisation(Record):
    """What the split's own first fragment does with these bytes, inside its ONNX graph; nobody outside does it again.

    x becomes (x * scale - mean) / std by channel, then, with `resize_to`, bilinear (half-pixel centres) of that size.
    """

    scale: Positive = 1 / 255
    mean_C: Annotated[tuple[float, ...], Field(min_length=1)]
    std_C: Annotated[tuple[Positive, ...], Field(min_length=1)]
    resize_to: PositiveCount | None = None
    """Height and width that the network needs, where those of the image are too small for it."""


class Preprocessing(Record):
    """The contract between an image file and a split: `before` is the caller's part, `inside` the split's own."""

    before: ImageRule
    inside: Normalisation

    @model_validator(mode="after")
    def _one_number_of_channels(self) -> Self:
        counts = {self.before.channels, len(self.inside.mean_C), len(self.inside.std_C)}
        if len(counts) != 1:
            raise ValueError(f"channels, mean_C and std_C must agree, got {sorted(counts)} channels")
        return self
