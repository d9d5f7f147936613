"""Picture of the first batch, for TensorBoard: shuffled, augmented and blended as the network sees it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainer.base.captions import caption_font, shortened
from trainer.base.device import out_of_memory
from trainer.engine.image_grid import colors, label
from trainer.engine.order import order_of
from trainer.engine.run import Run
from trainer.engine.transforms import Transforms

SHOWN, COLUMNS = 16, 4  # images: as many as can be read in a card of TensorBoard, 300 pixels wide
WIDTH, GAP = 72, 4  # pixels: that an image is enlarged to at least, and between two
LETTER, LINE = 0.16, 0.19  # of that width: size of the labels' letters, height of a line


@torch.no_grad()
def first_batch(run: Run) -> Tensor | None:
    """Return up to 16 images of the first batch with their labels as one picture (H, W, 3), uint8; None for tables.

    The images have their own colours where the preprocessing can be undone. The run is as before: order and transforms
    depend on (seed, epoch, step) alone.
    """
    parts = order_of(run, 0).split(run.batch_size)[: run.accumulate]
    transforms = Transforms(run)
    if not transforms.transforms:  # else a draw depends on the whole batch
        parts = [parts[0][:SHOWN]]
    try:
        batch = [run.train.batch(part) for part in parts]
        if batch[0][0].dim() != 4:
            return None
        images, targets = transforms(run.clock.at(0), batch)[0]
    except Exception as error:
        if out_of_memory(error):
            return None  # the first step meets it, too, and says so
        raise
    images, targets = images[:SHOWN].float(), targets[:SHOWN]
    return draw(colors(images, run.train.preprocess).cpu(), [label(target, run.data) for target in targets.cpu()])


def draw(images: Tensor, labels: Sequence[str]) -> Tensor:
    """Return images (B, H, W, 3) in [0, 1], four in a row, each above its label of up to two lines, as one picture."""
    from PIL import Image, ImageDraw

    factor = -(-WIDTH // images.shape[2])  # whole: pixels stay squares
    pixels = images.mul(255).round().byte().repeat_interleave(factor, 1).repeat_interleave(factor, 2).numpy()
    height, width = pixels.shape[1:3]
    font, line_height = caption_font(round(LETTER * width)), round(LINE * width)
    step_x, step_y = width + GAP, height + (max(text.count("\n") for text in labels) + 1) * line_height + GAP
    columns = min(COLUMNS, len(pixels))
    sheet = Image.new("RGB", (columns * step_x, -(-len(pixels) // columns) * step_y), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (one, text) in enumerate(zip(pixels, labels)):
        x, y = place % columns * step_x + GAP // 2, place // columns * step_y + GAP // 2
        sheet.paste(Image.fromarray(one), (x, y))
        for number, line in enumerate(text.split("\n")):
            pen.text((x, y + height + number * line_height), shortened(line, font, width), "black", font)
    return torch.from_numpy(np.array(sheet))
