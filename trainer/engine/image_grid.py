"""Grid of training images with draws of the augmentations, as a run would train on them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from trainer.base.atomic import write_figure
from trainer.base.pixel_space import fuse_pixel_spaces
from trainer.base.protocols import Apply, Invertible, UsesClock
from trainer.base.rng import derive
from trainer.base.warp import fuse_warps
from trainer.config.hydra_context import Invocation
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.engine.build import (
    fit_preprocess,
    make_augmentations,
    make_criterion,
    make_slots,
    sample_batch,
)
from trainer.engine.lengths import make_clock
from trainer.rundir.event_file import EventFile
from trainer.rundir.title import in_lines, title_of

SAMPLES, VIEWS = 6, 6
BATCH = 64  # samples that may be blended with one another


@dataclass(frozen=True, kw_only=True)
class ImageGrid:
    """Images in rows and columns: each row a sample and its augmented views; without augmentations, samples only.

    Args:
        images: (rows, columns, H, W, 3) in [0, 1].
        labels: one for each image.
        title: of the whole grid.
    """

    images: Tensor
    labels: list[list[str]]
    title: str


def make_image_grid(
    cfg: DictConfig, data: Splits, invocation: Invocation, apply: Apply | None = None
) -> ImageGrid | None:
    """Return the grid of a run's training images; None where the samples are not images. Errors: ConfigError.

    Args:
        apply: the fitted preprocessing, where there is one already.
    """
    apply = apply or fit_preprocess(cfg, data, invocation)
    train = Loader(data.train, apply, torch.device("cpu"))
    rng = torch.Generator()
    rng.manual_seed(derive(cfg.seed, "preview"))
    chosen = torch.randperm(len(train), generator=rng)[:BATCH]
    images, targets = train.batch(chosen)
    if images.dim() != 4:
        return None
    augmentations = make_augmentations(cfg, data.task, sample_batch(train, cfg.seed), apply, invocation)
    criterion = make_criterion(cfg, data.task, invocation)
    transforms = [*augmentations, *make_slots(cfg, data.task, criterion, invocation).batch]
    if not transforms:
        return samples_only(images, targets, data, apply, title_of(invocation))
    timed = [transform for transform in transforms if isinstance(transform, UsesClock)]
    fused, clock = fuse_pixel_spaces(fuse_warps(transforms)), make_clock(cfg, len(train), invocation)
    columns = [(images, targets)]
    for view in range(VIEWS):
        rng.manual_seed(derive(cfg.seed, "preview", view))
        changed = images, targets
        for transform in timed:
            transform.begin(clock.at(view * clock.steps_per_epoch))
        for transform in fused:
            changed = transform(*changed, rng)
        columns.append(changed)
    shown = min(SAMPLES, len(images))
    names = ", ".join([*cfg.aug, *cfg.reg.get("batch", {})])
    return ImageGrid(
        images=torch.stack([colors(part[:shown], apply) for part, _ in columns], dim=1),
        labels=[[label(part[sample], data) for _, part in columns] for sample in range(shown)],
        title=f"{title_of(invocation)}\nleft: the sample; beside it: draws of {names}",
    )


def samples_only(images: Tensor, targets: Tensor, data: Splits, apply: Callable, title: str) -> ImageGrid:
    """Return a grid of different samples, without augmentation."""
    width = min(1 + VIEWS, len(images))
    shown = min(SAMPLES * width, len(images)) // width * width
    labels = [label(target, data) for target in targets[:shown]]
    return ImageGrid(
        images=colors(images[:shown], apply).unflatten(0, (-1, width)),
        labels=[labels[start : start + width] for start in range(0, shown, width)],
        title=f"{title}\nsamples without augmentation",
    )


def colors(images: Tensor, apply: Callable) -> Tensor:
    """Return preprocessed images (B, C, H, W) as (B, H, W, 3) in [0, 1].

    They have their own colours where `apply` is invertible; else each is stretched to the full range.
    """
    if isinstance(apply, Invertible):
        images = apply.invert(images).clamp(0, 1)
    else:
        images = full_range(images)
    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    return images.permute(0, 2, 3, 1)


def full_range(images: Tensor) -> Tensor:
    """Return images (B, C, H, W), each stretched to [0, 1]."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-12)


def label(target: Tensor, data: Splits) -> str:
    """Return the two most probable classes of a soft label with their probabilities, or the values of a regression."""
    if data.task == "regression":
        return ", ".join(f"{value:.3g}" for value in target.tolist())
    p = torch.stack([1 - target[0], target[0]]) if data.task == "binary" else target
    values, classes = (part.tolist() for part in p.topk(min(2, len(p))))
    if values[0] > 0.995:
        return data.classes[classes[0]]
    return "\n".join(f"{data.classes[number]} {value:.2f}" for value, number in zip(values, classes) if value > 0.005)


def draw(grid: ImageGrid, directory: Path) -> Path:
    """Write the grid to preview-images.png and for TensorBoard, and return the path of the PNG. Errors: OSError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # 0.6 s
    from torch.utils.tensorboard.summary import image

    rows, columns = grid.images.shape[:2]
    figure = Figure(figsize=(1.35 * columns, 1.62 * rows + 0.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for row, axes_row in enumerate(figure.subplots(rows, columns, squeeze=False)):
        for column, axes in enumerate(axes_row):
            axes.imshow(grid.images[row, column].numpy(), interpolation="nearest")
            axes.set_title(grid.labels[row][column], fontsize=7, pad=2)
            axes.set_axis_off()
    title = "\n".join(in_lines(line, 1.35 * columns) for line in grid.title.split("\n"))
    figure.suptitle(title, fontsize=10)
    path = directory / "preview-images.png"
    write_figure(figure, path, dpi=120)
    pixels = torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    events = EventFile(directory)
    events.add(image("preview", pixels, dataformats="HWC"), 0)
    events.close()
    return path
