"""Any images in folders named by their class."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainer.data.splits import Split, Splits, hold_out, one_hot, take
from trainer.errors import DataError, nearest, require

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """ROOT/train/CLASS/*, ROOT/test/CLASS/* and, if there, ROOT/val/CLASS/*; classes are train's folders, in alphabetical order.

    Args:
        root: the folder.
        size: resize every image to (size, size) pixels, >= 1; None where all have one size.
        val_share: of the training images where there is no val folder, in [0, 1).
        split_seed: >= 0.
    Shapes: images (3, H, W), or (1, H, W) where all are grey. Errors: ValueError; DataError, naming the folder or the file.
    """

    root: str
    size: int | None = None
    val_share: float = 0.1
    split_seed: int = 0

    def load(self) -> Splits:
        require("in [0, 1)", val_share=self.val_share)
        require(">= 0", split_seed=self.split_seed)
        if self.size is not None:
            require(">= 1", size=self.size)
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(f"data.root={self.root}: no such folder; it must hold train/CLASS/* and test/CLASS/*")
        classes = folders(root / "train")
        parts = {name: files(root / name, classes) for name in ("train", "val", "test") if name != "val" or (root / name).is_dir()}
        numbers = {name: number for number, name in enumerate(classes)}
        labels = {name: torch.tensor([numbers[path.parent.name] for path in paths]) for name, paths in parts.items()}
        pictures = self._decode([path for paths in parts.values() for path in paths])
        images = dict(zip(parts, pictures.split([len(paths) for paths in parts.values()])))
        splits = {name: Split(images[name], one_hot(labels[name], len(classes), str(root / name))) for name in parts}
        if "val" not in splits:
            kept, held = hold_out(labels["train"], self.val_share, self.split_seed)
            train = splits["train"]
            splits["train"], splits["val"] = take(train.images, train.targets, kept), take(train.images, train.targets, held)
        return Splits(**splits, task="classification", classes=tuple(classes))

    def _decode(self, paths: list[Path]) -> torch.Tensor:
        """All images as one (N, C, H, W) uint8 tensor, decoded by as many threads as there are cores (PIL lets go of the lock)."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pictures = list(pool.map(self._read, paths))
        shape = pictures[0].shape
        for path, picture in zip(paths, pictures):
            if picture.shape[:2] != shape[:2]:
                sizes = f"{paths[0]} has {shape[1]}x{shape[0]} pixels, {path} has {picture.shape[1]}x{picture.shape[0]}"
                raise DataError(f"data.size=null: images must be alike in size, but {sizes}; data.size=N resizes all")
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        grey = bool((pixels[:, :1] == pixels).all())
        return pixels[:, :1].contiguous() if grey else pixels.contiguous()

    def _read(self, path: Path) -> np.ndarray:
        from PIL import Image, ImageOps

        try:
            with Image.open(path) as image:
                image = ImageOps.exif_transpose(image)
                if image.mode.startswith("I;16"):  # 16-bit grey, which convert() would clip at 255
                    image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
                image = image.convert("RGB")
                if self.size is not None:
                    image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
                return np.asarray(image)
        except Exception as error:  # PIL raises many kinds, by format
            raise DataError(f"{path}: not an image that can be read ({error}); remove it or put a good copy in its place") from None


def folders(part: Path) -> list[str]:
    """The class folders below train/. Errors: DataError where there are none."""
    if not part.is_dir():
        raise DataError(f"{part}: no such folder; data=image_folder reads ROOT/train/CLASS/* and ROOT/test/CLASS/*")
    names = sorted(entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{part}: no class folders in it; data=image_folder reads {part}/CLASS/*")
    return names


def files(part: Path, classes: list[str]) -> list[Path]:
    """The images below one part, by class and name. Errors: DataError on an empty or unknown class."""
    found: list[Path] = []
    for name in folders(part):
        if name not in classes:
            close = nearest(name, classes)
            raise DataError(f"{part / name}: a class that train/ does not have; it has {', '.join(close or classes[:10])}")
        images = sorted(path for path in (part / name).iterdir() if path.suffix.lower() in ENDINGS and not path.name.startswith("."))
        if not images and part.name == "train":
            raise DataError(f"{part / name}: no images in it (endings: {' '.join(ENDINGS)})")
        found += images
    if not found:
        raise DataError(f"{part}: no images in its class folders (endings: {' '.join(ENDINGS)})")
    return found
