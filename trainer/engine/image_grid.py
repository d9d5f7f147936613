"""A sheet of training images as a run would see them: each sample as it is and as several draws of the augmentations leave it, or many samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from trainer.base.rng import derive
from trainer.base.warp import fused
from trainer.config.instantiate import node
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.engine import build
from trainer.engine.dry_run import as_config_error
from trainer.rundir.event_file import EventFile

SAMPLES, VIEWS = 6, 6
BATCH = 64  # samples that may be blended with one another


@dataclass(frozen=True)
class Sheet:
    """Pictures (rows, columns, H, W, 3) in [0, 1], with a label each: the first of a row the original, then its views; without augmentations all originals."""

    pictures: Tensor
    labels: list[list[str]]


def sheet_of(cfg: DictConfig, data: Splits) -> Sheet | None:
    """The pictures that the decisions give; None where the samples are no images. Errors: ConfigError."""
    with as_config_error("preprocess"):
        apply = node(cfg, "preprocess")().fit(data.train.sample())
    train = Loader(data.train, apply, torch.device("cpu"))
    rng = torch.Generator()
    rng.manual_seed(derive(cfg.seed, "preview"))
    chosen = torch.randperm(len(train), generator=rng)[:BATCH]
    images, targets = train.batch(chosen)
    if images.dim() != 4:
        return None
    transforms = fused(
        (*build.augmentations(cfg, data.task, build.some(train, cfg.seed)), *build.slots(cfg, data.task).batch)
    )
    if not transforms:
        width = min(1 + VIEWS, len(images))
        shown = min(SAMPLES * width, len(images)) // width * width
        labels = [label(target, data) for target in targets[:shown]]
        return Sheet(
            colors(images[:shown], apply).unflatten(0, (-1, width)),
            [labels[start : start + width] for start in range(0, shown, width)],
        )
    clock = build.make_clock(cfg, len(train), len(train) if cfg.batch_size == "full" else cfg.batch_size)
    columns = [(images, targets)]
    for view in range(VIEWS):
        rng.manual_seed(derive(cfg.seed, "preview", view))
        changed = images, targets
        for transform in transforms:
            if hasattr(transform, "begin"):
                transform.begin(clock.at(view * clock.steps_per_epoch))
            changed = transform(*changed, rng)
        columns.append(changed)
    shown = min(SAMPLES, len(images))
    pictures = torch.stack([colors(part[:shown], apply) for part, _ in columns], dim=1)
    labels = [[label(part[sample], data) for _, part in columns] for sample in range(shown)]
    return Sheet(pictures, labels)


def colors(images: Tensor, apply: Callable) -> Tensor:
    """(B, C, H, W) as the preprocessing leaves them to (B, H, W, 3) in [0, 1], in real colours where it can be undone."""
    if hasattr(apply, "invert"):
        images = apply.invert(images).clamp(0, 1)
    else:
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        images = (images - low) / (high - low).clamp(min=1e-12)
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    return images.permute(0, 2, 3, 1)


def label(target: Tensor, data: Splits) -> str:
    """The classes of a soft label with their shares, the largest two; the number of a regression."""
    if data.task == "regression":
        return f"{target[0]:.3g}"
    shares = torch.stack([1 - target[0], target[0]]) if data.task == "binary" else target
    values, classes = shares.topk(min(2, len(shares)))
    parts = [
        f"{data.classes[number]} {value:.2f}"
        for value, number in zip(values.tolist(), classes.tolist())
        if value > 0.005
    ]
    return data.classes[int(classes[0])] if values[0] > 0.995 else "\n".join(parts)


def draw(sheet: Sheet, names: Sequence[str], directory: Path) -> Path:
    """preview-images.png and the same as a picture for TensorBoard."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # 0.6 s
    from torch.utils.tensorboard.summary import image

    rows, columns = sheet.pictures.shape[:2]
    figure = Figure(figsize=(1.35 * columns, 1.62 * rows + 0.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for row, axes_row in enumerate(figure.subplots(rows, columns, squeeze=False)):
        for column, axes in enumerate(axes_row):
            axes.imshow(sheet.pictures[row, column].numpy(), interpolation="nearest")
            axes.set_title(sheet.labels[row][column], fontsize=7, pad=2)
            axes.set_axis_off()
    figure.suptitle(
        f"left: as it is; then as {', '.join(names)} would show it"
        if names
        else "samples as they are (no augmentation chosen)",
        fontsize=10,
    )
    path = directory / "preview-images.png"
    figure.savefig(path, dpi=120)
    events = EventFile(directory)
    events.add(
        image("preview", torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()), dataformats="HWC"), 0
    )
    events.close()
    return path
