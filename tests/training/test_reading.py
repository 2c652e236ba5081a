"""What training reads of an image file is what `infer` and `evaluate` read of it, by the contract in the artifact."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image, ImageFilter
from timm.data import create_transform, resolve_data_config
from torchvision.transforms import Compose, Normalize

from splitplace.api.evaluate import evaluate
from splitplace.api.infer import infer
from splitplace.catalog import Catalog
from splitplace.errors import ContractError, NotFoundError, UsageError
from splitplace.export.catalog_writer import CatalogWriter
from splitplace.export.convert.from_timm import preprocessing
from splitplace.export.convert.onnx_export import to_onnx
from splitplace.inference.executor import Executor
from splitplace.inference.images import read_image
from splitplace.inference.inputs import read_inputs
from splitplace.records.preprocessing import ImageRule
from splitplace.training.data.own import load_own
from splitplace.training.preset import load_preset
from splitplace.training.recipes.full import train_full


def photo(seed: int, size: tuple[int, int] = (90, 70)) -> Image.Image:
    """Soft blobs of colour under fine noise: what resampling filters tell apart."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    return Image.blend(coarse, noise, 0.2)


def sideways(image: Image.Image, file) -> None:
    """As a phone stores a portrait photo."""
    note = Image.Exif()
    note[0x0112] = 6
    image.save(file, "JPEG", quality=90, exif=note)


