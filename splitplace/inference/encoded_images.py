"""Images as they travel compressed: each as a lossless PNG, or as its pixels where that takes no more.

So none takes more than its pixels, whatever it shows, and what bounds a raw tensor bounds these.
"""

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from splitplace.errors import ContractError, SplitPlaceError
from splitplace.extras import needs
from splitplace.inference.images import UnreadableError
from splitplace.records.fragment import TensorSpec

Pixels = npt.NDArray[np.uint8]
_MODES = {1: "L", 3: "RGB"}
"""What Pillow calls so many channels of 8 bits."""
_SIZE = np.dtype("<u4")
"""Of an image, where they are kept as bytes."""


def check_decodes() -> None:
    """Refuse to make PNG of images, or images of PNG, where that cannot be done.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    needs("--wire encoded (images as PNG)", "images")


def load_decoder() -> None:
    """Have Pillow load what it would when the first image comes: by then a device may open no more files."""
    from PIL import Image

    Image.preinit()


def is_image(spec: TensorSpec) -> bool:
    """Whether a tensor holds what travels as PNG: uint8 (batch, channels, height, width), grey or RGB."""
    sizes = spec.shape[1:]
    return spec.dtype == "uint8" and len(sizes) == 3 and sizes[0] in _MODES and "batch" not in sizes


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """So many images, one after another. What looks at an array's form or length, or slices it, may have these.

    Args:
        shape: Of their pixels, (n, channels, height, width).
        sizes_N: Bytes of each; one as large as its pixels is these, in C order.
        data: All of them.

    Raises:
        ContractError: Another shape than images have, or sizes that are not these bytes'.
    """

    shape: tuple[int, ...]
    sizes_N: npt.NDArray[np.uint32]
    data: bytes | memoryview
    dtype: ClassVar[np.dtype[np.uint8]] = np.dtype(np.uint8)
    ndim: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if len(self.shape) != self.ndim or self.shape[1] not in _MODES:
            raise ContractError(f"images of {list(self.shape)} as PNG, expected (n, 1 or 3, height, width)")
        sizes, most = self.sizes_N, self._pixels_bytes
        if len(sizes) != self.shape[0] or int(sizes.sum(dtype=np.int64)) != len(self.data):
            raise ContractError(
                f"images of {list(self.shape)} as PNG: {len(sizes)} of {sizes.sum(dtype=np.int64)} bytes, expected "
                f"{self.shape[0]} of {len(self.data)}"
            )
        if len(sizes) and not 0 < sizes.min() <= sizes.max() <= most:
            raise ContractError(
                f"images of {list(self.shape)} as PNG: of {sizes.min()} to {sizes.max()} bytes, expected 1 to {most}"
            )

    @property
    def _pixels_bytes(self) -> int:
        """Of one."""
        return self.shape[1] * self.shape[2] * self.shape[3]

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Where each begins, and where the last ends."""
        return np.concatenate([[0], np.cumsum(self.sizes_N, dtype=np.int64)])

    @property
    def nbytes(self) -> int:
        """As they travel."""
        return len(self.data)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> "EncodedImages":
        """Some of them, in order: a view, nothing is decoded."""
        first, last, step = rows.indices(len(self))
        assert step == 1, "images that are one after another"
        data = memoryview(self.data)[self._starts[first] : self._starts[max(last, first)]]
        return EncodedImages((max(last - first, 0), *self.shape[1:]), self.sizes_N[first:last], data)

    def decode(self) -> Pixels:
        """Their pixels, (n, channels, height, width), to the bit as they were.

        Raises:
            UnreadableError: One is no PNG, is damaged, or shows another size or other channels.
            MissingExtraError: Pillow is not installed.
        """
        check_decodes()
        x_NCHW = np.empty(self.shape, np.uint8)
        for row, (start, stop) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            x_NCHW[row] = _decoded(self.data[start:stop], self.shape[1:], row)
        return x_NCHW

    def to_bytes(self) -> bytes:
        """The size of each, uint32 little endian, then all of them."""
        return b"".join([self.sizes_N.astype(_SIZE).tobytes(), self.data])

    @staticmethod
    def from_bytes(body: bytes, shape: tuple[int, ...]) -> "EncodedImages":
        """What `to_bytes` gave.

        Raises:
            ContractError: It is not of images of this shape.
        """
        head = shape[0] * _SIZE.itemsize
        if len(body) < head:
            raise ContractError(f"images of {list(shape)} as PNG: {len(body)} bytes, expected at least {head}")
        return EncodedImages(shape, np.frombuffer(body[:head], _SIZE), memoryview(body)[head:])


def encode_images(x_NCHW: Pixels) -> EncodedImages:
    """Images as they travel; the same ones give the same bytes.

    Args:
        x_NCHW: Grey or RGB.

    Raises:
        ContractError: Others.
        MissingExtraError: Pillow is not installed.
    """
    check_decodes()
    if x_NCHW.dtype != np.uint8 or x_NCHW.ndim != 4 or x_NCHW.shape[1] not in _MODES:
        raise ContractError(
            f"images {x_NCHW.dtype}{list(x_NCHW.shape)} as PNG, expected uint8[n, 1 or 3, height, width]"
        )
    files = [_encoded(x_CHW) for x_CHW in x_NCHW]
    return EncodedImages(x_NCHW.shape, np.array([len(file) for file in files], np.uint32), b"".join(files))


def _encoded(x_CHW: Pixels) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    pixels = x_CHW[0] if len(x_CHW) == 1 else x_CHW.transpose(1, 2, 0)
    Image.fromarray(pixels).save(file, "png", optimize=True)
    return file.getvalue() if file.tell() < x_CHW.nbytes else x_CHW.tobytes()


def _decoded(file: bytes | memoryview, shape_CHW: tuple[int, ...], row: int) -> Pixels:
    channels, height, width = shape_CHW
    if len(file) == channels * height * width:
        return np.frombuffer(file, np.uint8).reshape(shape_CHW)
    from PIL import Image

    try:
        # What it says of itself is read before anything is made of it: a bomb shows another size than it may.
        with Image.open(io.BytesIO(file), formats=("PNG",)) as image:
            if image.size != (width, height) or image.mode != _MODES[channels]:
                raise UnreadableError(
                    f"image {row}: a PNG of {image.width}x{image.height} {image.mode}, expected {width}x{height} "
                    f"{_MODES[channels]}"
                )
            pixels = np.asarray(image, np.uint8).reshape(height, width, channels)
    except SplitPlaceError:
        raise
    except Exception as error:
        # On damaged files Pillow's decoders raise a dozen unrelated classes; each means that nobody can see the image.
        raise UnreadableError(f"image {row}: not a PNG that can be read: {type(error).__name__}: {error}") from error
    return pixels.transpose(2, 0, 1)


def as_tensor(value: "npt.NDArray[Any] | EncodedImages") -> npt.NDArray[Any]:
    """A tensor as a model takes it, whichever way it travelled."""
    return value.decode() if isinstance(value, EncodedImages) else value
