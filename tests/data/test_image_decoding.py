"""Decoding of image files: every mode and depth, against pixels computed by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from torchvision.transforms import CenterCrop, Compose, Resize

from trainer.base.errors import DataError
from trainer.data.image_decoding import Decoder
from trainer.data.image_folder import ImageFolder

WHITE_GROUND = 255


def save(path, values, mode=None, **options):
    image = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values), mode)
    image.save(path, **options)
    return str(path)


def tiff(path, values, **tags):
    """A TIFF with tags of our own, by number."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        info[int(name.removeprefix("tag"))] = value
    return save(path, values, tiffinfo=info)


def png16(path, samples, transparent=None):
    """A 16-bit PNG of samples (H, W, channels), written by hand: Pillow writes no 16-bit colours."""
    height, width, channels = samples.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    key = b"" if transparent is None else chunk(b"tRNS", np.array(transparent, ">u2").tobytes())
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    whole = chunk(b"IHDR", head) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)
    return str(path)


def tiff16(path, samples, order, photometric=2, extra=None, deflated=False, planes=False):
    """A TIFF of 16-bit samples (H, W, channels), written by hand."""
    height, width, channels = samples.shape
    layers = np.moveaxis(samples, 2, 0) if planes else [samples]
    strips = [layer.astype(f"{order}u2").tobytes() for layer in layers]
    strips = [zlib.compress(strip) for strip in strips] if deflated else strips
    shorts = {258: [16] * channels, 259: [8 if deflated else 1], 262: [photometric], 277: [channels]}
    shorts |= {284: [2 if planes else 1]} | ({} if extra is None else {338: [extra]})
    starts = np.cumsum([8, *map(len, strips)]).tolist()
    longs = {256: [width], 257: [height], 273: starts[:-1], 278: [height], 279: [len(strip) for strip in strips]}
    tags = {tag: (3, "H", values) for tag, values in shorts.items()}
    tags |= {tag: (4, "I", values) for tag, values in longs.items()}
    end = starts[-1] + 2 + 12 * len(tags) + 4
    entries, behind = b"", b""
    for tag, (kind, letter, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            place, behind = end + len(behind), behind + packed
            packed = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", starts[-1])
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    path.write_bytes(head + b"".join(strips) + directory + behind)
    return str(path)


def folder_of(tmp_path, write):
    """ROOT/a and ROOT/b with ten files each, which `write(path without ending, number, class)` makes."""
    for label, name in enumerate("ab"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            write(tmp_path / "set" / name / f"{number}", number, label)
    return str(tmp_path / "set")


def load(root, **options):
    return ImageFolder(root=root, **options).load()


def whole(data):
    """All images of a data set."""
    return torch.cat([split.images for split in (data.train, data.val, data.test)])


# Eight bits


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
        ("LAB", (128, 128, 128), (119, 119, 119)),  # L* = 50.2: sRGB 0.466
    ],
)
def test_each_mode_of_eight_bits_becomes_rgb(mode, pixel, expected, tmp_path):
    path = save(tmp_path / "x.tif", Image.new(mode, (2, 3), pixel))
    found = Decoder()(path)
    assert found.shape == (3, 2, 3) and found.dtype == np.uint8 and abs(found.astype(int) - expected).max() <= 1


