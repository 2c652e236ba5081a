"""An image file becomes a tensor by one rule, held against what a viewer shows and against arithmetic by hand."""

import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from splitplace.errors import ContractError, MissingExtraError, NotFoundError, SplitPlaceError
from splitplace.inference import images
from splitplace.inference.images import UnreadableError, read_image
from splitplace.inference.inputs import read_inputs
from splitplace.records.preprocessing import ImageRule, Normalisation, Preprocessing

RGB = ImageRule(channels=3, height=6, width=8)
GREY = ImageRule(channels=1, height=6, width=8)
COLOURS = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_pixels_of_the_right_size_arrive_unchanged():
    """Channel by channel, no resampling."""
    np.testing.assert_array_equal(
        read_image(encoded(Image.fromarray(COLOURS)), RGB), COLOURS.transpose(2, 0, 1), strict=True
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_note_says(orientation):
    """The eight ways of EXIF 2.3: whatever lies in the file, what a viewer shows arrives."""
    stored = {
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, 1),  # to be turned clockwise
        7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
        8: lambda x: np.rot90(x, 3),
    }[orientation](COLOURS)
    note = Image.Exif()
    note[0x0112] = orientation
    file = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=note)
    np.testing.assert_array_equal(read_image(file, RGB), COLOURS.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "note",
    [
        b"Exif\0\0no TIFF at all",
        b"Exif\0\0II*\0\x08\0\0\0\x05\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 0x0112, 2, 2) + b"6\0\0\0" + bytes(4),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 9, 0) + bytes(4),
    ],
    ids=["garbage", "cut short", "a text", "no turn of the eight"],
)
def test_a_damaged_exif_note_says_nothing(note):
    """The picture is all there, as every viewer shows it."""
    image = Image.fromarray(COLOURS)
    np.testing.assert_array_equal(
        read_image(encoded(image, "JPEG", quality=95, exif=note), RGB),
        read_image(encoded(image, "JPEG", quality=95), RGB),
    )


def test_an_exif_note_that_cannot_be_written_again_still_turns():
    """A tag of a type that is not its own; nobody asks for the note once the image is turned."""
    tags = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x8769, 4, 1, 2**31)
    note = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + tags + bytes(4)
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(COLOURS)))
    np.testing.assert_array_equal(read_image(encoded(stored, exif=note), RGB), COLOURS.transpose(2, 0, 1))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_become_eight_over_their_whole_range(form):
    """Value v becomes v / 257, so that black stays black and white white."""
    deep = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    options = {"irreversible": False} if form == "JPEG2000" else {}
    got = read_image(encoded(Image.fromarray(deep), form, **options), GREY)
    np.testing.assert_array_equal(got[0], np.round(deep / 257).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_without_a_stated_range_are_refused(dtype):
    """Nothing says which value is white."""
    file = encoded(Image.fromarray(np.ones((6, 8), dtype)), "TIFF")
    with pytest.raises(ContractError, match=r"scan\.tif: its pixels are .*: save it with 8 or 16 bits"):
        read_image(file, GREY, "scan.tif")


def test_what_is_transparent_lies_over_white():
    """By the alpha channel's share; the colour hidden under full transparency is not seen."""
    alpha = np.random.default_rng(4).integers(0, 256, (6, 8, 1), dtype=np.uint8)
    got = read_image(encoded(Image.fromarray(np.concatenate([COLOURS, alpha], axis=2))), RGB)
    share = alpha / 255
    np.testing.assert_allclose(got.transpose(1, 2, 0), COLOURS * share + 255 * (1 - share), atol=0.51)


def test_a_palette_is_looked_up_and_its_transparent_entry_is_white():
    """An index is no brightness."""
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 200, 10, 30, 9, 9, 9])
    ImageDraw.Draw(image).rectangle((0, 0, 3, 5), fill=2)
    got = read_image(encoded(image, transparency=2), RGB)
    assert got[:, 0, 7].tolist() == [200, 10, 30]
    assert got[:, 0, 0].tolist() == [255, 255, 255]


def test_grey_read_as_colour_is_three_times_the_same():
    """Also where it is resized: training may meet it among coloured images, inference alone."""
    file = encoded(Image.fromarray(COLOURS[:, :, 0]).resize((20, 17)))
    grey, colour = read_image(file, GREY), read_image(file, RGB)
    for channel in colour:
        np.testing.assert_array_equal(channel, grey[0])


