"""Small pictures of a fit, drawn in a few milliseconds for TensorBoard, and their animation fit.gif."""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from trainer.base.atomic import atomic_write
from trainer.base.captions import caption_font, shortened
from trainer.rundir.event_file import files_in, texts_and_images
from trainer.rundir.fit_map import COLORS, FitMap, as_rgb, class_colors, colors_of_map, colors_of_values

TAG = "fit"  # of the pictures in TensorBoard
FRAMES = 40  # of the animation at most
EACH, LATER = 7, 1.15  # evaluations that are drawn: the first, and how much later each other one is
MILLISECONDS, LAST = 120, 2000  # of a frame, and of the last one
WIDTH, HEIGHT, TOP, BOTTOM, SIDE = 360, 380, 36, 34, 10  # pixels: picture, and margins of the box in it
LETTER = 11
SHADES = 16  # of a class's colour
SHARP = 2  # times as large as it is shown: what is drawn before it is reduced
POINTS = 500  # samples of a split
TINT = {"train": "#1f77b4", "val": "#ff7f0e"}
CURVES = ("#d62728", "#2ca02c", "#9467bd", "#8c564b")


class FrameDrawer:
    """Drawer of pictures of one fit, which differ in their predictions.

    Args:
        found: samples, names and grid; its predictions are not drawn.
        title: of the run.
    """

    def __init__(self, found: FitMap, title: str) -> None:
        self.found, self.limits = found, found.limits
        self.box = (SIDE, TOP, WIDTH - SIDE, HEIGHT - BOTTOM)
        self._samples = self._overlay(self._draw_samples)
        self._blank, self._palette = self._make_blank(title), self._make_palette()

    def draw(self, predictions: np.ndarray, caption: str) -> bytes:
        """Return the picture of predictions on the grid as PNG."""
        from PIL import Image, ImageDraw

        sheet, found = self._blank.copy(), self.found
        if len(found.features) == 2:
            colors = colors_of_map(predictions, found.classes, found.probabilities, self.limits)[::-1]
            plane = Image.fromarray((255 * colors).round().astype(np.uint8))
            sheet.paste(plane.resize(self._size, Image.Resampling.BICUBIC), self.box[:2])
            sheet.paste(self._samples, self.box[:2], self._samples)
        else:
            sheet.paste(self._samples, self.box[:2], self._samples)
            curves = self._overlay(lambda pen: self._draw_curves(pen, predictions))
            sheet.paste(curves, self.box[:2], curves)
        pen = ImageDraw.Draw(sheet)
        pen.rectangle(self.box, outline="#555555")
        pen.text((SIDE, 19), caption, "black", caption_font(LETTER))
        png = io.BytesIO()
        # Few colours: TensorBoard's checksum, in Python, would take longer than the drawing.
        sheet.quantize(palette=self._palette, dither=Image.Dither.NONE).save(png, "PNG", compress_level=1)
        return png.getvalue()

    def _make_palette(self):
        """Return the colours of all pictures: those of the plane in shades, of samples and curves, and greys."""
        from PIL import Image

        found = self.found
        if found.classes:
            full = class_colors(min(len(found.outputs), len(COLORS)))
            shades = 1 - np.linspace(0, 1, 1 + SHADES)[:, None, None] * (1 - full)
        elif len(found.features) == 2:
            shades = colors_of_values(np.linspace(0, 1, 5 * SHADES), (0.0, 1.0))
        else:
            full = np.stack([as_rgb(color) for color in (*TINT.values(), *CURVES)])
            shades = 1 - np.linspace(0, 1, 5)[:, None, None] * (1 - full)
        greys = np.repeat(np.linspace(0, 1, 6)[:, None], 3, 1)
        colors = np.concatenate([greys, shades.reshape(-1, 3)])
        palette = Image.new("P", (1, 1))
        palette.putpalette((255 * colors).round().astype(np.uint8).ravel().tolist())
        return palette

    @property
    def _size(self) -> tuple[int, int]:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def _overlay(self, draw):
        """Return a transparent picture of the box with smooth edges."""
        from PIL import Image, ImageDraw

        large = Image.new("RGBA", tuple(SHARP * side for side in self._size), (255, 255, 255, 0))
        draw(ImageDraw.Draw(large))
        return large.reduce(SHARP)

    def _make_blank(self, title: str):
        """Return the picture with its texts alone."""
        from PIL import Image, ImageDraw

        sheet, font, found = Image.new("RGB", (WIDTH, HEIGHT), "white"), caption_font(LETTER), self.found
        pen, room = ImageDraw.Draw(sheet), WIDTH - 2 * SIDE
        pen.text((SIDE, 3), shortened(title, font, room), "black", font)
        names = [*found.features, *([] if len(found.features) == 2 or found.classes else found.outputs[:1])]
        ends = [(values[0], values[-1]) for values in found.grid] + [self.limits]
        ranges = (f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in zip(names, ends))
        pen.text((SIDE, HEIGHT - 31), shortened(", ".join(ranges), font, room), "#555555", font)
        left = SIDE
        for name, color in self._legend():
            if left + font.getlength(name) > WIDTH - SIDE:
                break
            pen.text((left, HEIGHT - 16), name, color, font)
            left += font.getlength(name) + 12
        return sheet

    def _legend(self) -> Iterable[tuple[str, str]]:
        """Yield names with their colours."""
        found = self.found
        if found.classes:
            yield from zip(found.outputs, COLORS * (1 + len(found.outputs) // len(COLORS)))
            return
        yield from ((split, TINT[split]) for split in found.samples if len(found.features) == 1)
        if len(found.features) == 1:
            yield from zip(found.outputs if len(found.outputs) > 1 else ("fit",), CURVES)
        else:
            low, high = self.limits
            yield f"{found.outputs[0]}: {low:.3g} blue, {high:.3g} red; dots: samples", "#555555"

    def _place(self, x: np.ndarray, y: np.ndarray, low: float, high: float) -> np.ndarray:
        """Return where points lie in the large box, pixels (N, 2)."""
        width, height = (SHARP * side for side in self._size)
        start, end = self.found.grid[0][0], self.found.grid[0][-1]
        across = (x - start) / (end - start) * width
        down = (1 - (np.clip(np.nan_to_num(y, nan=low), 2 * low - high, 2 * high - low) - low) / (high - low)) * height
        return np.stack([across, down], 1)

    def _range(self) -> tuple[float, float]:
        """Return the ends of the vertical axis."""
        found = self.found
        if len(found.features) == 2:
            return float(found.grid[1][0]), float(found.grid[1][-1])
        return (-0.08 * (len(found.outputs) + 1), 1.05) if found.classes else self.limits

    def _draw_samples(self, pen) -> None:
        """Draw the samples as dots: in the plane, or at their targets over the feature."""
        found, low_high = self.found, self._range()
        for split, (inputs, targets) in found.samples.items():
            some = np.linspace(0, len(inputs) - 1, min(len(inputs), POINTS)).round().astype(int)
            inputs, targets = inputs[some], targets[some]
            if found.classes:
                colors = class_colors(len(found.outputs))[targets]
            elif len(found.features) == 2:
                colors = colors_of_values(targets[:, 0], self.limits)
            else:
                colors = None
            if len(found.features) == 2:
                self._dots(pen, self._place(inputs[:, 0], inputs[:, 1], *low_high), colors, split)
            elif found.classes:
                rows = -0.08 * (targets + 1.0)
                self._dots(pen, self._place(inputs[:, 0], rows, *low_high), colors, split)
            else:
                for place in range(min(len(found.outputs), len(CURVES))):
                    self._dots(pen, self._place(inputs[:, 0], targets[:, place], *low_high), None, split)

    def _dots(self, pen, places: np.ndarray, colors: np.ndarray | None, split: str) -> None:
        """Draw dots at places of the large box."""
        edge, radius = ("white" if self.found.classes else "#555555", 2 * SHARP + 1)
        if colors is None:
            edge, radius = None, SHARP + 1
        paint = [TINT[split]] * len(places) if colors is None else [*map(tuple, (255 * colors).round().astype(int))]
        for (x, y), color in zip(places.tolist(), paint):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), color, edge)

    def _draw_curves(self, pen, predictions: np.ndarray) -> None:
        """Draw the predictions over the feature: of each class, or of up to four values."""
        found, low_high = self.found, self._range()
        if found.classes and not found.probabilities:
            ends = float(np.nanmin(predictions)), float(np.nanmax(predictions))
            predictions = (predictions - ends[0]) / ((ends[1] - ends[0]) or 1.0)
        colors = COLORS * (1 + predictions.shape[1] // len(COLORS)) if found.classes else CURVES
        for place, color in zip(range(predictions.shape[1]), colors):
            points = self._place(found.grid[0], predictions[:, place], *low_high)
            pen.line([*map(tuple, points.tolist())], color, 2 * SHARP, joint="curve")


def is_frame(evaluation: int) -> bool:
    """Return whether an evaluation is drawn: each of the first seven, then those 15 % later than the one before.

    Of 40 evaluations about 20 are drawn, of 400 36, of 4,000 53: a fit changes most at first. The rule needs no
    memory, so that a resumed run draws the same.
    """
    if evaluation <= EACH:
        return True
    number, before = (math.floor(math.log(count) / math.log(LATER)) for count in (evaluation, evaluation - 1))
    return number > before


def frames_in(folder: Path) -> list[tuple[int, bytes]]:
    """Return the step and the PNG of each picture of a fit in TensorBoard's files of a folder, in order."""
    values = ((event.step, value) for event in texts_and_images(files_in(folder)) for value in event.summary.value)
    found = {step: value.image.encoded_image_string for step, value in values if value.tag == TAG}
    return sorted(found.items())


def chosen(frames: Sequence[tuple[int, bytes]]) -> list[bytes]:
    """Return the pictures of an animation, of many 40, the first and the last among them."""
    places = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).round().astype(int)
    return [frames[place][1] for place in places]


def write_gif(frames: Sequence[tuple[int, bytes]], path: Path) -> None:
    """Write the pictures, which share their colours, as an animation that repeats. Errors: OSError."""
    from PIL import Image

    pictures = [Image.open(io.BytesIO(png), formats=["PNG"]) for png in chosen(frames)]
    gif, times = io.BytesIO(), [MILLISECONDS] * (len(pictures) - 1) + [LAST]
    pictures[0].save(gif, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=False)
    atomic_write(path, gif.getvalue())
