"""Images of more than 8 bits a channel, with all of their bits: Pillow keeps the upper 8 of 16 in colour."""

from typing import TYPE_CHECKING

import numpy as np

from trainer.data.image_formats import opened

if TYPE_CHECKING:
    from PIL.Image import Image

OTHER_BYTE = {  # of 16-bit samples Pillow unpacks the upper byte; this raw mode unpacks the lower one
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGBX;16B": "RGBX;16L",
    "RGBX;16L": "RGBX;16B",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "LA;16B": "RGBA",  # four bytes a pixel: both bytes of the grey value, both of alpha
}
WHITE_IS_ZERO, SIGNED = 0, 2  # values of TIFF's tags PhotometricInterpretation and SampleFormat


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
    """Return 16-bit samples in colour or with alpha, (H, W, channels), upright; None for other images."""
    tiles = image.tile
    if image.mode == "RGB" and tiles and tiles[0].codec_name == "ppm" and tiles[0].args[1] == 65535:
        samples = np.fromfile(path, ">u2", image.width * image.height * 3, offset=tiles[0].offset)
        return samples.astype(np.uint16).reshape(image.height, image.width, 3)
    raw_modes = {raw_mode(tile) for tile in tiles}
    if not raw_modes or not raw_modes <= OTHER_BYTE.keys():
        return None
    upper, lower = (unpacked(path, swap).astype(np.uint16) for swap in (False, True))
    if "LA;16B" in raw_modes:
        return lower[:, :, ::2] * 256 + lower[:, :, 1::2]
    return upper * 256 + lower


def unpacked(path: str, lower: bool) -> np.ndarray:
    """Return one byte of each 16-bit sample, (H, W, channels), upright: the upper one, or the lower one."""
    from PIL import ImageOps

    with opened(path) as image:
        for place, tile in enumerate(image.tile if lower else ()):
            other = OTHER_BYTE[raw_mode(tile)]
            image.tile[place] = tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))
        return np.asarray(ImageOps.exif_transpose(image))


def raw_mode(tile: tuple) -> str | None:
    """Return how the samples of a part of a file are laid out, as Pillow names it."""
    arguments = tile.args or (None,)
    return arguments if isinstance(arguments, str) else arguments[0]


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