def sixteen_bits(values: np.ndarray) -> bytes:
    """A PNG of uint16 [height, width, channels] as the standard lays it out, which Pillow writes for grey only."""
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    framed = [struct.pack(">I", len(of)) + kind + of + struct.pack(">I", zlib.crc32(kind + of)) for kind, of in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def deep_colour(image: Image.Image, file) -> None:
    """Colour whose two bytes differ: hardly a value is a multiple of 257."""
    high = np.asarray(image).astype(np.uint16) << 8
    file.write_bytes(sixteen_bits(high + np.random.default_rng(1).integers(0, 256, high.shape, dtype=np.uint16)))


FORMS = {
    "photo.png": lambda image, file: image.save(file, "PNG"),
    "photo.jpg": lambda image, file: image.save(file, "JPEG", quality=85),
    "sideways.jpg": sideways,
    "grey.png": lambda image, file: image.convert("L").save(file, "PNG"),
    "grey.jpg": lambda image, file: image.convert("L").save(file, "JPEG"),
    "clear.png": lambda image, file: Image.merge("RGBA", (*image.split(), image.split()[0])).save(file, "PNG"),
    "palette.gif": lambda image, file: image.save(file, "GIF"),
    "small.webp": lambda image, file: image.resize((12, 31)).save(file, "WEBP", lossless=True),
    "deep.png": lambda image, file: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(
        file, "PNG"
    ),
    "deep-colour.png": deep_colour,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Each form of file in each of two classes, the same picture never twice."""
    root = tmp_path_factory.mktemp("photos")
    for c, name in enumerate(("zebra crossing", "ant")):
        (root / name).mkdir()
        for i, (file, write) in enumerate(FORMS.items()):
            write(photo(100 * c + i), root / name / file)
    return root


@pytest.fixture(scope="module")
def catalog(folder, preset_of_one_step, tmp_path_factory):
    """A model of these photos at 16x16, trained for a step, as a device finds it."""
    place = tmp_path_factory.mktemp("catalog")
    data = load_own(folder, "crossings", size=16)
    run = train_full(data, "test_efficientnet", preset=preset_of_one_step, out=place / "run")
    CatalogWriter(place / "catalog").write(to_onnx(run.load()))
    return Catalog(place / "catalog"), data, run


@pytest.fixture(scope="module")
def preset_of_one_step():
    """The quick preset, nearly nothing of it."""
    preset = load_preset("quick")
    full = preset.full.changed(epochs=1, samples=8, batch_size=8, augment=())
    return preset.model_copy(update={"full": full})


REFERENCE = "crossings.test_efficientnet.full"


def test_every_kind_of_file_is_the_same_tensor_in_training_and_inference(catalog, folder):
    """Bit for bit: training's arrays hold exactly what `infer` makes of the files by the catalog's contract."""
    source, data, _ = catalog
    split = source.split(REFERENCE)
    trained = {x.tobytes() for x in (*data.x_train_NCHW, *data.x_test_NCHW)}
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    (read,) = read_inputs(files, split).values()
    assert len(trained) == len(files) == 2 * len(FORMS)
    assert {x.tobytes() for x in read} == trained


@pytest.mark.parametrize(
    ("channels", "form", "high_byte"),
    [(1, "PNG", False), (2, "PNG", True), (3, "PNG", True), (4, "PNG", True), (1, "PPM", False), (3, "PPM", False)],
)
def test_sixteen_bits_become_eight_as_the_page_of_formats_says(channels, form, high_byte):
    """Grey, and PPM in colour: v / 257, rounded; PNG in colour or with alpha: the high byte stays."""
    values = np.random.default_rng(channels).integers(0, 2**16, (6, 8, channels), dtype=np.uint16)
    if channels in (2, 4):
        values[..., -1] = 2**16 - 1  # opaque
    netpbm = {1: b"P5", 3: b"P6"}.get(channels, b"") + b" 8 6 65535\n" + values.astype(">u2").tobytes()
    seen = values[..., : 3 if channels > 2 else 1].transpose(2, 0, 1)
    got = read_image(
        sixteen_bits(values) if form == "PNG" else netpbm, ImageRule(channels=len(seen), height=6, width=8)
    )
    np.testing.assert_array_equal(got, seen >> 8 if high_byte else np.round(seen / 257))
    assert (seen >> 8 != np.round(seen / 257)).any()


def test_parquet_is_read_as_files_are(folder, tmp_path):
    """The same bytes in a column give the same images."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = sorted({file.parent.name for file in files})
    rows = {"image": [file.read_bytes() for file in files], "label": [names.index(file.parent.name) for file in files]}
    pq.write_table(pa.table(rows), tmp_path / "all.parquet")
    ways = [load_own(path, "crossings", size=16) for path in (folder, tmp_path / "all.parquet")]
    images = [{x.tobytes() for x in (*data.x_train_NCHW, *data.x_test_NCHW)} for data in ways]
    assert images[0] == images[1]


def test_the_catalog_tells_names_and_contract(catalog):
    """In the order of the logits; mean and std are the training images', and lie inside the graph."""
    source, data, run = catalog
    split = source.split(REFERENCE)
    assert split.class_names == data.class_names == ("ant", "zebra crossing")
    assert split.preprocessing is not None
    assert (split.preprocessing.before.channels, split.preprocessing.before.height) == (3, 16)
    np.testing.assert_allclose(split.preprocessing.inside.mean_C, data.x_train_NCHW.mean((0, 2, 3)) / 255, rtol=1e-9)
    assert split.preprocessing == run.config.preprocessing


def test_what_the_contract_says_of_the_inside_is_what_the_graph_does(catalog):
    """The network behind its front, fed with bytes normalised by the record, answers what the exported whole does."""
    source, data, run = catalog
    split = source.split(REFERENCE)
    inside, x = split.preprocessing.inside, data.x_test_NCHW
    _, *behind_the_front = run.load().fragments[0].module.children()
    mean, std = (np.array(values)[:, None, None] for values in (inside.mean_C, inside.std_C))
    answer = torch.from_numpy(((x * inside.scale - mean) / std).astype(np.float32))
    with torch.no_grad():
        for stage in behind_the_front:
            answer = stage(answer)
    got = Executor(split, lambda name: source.load(split, name)).run({"image": x})
    np.testing.assert_allclose(got, answer.numpy(), atol=1e-4 * np.abs(answer.numpy()).max())


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnetv2_50", "inception_v3", "test_vit"])
def test_timm_networks_read_images_as_timm_does(name):
    """The contract of a timm network against timm's own evaluation transform: the same bytes."""
    settings = timm.get_pretrained_cfg(name).to_dict()
    side = settings["input_size"][-1]
    contract = preprocessing(settings, side)
    transform = create_transform(**resolve_data_config(settings), is_training=False)
    assert isinstance(transform, Compose) and isinstance(transform.transforms[-1], Normalize)
    for seed, size in enumerate(((640, 427), (300, 401), (side, side), (90, 70))):
        image = photo(seed, size).filter(ImageFilter.SHARPEN)
        file = io.BytesIO()
        image.save(file, "PNG")
        want = np.round(Compose(transform.transforms[:-1])(image).numpy() * 255)
        np.testing.assert_array_equal(read_image(file.getvalue(), contract.before), want)
    np.testing.assert_allclose(contract.inside.mean_C, settings["mean"])


def test_a_folder_of_images_is_read_in_the_order_of_names(catalog, folder, tmp_path):
    """Hidden files and others are not taken; one without images is refused."""
    split = catalog[0].split(REFERENCE)
    files = sorted(folder.joinpath("ant").iterdir())
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    (got,), (expected,) = read_inputs([tmp_path], split).values(), read_inputs(files, split).values()
    np.testing.assert_array_equal(got, expected)
    (both,) = read_inputs([files[1], tmp_path], split).values()
    np.testing.assert_array_equal(both, np.concatenate([expected[1:2], expected]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="empty: no image file in it, expected one of"):
        read_inputs([tmp_path / "empty"], split)
    (tmp_path / "empty" / "ant").mkdir()
    with pytest.raises(
        NotFoundError, match=r"empty: no image file in it, and folders in it are not entered: name .*ant"
    ):
        read_inputs([tmp_path / "empty"], split)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (Image.new("RGB", (8, 8)), "got Image"),
        ([np.zeros((3, 8, 8), np.uint8)], "got list of ndarray"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "got Tensor of Tensor"),
        (b"\x89PNG", "got bytes"),
        (7, "got int"),
    ],
)
def test_what_is_neither_an_array_nor_a_path_is_named(catalog, given, got):
    """By `infer` and `evaluate`, in a line: these were tracebacks."""
    location = f"{catalog[0].path}:{REFERENCE}"
    with pytest.raises(UsageError, match=f"inputs: {got}, expected a numpy array"):
        infer(location, given)
    with pytest.raises(UsageError, match=f"images: {got}, expected a numpy array"):
        evaluate(location, images=given, labels=[0])


def test_labels_that_are_no_row_of_numbers_are_refused(catalog):
    """Rows of unlike length are no array at all."""
    x = np.zeros((2, 3, 24, 24), np.uint8)
    with pytest.raises(UsageError, match=r"labels: expected whole numbers of shape \(n,\)"):
        evaluate(f"{catalog[0].path}:{REFERENCE}", images=x, labels=[[0], [0, 1]])


def test_images_from_0_to_1_are_told_what_to_do_first(catalog):
    """As bytes they would all be black."""
    with pytest.raises(ContractError, match=r"give it as \.astype\('uint8'\) \(0 to 1 times 255, first\)"):
        infer(f"{catalog[0].path}:{REFERENCE}", np.zeros((2, 3, 24, 24), np.float32))


def framed_png(width: int, height: int, bits: int, colour: int, rows: list[bytes], clear: bytes) -> bytes:
    """A PNG of these rows in which one value is transparent, as Pillow writes none."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)),
        (b"tRNS", clear),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    framed = [struct.pack(">I", len(of)) + kind + of + struct.pack(">I", zlib.crc32(kind + of)) for kind, of in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_grey_that_is_transparent_is_white_at_any_depth(bits):
    """A PNG tells it in its own bits, which Pillow leaves so where it widens the pixels: they were their grey."""
    rng = np.random.default_rng(bits)
    values = rng.integers(0, 2**bits, (6, 16), dtype=np.uint16)
    values[0] = 1  # a row of it, among all others
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        spread = (values[..., None] >> np.arange(bits)[::-1] & 1).reshape(6, -1).astype(np.uint8)
        rows = [row.tobytes() for row in np.packbits(spread, axis=1)]
    read = read_image(framed_png(16, 6, bits, 0, rows, struct.pack(">H", 1)), ImageRule(channels=1, height=6, width=16))
    grey = (values.astype(np.int64) * 255 + (2**bits - 1) // 2) // (2**bits - 1)
    np.testing.assert_array_equal(read[0], np.where(values == 1, 255, grey))


def test_the_deep_colour_that_is_transparent_is_white():
    """Of 16 bits a channel Pillow takes the upper 8, and of what is transparent it took all."""
    values = np.random.default_rng(3).integers(0, 2**16, (6, 8, 3), dtype=np.uint16)
    values[0] = (300, 40_000, 65_000)
    rows = [row.astype(">u2").tobytes() for row in values]
    data = framed_png(8, 6, 16, 2, rows, struct.pack(">HHH", 300, 40_000, 65_000))
    read = read_image(data, ImageRule(channels=3, height=6, width=8)).transpose(1, 2, 0)
    assert (read[0] == 255).all() and (read[1:] == values[1:] >> 8).all()


def grey_tiff(values: np.ndarray, photometric: int, sample_format: int = 1) -> bytes:
    """A TIFF of one channel, in which zero may be white (photometric 0), its samples signed (format 2)."""
    height, width = values.shape
    bits, size = 8 * values.itemsize, values.nbytes
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8 + 2 + 12 * 10 + 4)]
    entries += [(277, 1), (278, height), (279, size), (339, sample_format)]
    table = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + values.tobytes()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_scan_whose_zero_is_white_is_no_negative(bits):
    """Pillow turns it round in 8 bits, not in 16."""
    values = np.random.default_rng(5).integers(0, 2**bits, (6, 8)).astype(f"<u{bits // 8}")
    rule = ImageRule(channels=1, height=6, width=8)
    plain, white = (read_image(grey_tiff(values, kind), rule).astype(int) for kind in (1, 0))
    np.testing.assert_array_equal(white, 255 - plain)


@pytest.mark.parametrize("kind", ["<i1", "<i2"])
def test_signed_pixels_are_refused(kind):
    """Of 8 bits, those below zero came out brighter than all others."""
    data = grey_tiff(np.arange(-24, 24).reshape(6, 8).astype(kind), 1, sample_format=2)
    with pytest.raises(ContractError, match=r"its pixels are signed numbers, and nothing says which .*: save it with"):
        read_image(data, ImageRule(channels=1, height=6, width=8), "scan.tif")
