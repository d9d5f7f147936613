"""Images of more than 8 bits a channel, with all of their bits: Pillow keeps the upper 8 of 16 in colour."""

import re
import sys
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.image_formats import opened

if TYPE_CHECKING:
    from PIL.Image import Image

WIDE = re.compile(r"(RGB|RGBX|RGBA|RGBa|CMYK);16([BLN])")  # raw modes of which Pillow unpacks the upper bytes alone
NATIVE = "L" if sys.byteorder == "little" else "B"  # N, as libtiff gives the samples of compressed files
GREY_ALPHA = "LA;16B"
# Values of TIFF's tags PhotometricInterpretation, SampleFormat and PlanarConfiguration.
WHITE_IS_ZERO, SIGNED, IN_PLANES = 0, 2, 2


def wide_kind(image: "Image") -> str | None:
    """Return the data type of samples that 8 bits do not hold, of an image with one channel; else None.

    Errors: ValueError for a TIFF of such samples whose 0 is white, which Pillow does not invert.
    """
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    signed = SIGNED in tags.get(339, ())
    if image.mode == "L" and signed:
        return "int8"
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    if tags.get(262) == WHITE_IS_ZERO:
        raise ValueError("0 is white in this file, which is not read")
    if image.mode == "I":
        return "uint32" if tags.get(258) == (32,) and not signed else "int32"
    return "float32" if image.mode == "F" else "uint16"


def wide_colours(path: str, image: "Image") -> np.ndarray | None:
    """Return 16-bit samples in colour or with alpha, (H, W, channels), upright; None for other images.

    Errors: ValueError for a TIFF with planes of more than 8 bits, which Pillow decodes as if they had 8.
    """
    tiles, tags = image.tile, getattr(image, "tag_v2", {})
    if image.mode == "RGB" and tiles and tiles[0].codec_name == "ppm" and tiles[0].args[1] == 65535:
        samples = np.fromfile(path, ">u2", image.width * image.height * 3, offset=tiles[0].offset)
        return samples.astype(np.uint16).reshape(image.height, image.width, 3)
    if tags.get(284) == IN_PLANES and len(tags.get(258, ())) > 1 and max(tags[258]) > 8:
        raise ValueError(f"channels of {max(tags[258])} bits in planes of their own, which are not read")
    modes = {raw_mode(tile) for tile in tiles}
    if not modes or not all(mode == GREY_ALPHA or WIDE.fullmatch(mode) for mode in modes):
        return None
    upper, lower = (unpacked(path, place).astype(np.uint16) for place in (0, 1))
    if GREY_ALPHA in modes:
        return lower[:, :, ::2] * 256 + lower[:, :, 1::2]
    samples = upper * 256 + lower
    (kind,) = {mode.partition(";")[0] for mode in modes}
    if kind == "CMYK":
        return without_ink(samples)
    return divided_by_alpha(samples) if kind == "RGBa" else samples


def unpacked(path: str, place: int) -> np.ndarray:
    """Return one byte of each 16-bit sample, (H, W, channels), upright: the upper one (0), or the lower one (1)."""
    from PIL import ImageOps

    with opened(path) as image:
        for number, tile in enumerate(image.tile):
            mode = raw_modes(raw_mode(tile))[place]
            image.tile[number] = tile._replace(args=mode if isinstance(tile.args, str) else (mode, *tile.args[1:]))
        return np.asarray(ImageOps.exif_transpose(image))


def raw_modes(mode: str) -> tuple[str, str]:
    """Return the raw modes with which Pillow unpacks the upper and the lower byte of each sample."""
    if mode == GREY_ALPHA:
        return mode, "RGBA"  # four bytes a pixel: both bytes of the grey value, both of alpha
    kind, order = WIDE.fullmatch(mode).groups()
    order, kind = order.replace("N", NATIVE), kind.replace("a", "A")  # RGBa is divided by alpha, byte by byte
    return f"{kind};16{order}", f"{kind};16{'L' if order == 'B' else 'B'}"


def without_ink(samples: np.ndarray) -> np.ndarray:
    """Return the colours (H, W, 3) of samples in CMYK (H, W, 4): (1 - ink) (1 - black) as Pillow has it."""
    light = (65535 - samples).astype(np.float64)
    return np.rint(light[:, :, :3] * light[:, :, 3:] / 65535).astype(np.uint16)


def divided_by_alpha(samples: np.ndarray) -> np.ndarray:
    """Return samples in RGBA (H, W, 4) whose colours were multiplied by alpha; those of transparent pixels are 0."""
    colours, alpha = samples[:, :, :3].astype(np.float64), samples[:, :, 3:]
    divided = np.rint(colours * 65535 / np.maximum(alpha, 1)).clip(0, 65535)
    return np.concatenate([np.where(alpha > 0, divided, 0).astype(np.uint16), alpha], axis=2)


def raw_mode(tile: tuple) -> str:
    """Return how the samples of a part of a file are laid out, as Pillow names it; empty where it has no name."""
    mode = tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0]
    return mode if isinstance(mode, str) else ""


def deep_picture(image: "Image", kind: str) -> dict:
    """Return the fields of a picture with one channel of type `kind`. Errors: ValueError for values not finite."""
    values, key = np.asarray(image), image.info.get("transparency")
    values = values.view(kind) if kind in ("int8", "uint32") else values.astype(kind)
    if not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite (NaN or Inf)")
    if isinstance(key, int):  # the value that a PNG names as transparent
        return deep_fields(values, np.where(values == key, 0, 255).astype(np.uint8))
    return deep_fields(values, None)


def deep_fields(values: np.ndarray, alpha: np.ndarray | None) -> dict:
    """Return the fields of a picture of more than 8 bits."""
    transparent = alpha is not None and bool((alpha < 255).any())
    return {"image": None, "values": values, "alpha": alpha if transparent else None, "transparent": transparent}


def deep_colours(samples: np.ndarray, key: tuple[int, ...] | None) -> dict:
    """Return the fields of a picture of 16-bit samples (H, W, channels), of which an even number has alpha.

    Args:
        key: the colour that a PNG names as transparent.
    """
    if samples.shape[2] % 2 == 0:
        values, alpha = samples[:, :, :-1], (samples[:, :, -1] >> 8).astype(np.uint8)
        return deep_fields(values[:, :, 0] if values.shape[2] == 1 else values, alpha)
    if isinstance(key, tuple):
        return deep_fields(samples, np.where((samples == key).all(2), 0, 255).astype(np.uint8))
    return deep_fields(samples, None)
