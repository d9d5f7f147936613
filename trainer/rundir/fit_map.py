"""Predictions of a model of one or two features on a grid, and the samples: the numbers of fit.png. No torch here."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.base.atomic import atomic_write
from trainer.base.plain_files import read_plain

FIT = "fit.npz"
LARGEST = 2**26  # bytes of it
SPLITS = ("train", "val")
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
LOW, MIDDLE, HIGH = "#3b4cc0", "#dddddd", "#b40426"  # colours of the values of a regression
LEAST, MOST = 0.12, 0.7  # opacity of a class's colour where no class is more probable, and where it is certain


@dataclass(frozen=True, kw_only=True)
class FitMap:
    """Predictions on a grid.

    Args:
        features: names of the one or two features.
        outputs: names of the classes, or of the values of a regression.
        classes: whether the outputs are classes; else values.
        probabilities: whether the predictions of classes are probabilities; else only the largest one counts.
        grid: the values of each feature, ascending: (G,), or (G,) and (H,).
        predictions: (G, K), or (H, G, K) with the second feature downwards from its smallest value.
        samples: of each split the features (N, D) and the targets: (N,) classes or (N, K) values.
        caption: which weights these are.
    """

    features: tuple[str, ...]
    outputs: tuple[str, ...]
    classes: bool
    probabilities: bool
    grid: tuple[np.ndarray, ...]
    predictions: np.ndarray
    samples: Mapping[str, tuple[np.ndarray, np.ndarray]]
    caption: str = ""

    @property
    def limits(self) -> tuple[float, float]:
        """The range of the targets of a regression, with some room; that of the predictions is not bounded."""
        values = np.concatenate([targets.ravel() for _, targets in self.samples.values()])
        return widened(float(values.min()), float(values.max()))


def widened(low: float, high: float, room: float = 0.08) -> tuple[float, float]:
    """Return a range with room at either end."""
    margin = room * (high - low) or max(abs(low), 1.0) * room
    return low - margin, high + margin


def write(found: FitMap, path: Path) -> None:
    """Write fit.npz. Errors: OSError."""
    meta = {"features": found.features, "outputs": found.outputs, "classes": found.classes}
    meta |= {"probabilities": found.probabilities, "caption": found.caption}
    arrays = {"predictions": found.predictions, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    arrays |= {f"grid{place}": values for place, values in enumerate(found.grid)}
    for split, (inputs, targets) in found.samples.items():
        arrays |= {f"x_{split}": inputs, f"y_{split}": targets}
    content = io.BytesIO()
    np.savez(content, **arrays)
    atomic_write(path, content.getvalue())


def read(path: Path) -> FitMap:
    """Return what fit.npz holds. Errors: OSError, ValueError, KeyError."""
    with np.load(io.BytesIO(read_plain(path, LARGEST)), allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
        return FitMap(
            features=tuple(meta["features"]),
            outputs=tuple(meta["outputs"]),
            classes=meta["classes"],
            probabilities=meta["probabilities"],
            caption=meta["caption"],
            grid=tuple(arrays[f"grid{place}"] for place in range(len(meta["features"]))),
            predictions=arrays["predictions"],
            samples={split: (arrays[f"x_{split}"], arrays[f"y_{split}"]) for split in SPLITS if f"x_{split}" in arrays},
        )


def as_rgb(color: str) -> np.ndarray:
    """Return a colour `#rrggbb` as three numbers in [0, 1]."""
    return np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255


def class_colors(count: int) -> np.ndarray:
    """Return a colour (K, 3) for each class, in [0, 1]."""
    return np.stack([as_rgb(COLORS[place % len(COLORS)]) for place in range(count)])


def colors_of_values(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return colours (..., 3) in [0, 1] of the values of a regression, blue for small ones, red for large ones."""
    place = np.nan_to_num(np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1), nan=0.5)[..., None]
    low, middle, high = map(as_rgb, (LOW, MIDDLE, HIGH))
    below = low + (middle - low) * 2 * place
    return np.where(place < 0.5, below, middle + (high - middle) * (2 * place - 1))


def colors_of_map(predictions: np.ndarray, classes: bool, probabilities: bool, limits: tuple) -> np.ndarray:
    """Return the colours (H, W, 3) of a map: of the class with the largest prediction, paler where that is uncertain.

    Of a regression those of the first value.
    """
    if not classes:
        return colors_of_values(predictions[..., 0], limits)
    count = predictions.shape[-1]
    colors = class_colors(count)[predictions.argmax(-1)]
    if probabilities:
        sure = (np.nan_to_num(predictions.max(-1)) - 1 / count) / (1 - 1 / count)
    else:
        sure = np.full(predictions.shape[:-1], 0.5)
    opacity = (LEAST + (MOST - LEAST) * np.clip(sure, 0, 1))[..., None]
    return 1 - opacity * (1 - colors)