def test_colour_read_as_grey_is_luma():
    """ITU-R BT.601, rounded."""
    got = read_image(encoded(Image.fromarray(COLOURS)), GREY)
    np.testing.assert_allclose(got[0], COLOURS @ np.array([0.299, 0.587, 0.114]), atol=1)


def test_shrinking_takes_the_mean_of_the_area():
    """By a whole factor, the mean of each block; Pillow rounds it twice, by rows and by columns: within 1."""
    large = np.random.default_rng(5).integers(0, 256, (24, 32), dtype=np.uint8)
    got = read_image(encoded(Image.fromarray(large)), GREY)
    np.testing.assert_allclose(got[0], large.reshape(6, 4, 8, 4).mean((1, 3)), atol=1)


def test_the_first_frame_of_an_animation_is_read():
    """A GIF of black, then white."""
    frames = [Image.new("L", (8, 6), level) for level in (0, 255)]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(file, GREY).max() == 0


def test_a_jpeg_too_large_to_decode_whole_is_decoded_at_a_fraction(monkeypatch):
    """So that it takes a bounded amount of memory; the picture stays the same."""
    image = Image.fromarray(COLOURS).resize((1600, 1200), Image.Resampling.NEAREST)
    file = encoded(image, "JPEG", quality=95)
    whole = read_image(file, RGB)
    decoded = []
    plain = images._plain
    monkeypatch.setattr(images, "_plain", lambda image, *rest: decoded.append(image.size) or plain(image, *rest))
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 600_000)
    np.testing.assert_allclose(read_image(file, RGB).astype(int), whole, atol=6)
    assert decoded == [(400, 300)]  # a quarter: at a half, 4 bytes for each of 480,000 pixels are still too many


def test_any_other_image_too_large_to_decode_is_refused_by_its_size(monkeypatch):
    """It is no damaged file, and is not called one."""
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(
        SplitPlaceError, match=r"map\.png: 8x6 pixels take more than 100 bytes: make it smaller"
    ) as caught:
        read_image(encoded(Image.fromarray(COLOURS)), RGB, "map.png")
    assert not isinstance(caught.value, UnreadableError)


def test_a_jpeg_beyond_what_pillow_opens_is_read(monkeypatch):
    """Pillow refuses at twice its own limit, which is for what is decoded whole."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert read_image(encoded(Image.new("RGB", (80, 60), "red"), "JPEG"), RGB)[0].min() > 200
    with pytest.raises(SplitPlaceError, match="make it smaller"):
        read_image(encoded(Image.new("RGB", (80, 60))), RGB)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_file_cut_short_is_one_line(form, kept):
    """Whatever Pillow's decoders raise; some forms may lose their end unharmed."""
    file = encoded(Image.fromarray(np.random.default_rng(6).integers(0, 256, (64, 64, 3), dtype=np.uint8)), form)
    try:
        read_image(file[: int(kept * len(file))], RGB, "cut")
    except UnreadableError as error:
        assert str(error).startswith("cut: not an image") and "\n" not in str(error)


def test_no_such_file_is_said(tmp_path):
    """A broken link is none."""
    (tmp_path / "gone.png").symlink_to("/nowhere/gone.png")
    with pytest.raises(NotFoundError, match=r"no file .*gone\.png"):
        read_image(tmp_path / "gone.png", RGB)


def test_without_pillow_one_line_says_what_to_install(monkeypatch, tmp_path, artifact):
    """A device that is sent tensors does not need it."""
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(COLOURS)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    images.image_suffixes.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'splitplace\[images\]'"):
        read_inputs([tmp_path / "a.png"], artifact.split)


def test_a_split_that_does_not_say_how_it_reads_images_takes_none_as_numbers(tmp_path, artifact):
    """One made from a foreign ONNX file: nobody knows whether it wants 0..1, BGR or something else."""
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(COLOURS)))
    with pytest.raises(SplitPlaceError, match=r"takes float32\['batch', 4\] and does not say how .*: give an \.npy"):
        read_inputs([tmp_path / "a.png"], artifact.split)


def test_a_contract_of_two_minds_is_refused():
    """Three channels before the network, one mean inside."""
    with pytest.raises(ValueError, match="must agree"):
        Preprocessing(before=RGB, inside=Normalisation(mean_C=(0.5,), std_C=(0.2,)))