def test_a_cmyk_jpeg_of_adobe_is_not_inverted(tmp_path):
    """Photoshop stores CMYK inverted; Pillow writes and reads such files, marked by Adobe's segment."""
    path = save(tmp_path / "x.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
    assert b"Adobe" in (tmp_path / "x.jpg").read_bytes()
    assert abs(Decoder()(path).astype(int) - (255, 0, 0)).max() <= 3  # JPEG's rounding


def test_the_palette_and_its_transparent_colour_are_followed(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((1, 0), 1)
    opaque = save(tmp_path / "opaque.png", image)
    assert Decoder()(opaque).tolist() == [[[0, 0, 0], [200, 100, 50]]]
    half = save(tmp_path / "half.gif", image, transparency=0)
    assert Decoder()(half).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def with_tag(path, tag, before, after):
    """Change a short value in the head of a little-endian TIFF."""
    entry = struct.pack("<HHIHH", tag, 3, 1, before, 0)
    with open(path, "rb") as file:
        raw = file.read()
    assert raw.count(entry) == 1
    with open(path, "wb") as file:
        file.write(raw.replace(entry, struct.pack("<HHIHH", tag, 3, 1, after, 0)))
    return str(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "PA"])
@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 40), (51, 212)])  # 51 / 255 of 40 and the rest of 255
def test_alpha_is_put_on_white(mode, alpha, expected, tmp_path):
    grey = Image.new("L", (2, 2), 40 * alpha // 255 if mode == "La" else 40)
    image = grey.convert("P") if mode == "PA" else grey.convert("RGB") if mode == "RGBA" else grey
    image.putalpha(Image.new("L", (2, 2), alpha))
    path = save(tmp_path / "x.tif", image)
    if mode == "La":
        with_tag(path, 338, 2, 1)  # ExtraSamples: its colours are multiplied by alpha
    with Image.open(path) as found:
        assert found.mode == mode
    assert abs(Decoder()(path).astype(int) - expected).max() <= 1


def test_black_icons_on_transparent_ground_differ_and_are_noted_once(tmp_path):
    def icon(path, number, label):
        image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
        image.paste((0, 0, 0, 255), (0, 0, 4, 8) if label else (0, 0, 8, 4))
        save(f"{path}.png", image)

    data = load(folder_of(tmp_path, icon))
    assert data.input_shape == (1, 8, 8) and set(data.train.images.unique().tolist()) == {0, WHITE_GROUND}
    tall = data.train.images[data.train.targets[:, 1] == 1]
    assert (tall[..., :4] == 0).all() and (tall[..., 4:] == WHITE_GROUND).all()
    assert [note for note in data.notes if "transparent" in note] == [
        "20 of 20 images are transparent in part: they are put on white"
    ]


def test_an_opaque_alpha_channel_needs_no_note(tmp_path):
    data = load(
        folder_of(
            tmp_path, lambda path, number, label: save(f"{path}.png", Image.new("RGBA", (4, 4), (number, 9, 9, 255)))
        )
    )
    assert not any("transparent" in note for note in data.notes) and data.train.images[:, 1].eq(9).all()


# More than eight bits

TWELVE = np.arange(16).reshape(2, 8) * 273  # 0 to 4,095


def scaled(values, low, high):
    return np.rint((np.asarray(values, float) - low) * 255 / (high - low)).astype(int)


WRITERS = {
    "png": lambda path, values: save(f"{path}.png", values.astype(np.uint16)),
    "tiff": lambda path, values: save(f"{path}.tif", values.astype(np.uint16)),
    "big-endian tiff": lambda path, values: save(
        f"{path}.tif", Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())
    ),
    "int32 tiff": lambda path, values: save(f"{path}.tif", values.astype(np.int32)),
    "float tiff": lambda path, values: save(f"{path}.tif", values.astype(np.float32)),
    "signed int16 tiff": lambda path, values: int16_tiff(f"{path}.tif", values),
    "deflated tiff": lambda path, values: save(f"{path}.tif", values.astype(np.uint16), compression="tiff_deflate"),
    "pgm": lambda path, values: pnm(f"{path}.pgm", b"P5", values),
    "rgb png": lambda path, values: png16(path.with_suffix(".png"), np.stack([values] * 3, 2)),
    "grey and alpha png": lambda path, values: png16(
        path.with_suffix(".png"), np.stack([values, np.full_like(values, 65535)], 2)
    ),
    "rgba png": lambda path, values: png16(
        path.with_suffix(".png"), np.stack([values] * 3 + [np.full_like(values, 65535)], 2)
    ),
    "rgb tiff": lambda path, values: tiff16(path.with_suffix(".tif"), np.stack([values] * 3, 2), "<"),
    "big-endian rgb tiff": lambda path, values: tiff16(path.with_suffix(".tif"), np.stack([values] * 3, 2), ">"),
    "deflated rgb tiff": lambda path, values: tiff16(
        path.with_suffix(".tif"), np.stack([values] * 3, 2), "<", deflated=True
    ),
    "deflated big-endian rgb tiff": lambda path, values: tiff16(
        path.with_suffix(".tif"), np.stack([values] * 3, 2), ">", deflated=True
    ),
    "deflated rgba tiff": lambda path, values: tiff16(
        path.with_suffix(".tif"), np.stack([values] * 3 + [np.full_like(values, 65535)], 2), "<", extra=2, deflated=True
    ),
    "premultiplied tiff": lambda path, values: tiff16(
        path.with_suffix(".tif"), np.stack([values] * 3 + [np.full_like(values, 65535)], 2), ">", extra=1
    ),
    "cmyk tiff": lambda path, values: tiff16(
        path.with_suffix(".tif"), np.stack([0 * values] * 3 + [65535 - values], 2), "<", photometric=5
    ),
    "deflated cmyk tiff": lambda path, values: tiff16(
        path.with_suffix(".tif"), np.stack([65535 - values] * 3 + [0 * values], 2), ">", photometric=5, deflated=True
    ),
    "ppm": lambda path, values: pnm(f"{path}.ppm", b"P6", np.stack([values] * 3, 2)),
}


