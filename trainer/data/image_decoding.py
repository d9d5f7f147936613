"""Decoding of image files by Pillow: any mode and depth as 8-bit RGB with its range intact, or an error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.image_depth import deep_colours, deep_picture, wide_colours, wide_kind
from trainer.data.image_formats import opened

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_ASPECT = 20  # sides beyond it are cut before a crop, which would not see them


@dataclass(frozen=True)
class Picture:
    """Decoded image file, upright.

    Args:
        image: 8-bit RGB on white; None where `values` are there.
        values: (H, W) or (H, W, 3), those of a file of more than 8 bits a channel.
        alpha: (H, W) uint8 of such a file, 0 where it is transparent; None where it is opaque.
        transparent: whether any pixel is transparent.
        several: whether the file holds more frames or pages than the one decoded, its first.
        square: whether height and width are equal in the file.
    """

    image: "Image | None"
    values: np.ndarray | None = None
    alpha: np.ndarray | None = None
    transparent: bool = False
    several: bool = False
    square: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.size if self.values is None else self.values.shape[1::-1]


@dataclass(frozen=True)
class Decoder:
    """Turns image files into pixels (H, W, 3) uint8.

    Args:
        size: height and width of all; None for that of each file.
        fit: how an image that is not square gets them: crop (its middle), pad (with black) or squash.
        levels: values of more than 8 bits that become 0 and 255, by data type: the same for all files of a data set.
    """

    size: int | None = None
    fit: str = "crop"
    levels: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, path: str) -> np.ndarray:
        """Return the pixels of a file. Errors: ValueError or OSError, which say why it cannot be decoded."""
        return self.pixels(self.picture(path))

    def picture(self, path: str) -> Picture:
        """Return a file as it is before it is scaled and resized. Errors: as above.

        A JPEG of more than twice `size` is shrunk by powers of two while it is decoded, several times faster.
        """
        return read_picture(path, None if self.size is None else 2 * self.size)

    def pixels(self, picture: Picture) -> np.ndarray:
        """Return the pixels of a picture."""
        image = picture.image if picture.values is None else scaled(picture, self.levels)
        return np.asarray(image if self.size is None else resized(image, self.size, self.fit))


def read_picture(path: str, smallest: int | None = None) -> Picture:
    """Decode a file; a JPEG may come smaller, with no side below `smallest`. Errors: ValueError or OSError."""
    from PIL import ImageOps, UnidentifiedImageError
    from PIL.Image import DecompressionBombError

    try:
        with opened(path) as image:
            size, mode = image.size, image.mode
            if not all(size):
                raise ValueError("it has no pixels")
            several = image.format != "MPO" and getattr(image, "is_animated", False)  # a phone's MPO holds a preview
            try:
                kind, colours = wide_kind(image), wide_colours(path, image)
                if colours is not None:
                    picture = deep_colours(colours, image.info.get("transparency"))
                else:
                    if smallest is not None:
                        image.draft(None, (smallest, smallest))
                    picture = fields_of(ImageOps.exif_transpose(image), kind)
            except (OSError, MemoryError, DecompressionBombError):
                raise
            except Exception as error:  # Pillow raises many kinds, by format
                raise ValueError(f"mode {mode}: {error}") from error
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        raise ValueError("the file is empty" if empty else "no format of images that is known") from None
    except DecompressionBombError:
        raise ValueError("it claims to have more pixels than Pillow's limit") from None
    return Picture(**picture, several=several, square=size[0] == size[1])


def picture_of(image: "Image") -> Picture:
    """Return an image of Pillow as its file is decoded, but for the lower bits of 16-bit colours, which Pillow drops.

    Errors: ValueError or OSError.
    """
    from PIL import ImageOps

    kind = wide_kind(image)
    return Picture(**fields_of(ImageOps.exif_transpose(image), kind))


def fields_of(upright: "Image", kind: str | None) -> dict:
    """Return the fields of a picture, of an image whose one channel has the type `kind`, or of one of 8 bits."""
    return deep_picture(upright, kind) if kind else flat_picture(upright)


def flat_picture(image: "Image") -> dict:
    """Return the fields of a picture of 8 bits a channel."""
    if not image.has_transparency_data:
        return {"image": image.convert("RGB")}
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    transparent = image.getchannel("A").getextrema()[0] < 255
    return {"image": on_white(image), "transparent": transparent}


def on_white(image: "Image") -> "Image":
    """Return an RGBA image on a white ground."""
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def scaled(picture: Picture, levels: Mapping[str, tuple[float, float]]) -> "Image":
    """Return a picture of more than 8 bits as RGB: the levels of its type become 0 and 255."""
    from PIL import Image

    low, high = levels[picture.values.dtype.name]
    bytes_ = np.rint((picture.values.astype(np.float64) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(bytes_).convert("RGB")
    if picture.alpha is None:
        return image
    image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    return on_white(image)


def resized(image: "Image", size: int, fit: str) -> "Image":
    """Return an image of (size, size) pixels.

    crop: the short side becomes `size`, and the middle of the long one is kept, as torchvision's Resize and CenterCrop.
    """
    from PIL import Image, ImageOps

    width, height = image.size
    if width == height or fit == "squash":
        return image.resize((size, size), Image.Resampling.BILINEAR)
    if fit == "pad":
        return ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR, "black")
    short = min(width, height)
    if max(width, height) > LARGEST_ASPECT * short:  # the whole would be too large once it is resized
        image = middle(image, min(width, LARGEST_ASPECT * short), min(height, LARGEST_ASPECT * short))
        width, height = image.size
    whole = image.resize((size * width // short, size * height // short), Image.Resampling.BILINEAR)
    return middle(whole, size, size)


def middle(image: "Image", width: int, height: int) -> "Image":
    """Return the middle of an image."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
