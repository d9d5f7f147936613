"""Images in rows, each above lines of text, below a title, as PNG."""

import io
import math
from collections.abc import Sequence

import numpy as np

from trainer.base.captions import caption_font, cut_in_the_middle, wrapped
from trainer.base.text import in_one_line

COLUMNS, WIDEST = 6, 1100  # images in a row; pixels: width of the picture where captions are long
SMALLEST, LARGEST, ROOM = (
    128,
    192,
    220,
)  # pixels: width that an image is enlarged to at least, reduced to at most; of a caption at most
GAP, LINE, SIZE, SPACE = 8, 17, 13, 6  # pixels: between images, height of a line, of its letters, between its texts
TITLE, SUBTITLE = 15, 13  # pixels: size of the letters
APART = 24  # pixels: more space between images that belong to different samples
COLORS = {"right": "#1a7f37", "wrong": "#c4291c", "plain": "black"}

Caption = Sequence[tuple[str, str, str]]  # lines: text at the left, which may be cut, text at the right, colour


def draw(
    images: Sequence[np.ndarray], captions: Sequence[Caption], title: str, subtitle: str, together: int = 1
) -> bytes:
    """Return images (H, W, 3), uint8, six in a row, as PNG. Small ones are enlarged, their pixels stay squares.

    Args:
        together: images in a row that belong to one sample.
    """
    from PIL import Image, ImageDraw

    pictures, font = [sized(Image.fromarray(image)) for image in images], caption_font(SIZE)
    (width, height), room = pictures[0].size, longest(captions, font)
    width = max(width, min(room, ROOM))
    samples = max(1, min(COLUMNS, len(pictures), WIDEST // (width + GAP)) // together)  # in a row
    columns, apart = samples * together, APART * (together > 1)
    step_x, step_y = width + GAP, height + max(map(len, captions)) * LINE + GAP
    total = max(columns * step_x + (samples - 1) * apart + GAP, 3 * LARGEST)
    head = [(line, TITLE) for line in wrapped(in_one_line(title), caption_font(TITLE), total - 2 * GAP)]
    head += [(line, SUBTITLE) for line in wrapped(in_one_line(subtitle), caption_font(SUBTITLE), total - 2 * GAP)]
    top = GAP + sum(size + 6 for _, size in head) + GAP
    sheet = Image.new("RGB", (total, top + -(-len(pictures) // columns) * step_y), "white")
    pen, y = ImageDraw.Draw(sheet), GAP
    for line, size in head:
        pen.text((GAP, y), line, "black", caption_font(size))
        y += size + 6
    for place, (picture, caption) in enumerate(zip(pictures, captions)):
        column = place % columns
        x, y = GAP + column * step_x + column // together * apart, top + place // columns * step_y
        sheet.paste(picture, (x, y))
        for number, (left, right, color) in enumerate(caption):
            room, line = width - font.getlength(right), y + height + 1 + number * LINE
            pen.text((x, line), cut_in_the_middle(in_one_line(left), font, room - SPACE), COLORS[color], font)
            pen.text((x + room, line), right, COLORS[color], font)
    png = io.BytesIO()
    sheet.save(png, "PNG", compress_level=3)
    return png.getvalue()


def longest(captions: Sequence[Caption], font) -> int:
    """Return the pixels that the longest line takes."""
    lines = ((in_one_line(left), right) for caption in captions for left, right, _ in caption)
    return max(math.ceil(font.getlength(left) + font.getlength(right)) for left, right in lines) + SPACE


def sized(picture):
    """Return a picture that is as wide as a caption needs, and no larger than can be seen at once."""
    from PIL import Image

    width, height = picture.size
    if width < SMALLEST and height < LARGEST:
        factor = min(-(-SMALLEST // width), max(1, 2 * LARGEST // height))
        return picture.resize((factor * width, factor * height), Image.Resampling.NEAREST)
    scale = min(1.0, LARGEST / max(width, height))
    return picture.resize((max(1, round(scale * width)), max(1, round(scale * height))), Image.Resampling.LANCZOS)