def pnm(path, magic, values):
    with open(path, "wb") as file:
        file.write(b"%s %d %d 65535\n" % (magic, values.shape[1], values.shape[0]) + values.astype(">u2").tobytes())


def int16_tiff(path, values):
    data = values.astype("<i2").tobytes()
    tags = {256: values.shape[1], 257: values.shape[0], 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: values.shape[0]}
    tags |= {279: len(data), 339: 2}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    with open(path, "wb") as file:
        file.write(b"II*\0" + struct.pack("<I", 8 + len(data)) + data)
        file.write(struct.pack("<H", len(tags)) + entries + bytes(4))


@pytest.mark.parametrize("kind", WRITERS)
def test_twelve_bits_in_a_deeper_file_keep_their_range_by_the_largest_value_of_all(kind, tmp_path):
    """One file has the largest value, 4,095; the others reach half of it and stay half as bright."""

    def write(path, number, label):
        WRITERS[kind](path, TWELVE if (number, label) == (3, 1) else TWELVE // 2)

    data = load(folder_of(tmp_path, write))
    images = whole(data)
    assert data.input_shape == (1, 2, 8)
    brightest = images[images.flatten(1).max(1).values == 255]
    assert len(brightest) == 1 and brightest[0, 0].tolist() == scaled(TWELVE, 0, 4095).tolist()
    others = images[images.flatten(1).max(1).values < 255]
    assert (others[:, 0] == torch.from_numpy(scaled(TWELVE // 2, 0, 4095))).all()
    assert [note for note in data.notes if "8 bits" in note] == [
        "20 of 20 images have more than 8 bits: the range of their values, 0 to 4095, is scaled to 0 to 255"
    ]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.array([[0.0, 0.25, 1.0]], np.float32), 0, 1),
        (np.array([[-1.0, 0.0, 3.0]], np.float32), -1, 3),
        (np.array([[-1000, 0, 3000]], np.int32), -1000, 3000),
        (np.array([[7, 2**31 - 1, 5]], np.int32), 0, 2**31 - 1),
        (np.array([[500.0, 750.0, 1000.0]], np.float32), 0, 1000),
    ],
)
def test_a_range_begins_at_zero_or_at_the_smallest_negative_value(values, low, high, tmp_path):
    data = load(folder_of(tmp_path, lambda path, number, label: save(f"{path}.tif", values)))
    assert data.train.images[0, 0].tolist() == scaled(values, low, high).tolist()


def test_an_unsigned_integer_of_32_bits_does_not_turn_negative(tmp_path):
    values = np.array([[0, 2**31, 2**32 - 1]], np.uint32)

    def write(path, number, label):
        with_tag(save(f"{path}.tif", values.view(np.int32)), 339, 2, 1)  # SampleFormat: unsigned

    assert load(folder_of(tmp_path, write)).train.images[0, 0].tolist() == [[0, 128, 255]]


def test_colours_multiplied_by_alpha_and_inks_are_colours_of_16_bits(tmp_path):
    half = np.array([[[1000, 2000, 500, 32768], [7, 0, 0, 0], [4000, 4000, 4000, 65535]]])
    picture = Decoder().picture(tiff16(tmp_path / "half.tif", half, "<", extra=1))
    assert picture.values.tolist() == [[[2000, 4000, 1000], [0, 0, 0], [4000, 4000, 4000]]]  # times 65535 / 32768
    assert picture.alpha.tolist() == [[128, 0, 255]]
    inks = np.array([[[0, 65535, 13107, 0], [0, 0, 0, 65535], [0, 13107, 32768, 52428]]])
    picture = Decoder().picture(tiff16(tmp_path / "inks.tif", inks, ">", photometric=5))
    # 0.2 of 65535 is 13107; with 0.8 of black a fifth of the light is left: 13107, 0.8 of it, 0.5 of it
    assert picture.values.tolist() == [[[65535, 0, 52428], [0, 0, 0], [13107, 10486, 6553]]]
    assert picture.alpha is None


def test_signed_bytes_are_not_read_as_bright_ones(tmp_path):
    values = np.array([[-128, 0, 127]], np.int8)
    root = folder_of(tmp_path, lambda path, number, label: tiff(f"{path}.tif", values.view(np.uint8), tag339=2))
    assert load(root).train.images[0, 0].tolist() == [[0, 128, 255]]


def test_all_splits_and_all_ways_to_read_share_one_scale(tmp_path):
    """The largest value is in the test split; training images are as dark as it says."""
    for split, top in (("train", 1000), ("val", 2000), ("test", 4000)):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(3):
                save(tmp_path / split / name / f"{number}.png", np.array([[0, top]], np.uint16))
    for _ in range(2):  # decoded, and from the cache
        for cache in ("auto", "none"):
            data = load(str(tmp_path), cache=cache)
            found = [split.sample()[0, 0].tolist() for split in (data.train, data.val, data.test)]
            assert found == [[[0, 64]], [[0, 128]], [[0, 255]]]
            assert any("0 to 4000" in note for note in data.notes)


def test_the_transparent_value_of_a_deep_png_is_white(tmp_path):
    grey = png16(tmp_path / "grey.png", np.array([[[5], [4000]]]), transparent=[5])
    colour = png16(tmp_path / "colour.png", np.array([[[5, 6, 7], [4000, 0, 0]]]), transparent=[5, 6, 7])
    decoder = Decoder(levels={"uint16": (0, 4000)})
    assert decoder(grey).tolist() == [[[255] * 3, [255] * 3]] and decoder.picture(grey).transparent
    assert decoder(colour).tolist() == [[[255] * 3, [255, 0, 0]]]


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: save(path, np.array([[0.0, np.nan]], np.float32)), r"mode F: it has pixels that are not finite"),
        (lambda path: save(path, np.array([[0.0, np.inf]], np.float32)), r"mode F: it has pixels that are not finite"),
        (lambda path: tiff(path, np.array([[1, 2]], np.uint16), tag262=0), r"mode I;16: 0 is white in this file"),
        (lambda path: tiff16(path, np.ones((2, 2, 3)), "<", planes=True), "mode RGB: channels of 16 bits in planes"),
        (
            lambda path: tiff16(path, np.ones((2, 2, 3)), ">", planes=True, deflated=True),
            "mode RGB: channels of 16 bits in planes",
        ),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_file_and_mode(write, why, tmp_path):
    root = folder_of(tmp_path, lambda path, number, label: save(f"{path}.tif", np.array([[0, 9]], np.uint8)))
    write(tmp_path / "set" / "b" / "4.tif")
    with pytest.raises(DataError, match=rf"b/4.tif: not a readable image \({why}.*data.on_error=skip"):
        load(root)


