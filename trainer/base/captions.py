"""Text in pictures that Pillow draws: matplotlib takes 0.3 s to import, and as long to draw a few images."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def caption_font(size: int):
    """Return matplotlib's own font, which has Greek and Cyrillic letters, in a size in pixels."""
    from PIL import ImageFont

    package = Path(find_spec("matplotlib").origin).parent
    return ImageFont.truetype(package / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def shortened(text: str, font, width: int) -> str:
    """Return a text that is at most so many pixels wide, with an ellipsis where it was cut."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}\u2026") > width:
        text = text[:-1]
    return f"{text}\u2026"


def cut_in_the_middle(text: str, font, width: int) -> str:
    """Return a text that is at most so many pixels wide; names that begin alike still differ at their ends."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 1 and font.getlength(short := f"{text[: -(-kept // 2)]}\u2026{text[len(text) - kept // 2 :]}") > width:
        kept -= 1
    return short


def wrapped(text: str, font, width: int) -> list[str]:
    """Return a text in lines of at most so many pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [shortened(line, font, width) for line in lines]
