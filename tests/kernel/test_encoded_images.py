"""Images as they travel: what is decoded is what was encoded, and what is not an image is refused for what it is."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from splitplace.errors import ContractError, MissingExtraError, SplitPlaceError
from splitplace.inference import encoded_images
from splitplace.inference.encoded_images import EncodedImages, as_tensor, encode_images, is_image
from splitplace.inference.images import UnreadableError
from splitplace.records.fragment import TensorSpec

FLAT = np.zeros((3, 1, 28, 28), np.uint8)


def png(x_CHW, mode=None, **options):
    """One image's file."""
    file, pixels = io.BytesIO(), x_CHW[0] if len(x_CHW) == 1 else x_CHW.transpose(1, 2, 0)
    Image.fromarray(pixels).convert(mode).save(file, "png", **options)
    return file.getvalue()


def header(width, height, depth=8, colour=0):
    """A PNG that says that it is so large, and shows nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def of_files(files, shape=(1, 28, 28)):
    """These files as images of a task."""
    return EncodedImages((len(files), *shape), np.array([len(file) for file in files], np.uint32), b"".join(files))


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(0, 4), st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40)),
        elements=st.integers(0, 255),
        fill=st.just(7),
    ),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_what_is_decoded_is_what_was_encoded(x, first, last):
    """To the bit, whole or some of it, also through bytes; and it never takes more than the pixels."""
    encoded = encode_images(x)
    assert encoded.nbytes <= x.nbytes and (encoded.shape, encoded.dtype, len(encoded)) == (x.shape, x.dtype, len(x))
    np.testing.assert_array_equal(encoded.decode(), x, strict=True)
    again = EncodedImages.from_bytes(encoded.to_bytes(), x.shape)
    np.testing.assert_array_equal(again[first:last].decode(), x[first:last], strict=True)


def test_noise_goes_as_it_is():
    """A PNG of it would be larger."""
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 9), np.uint8)
    x[1] = 0
    encoded = encode_images(x)
    assert encoded.sizes_N[0] == x[0].nbytes > encoded.sizes_N[1]
    assert bytes(encoded.data[: x[0].nbytes]) == x[0].tobytes()
    np.testing.assert_array_equal(encoded.decode(), x)


def test_an_array_that_is_not_contiguous_is_encoded_as_it_looks():
    """Channels last, as many programs have them, and every second image."""
    x = np.arange(4 * 6 * 5 * 3, dtype=np.uint8).reshape(4, 6, 5, 3).transpose(0, 3, 1, 2)[::2]
    np.testing.assert_array_equal(encode_images(x).decode(), x)


@pytest.mark.parametrize("x", [np.zeros((1, 2, 8, 8), np.uint8), np.zeros((1, 1, 8, 8), np.float32), np.zeros((4, 8))])
def test_what_is_no_image_is_not_encoded(x):
    """Other channels, numbers or dimensions: who asks looks first."""
    with pytest.raises(ContractError, match="expected uint8"):
        encode_images(x)


@pytest.mark.parametrize(
    ("dtype", "sizes", "found"),
    [
        ("uint8", (1, 28, 28), True), ("uint8", (3, 4, 5), True), ("uint8", (4, 28, 28), False),
        ("float32", (3, 4, 5), False), ("uint8", (784,), False), ("uint8", (28, 28, 3), False),
        ("uint8", (3, "batch", 5), False),
    ],
)  # fmt: skip
def test_which_inputs_are_images(dtype, sizes, found):
    """Grey or RGB of 8 bits, channels first, of a stated size; all else travels raw."""
    assert is_image(TensorSpec(name="x", dtype=dtype, shape=("batch", *sizes))) is found


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"no picture at all", "not a PNG that can be read"),
        (png(FLAT[0])[:-30], "not a PNG that can be read"),
        (png(FLAT[0]).replace(b"IDAT", b"IDAX"), "not a PNG that can be read"),
        (png(np.zeros((1, 27, 28), np.uint8)), "a PNG of 28x27 L, expected 28x28 L"),
        (png(np.zeros((3, 28, 28), np.uint8)), "a PNG of 28x28 RGB, expected 28x28 L"),
        (png(FLAT[0], "1"), "a PNG of 28x28 1, expected 28x28 L"),
        (header(28, 28, depth=16), "a PNG of 28x28 I;16, expected 28x28 L"),
    ],
)
def test_what_does_not_show_what_it_should_is_refused(file, said):
    """No picture, one cut off or changed, another size, other channels, another depth: in one line that says which."""
    with pytest.raises(UnreadableError, match=said) as caught:
        of_files([png(FLAT[0]), file]).decode()
    assert str(caught.value).startswith("image 1: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [3000, 30_000, 2**31 - 1])
def test_a_bomb_is_refused_before_anything_is_made_of_it(monkeypatch, side):
    """A small file that says that it is huge: no pixel of it is decoded."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(UnreadableError, match="image 0: "):
        of_files([header(side, side)]).decode()


def test_another_format_is_not_read():
    """A JPEG of the right size is no lossless picture of anything."""
    file = io.BytesIO()
    Image.fromarray(FLAT[0][0]).save(file, "jpeg", quality=1)
    with pytest.raises(UnreadableError, match="not a PNG"):
        of_files([file.getvalue()]).decode()


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((2, 1, 4, 4), (10,)), ((2, 1, 4, 4), (10, 11)), ((1, 1, 4, 4), (20,)), ((2, 1, 4, 4), (20, 0)), ((1, 20), (20,)),
     ((1, 2, 4, 4), (20,))],
)  # fmt: skip
def test_sizes_that_are_not_the_bytes_are_refused(shape, sizes):
    """Too few, too many, larger than the pixels, none; or not of images at all."""
    with pytest.raises(ContractError, match="as PNG"):
        EncodedImages(shape, np.array(sizes, np.uint32), bytes(20))


@pytest.mark.parametrize("length", [0, 3, 8, 11, 30])
def test_bytes_that_are_cut_off_are_refused(length):
    """Before the last size, or the last image."""
    with pytest.raises(SplitPlaceError, match="as PNG"):
        EncodedImages.from_bytes(encode_images(FLAT).to_bytes()[:length], FLAT.shape)


def test_without_pillow_it_says_what_to_install(monkeypatch):
    """Who encodes, and who decodes."""
    encoded = encode_images(FLAT)
    monkeypatch.setattr("splitplace.extras.find_spec", lambda name: None)
    for work in (encoded.decode, lambda: encode_images(FLAT)):
        with pytest.raises(MissingExtraError, match=r"^--wire encoded .*needs pillow.*splitplace\[images\]"):
            work()


def test_a_tensor_is_what_it_was():
    """What travelled as numbers stays the very array."""
    assert as_tensor(FLAT) is FLAT
    np.testing.assert_array_equal(as_tensor(encode_images(FLAT)), FLAT)
    assert encoded_images.EncodedImages.ndim == FLAT.ndim