# Frames, orientation, damage, formats


@pytest.mark.parametrize("ending", ["gif", "png", "tif", "webp"])
def test_the_first_frame_counts_and_a_note_says_so(ending, tmp_path):
    def write(path, number, label):
        frames = [Image.new("RGB", (4, 4), colour) for colour in ((250, 0, 0), (0, 0, 250))]
        frames[0].save(
            f"{path}.{ending}",
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if ending == "webp" else {}),
        )

    data = load(folder_of(tmp_path, write))
    assert (data.train.images == torch.tensor([250, 0, 0]).view(3, 1, 1)).all()
    assert "20 of 20 files hold several frames or pages: the first one is read" in data.notes


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_images_stand_upright(ending, orientation, tmp_path):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # as stored: white on the left
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"x.{ending}", pixels, exif=exif)
    found = Decoder()(path)
    expected = np.rot90(pixels, {3: 2, 6: -1, 8: 1}[orientation])
    assert found.shape == expected.shape and abs(found.astype(int) - expected).max() <= 3


def test_a_deep_colour_tiff_stands_upright_as_well(tmp_path):
    samples = np.zeros((2, 3, 3), np.uint16)
    samples[0, 0] = (4000, 2000, 1000)
    path = tiff16(tmp_path / "x.tif", samples, "<")
    raw = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(
        raw.replace(struct.pack("<HHIHH", 284, 3, 1, 1, 0), struct.pack("<HHIHH", 274, 3, 1, 6, 0))
    )
    assert Decoder().picture(path).values[0, 1].tolist() == [4000, 2000, 1000]  # a quarter to the right


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "jp2"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_truncated_and_empty_files_are_refused(ending, kept, tmp_path):
    root = folder_of(tmp_path, lambda path, number, label: save(f"{path}.bmp", np.full((40, 40), number, np.uint8)))
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = tmp_path / "set" / "a" / f"x.{ending}"
    save(path, noise)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    why = "the file is empty" if kept == 0 else ".+"
    with pytest.raises(DataError, match=rf"a/x.{ending}: not a readable image \({why}\)"):
        load(root)


def test_an_image_that_claims_too_many_pixels_is_refused(tmp_path):
    """A PNG of a few bytes whose head says 100,000 x 100,000."""
    root = folder_of(tmp_path, lambda path, number, label: save(f"{path}.png", np.full((4, 4), number, np.uint8)))
    path = tmp_path / "set" / "a" / "0.png"
    raw = bytearray(path.read_bytes())
    raw[16:24] = struct.pack(">II", 100_000, 100_000)
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a/0.png: not a readable image \(it claims to have more pixels"):
        load(root)


def test_no_program_is_started_for_postscript_under_the_name_of_a_png(tmp_path):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    root = folder_of(tmp_path, lambda path, number, label: save(f"{path}.png", np.full((4, 4), number, np.uint8)))
    (tmp_path / "set" / "a" / "0.png").write_bytes(postscript)
    with Image.open(io.BytesIO(postscript)) as image:
        assert image.format == "EPS"  # what Pillow takes it for without a list of formats
    with pytest.raises(DataError, match=r"a/0.png: not a readable image \(no format of images that is known\)"):
        load(root)


def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path):
    save(tmp_path / "x.png", Image.new("RGB", (3, 3), (9, 8, 7)), format="BMP")
    assert (Decoder()(str(tmp_path / "x.png")) == (9, 8, 7)).all()


# Size


@pytest.mark.parametrize("shape", [(10, 24), (24, 10), (7, 13), (13, 8), (9, 9), (480, 640)])
@pytest.mark.parametrize("size", [4, 16])
def test_crop_is_torchvisions_resize_and_center_crop(shape, size, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    expected = Compose([Resize(size), CenterCrop(size)])(image)
    assert np.array_equal(Decoder(size, "crop")(save(tmp_path / "x.png", image)), np.asarray(expected))


def stripes(width, height):
    """Columns, or rows, whose value is their number times ten."""
    line = np.arange(max(width, height), dtype=np.uint8) * 10
    return np.tile(line, (height, 1)) if width > height else np.tile(line[:, None], (1, width))


@pytest.mark.parametrize("lying", [True, False])
def test_the_three_ways_to_a_square_by_hand(lying, tmp_path):
    pixels = stripes(8, 4) if lying else stripes(4, 8)
    path = save(tmp_path / "x.png", pixels)

    def found(size, fit):
        square = Decoder(size, fit)(path)[:, :, 0]
        return (square if lying else square.T).tolist()

    assert found(4, "crop") == [[20, 30, 40, 50]] * 4
    padded = np.asarray(found(8, "pad"))
    assert padded[[0, 1, 6, 7]].max() == 0 and padded[2:6].tolist() == stripes(8, 4).tolist()
    assert (
        found(4, "squash")
        == np.asarray(Image.fromarray(stripes(8, 4)).resize((4, 4), Image.Resampling.BILINEAR)).tolist()
    )


def test_a_line_of_pixels_is_cropped_without_filling_the_memory(tmp_path, monkeypatch):
    line, made, resize = np.zeros((1, 60_000), np.uint8), [], Image.Image.resize
    line[0, 29_990:30_010] = 200

    def watched(image, size, *arguments):
        made.append(size[0] * size[1])
        return resize(image, size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", watched)
    assert (Decoder(8)(save(tmp_path / "x.png", line)) == 200).all()
    assert made == [20 * 8 * 8]  # the whole would be 8 x 480,000 pixels


def test_the_choice_is_printed_where_images_are_not_square(tmp_path):
    def write(path, number, label):
        save(f"{path}.png", np.full((8, 8 if label else 12), number, np.uint8))

    root = folder_of(tmp_path, write)
    for fit, how, others in (
        ("crop", "their short side is resized to 4 pixels and the middle is kept", "pad, squash"),
        ("pad", "their long side is resized to 4 pixels and black is added", "crop, squash"),
        ("squash", "they are squashed to 4x4 pixels", "crop, pad"),
    ):
        for _ in range(2):  # decoded, and from the cache
            notes = load(root, size=4, fit=fit).notes
            assert f"data.size=4: 10 of 20 images are not square: {how} (data.fit={fit}; or {others})" in notes
    assert (
        "data.fit=pad: has no effect without data.size=N"
        in load(
            folder_of(
                tmp_path / "b", lambda path, number, label: save(f"{path}.png", np.full((8, 8), number, np.uint8))
            ),
            fit="pad",
        ).notes
    )


def test_fit_is_crop_pad_or_squash(root):
    with pytest.raises(ValueError, match="fit must be one of crop, pad, squash, got stretch"):
        load(str(root), size=4, fit="stretch")
