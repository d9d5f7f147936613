"""task=evaluate with explain=true: the worst mistakes beside their maps, each for the class that its caption names."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import command, only_run
from PIL import Image

from trainer import load
from trainer.explanation.picture import overlaid
from trainer.report.report import PICTURES
from trainer.task.explained_mistakes import NAME

pytest.importorskip("captum", reason="needs the extra: pip install -e '.[explain]'")

ROUNDING = 3  # of 255: the last bits of a map depend on the batch, and a colour map has steps
SCALE = 16  # of images of 8 x 8 pixels, which are shown at 128 x 128


def images_of(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)


def write_arrays(path: Path, images: np.ndarray, targets: np.ndarray) -> Path:
    """Write images with their targets, of which the last 40 are the test split."""
    parts = {"train": slice(0, -40), "test": slice(-40, None)}
    arrays = {f"{name}_{part}": each[cut] for part, cut in parts.items() for name, each in zip("xy", (images, targets))}
    np.savez(path, **arrays)
    return path


def trained_on(folder: Path, images: np.ndarray, targets: np.ndarray, *words: str) -> Path:
    path = write_arrays(folder / "own.npz", images, targets)
    code, _, errors = command(folder, "data=npz", f"data.path={path}", *words, "threads=1", "device=cpu")
    assert code == 0, errors
    return only_run(folder)


def evaluated(run: Path, folder: Path, *words: str) -> tuple[str, Path]:
    """Evaluate a run with explanations: the output, and the folder of its report."""
    code, out, errors = command(folder, "task=evaluate", f"runs=[{run}]", "explain=true", "device=cpu", *words)
    assert code == 0, errors
    (place,) = folder.glob("outputs/*/*evaluate*/report")
    return out, place


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def place_of(panel: np.ndarray, sheet: np.ndarray) -> tuple[int, int]:
    """Return row and column of a panel in a sheet, where it is exactly once, but for the rounding of a batch."""
    sheet, panel = sheet.astype(int), panel.astype(int)
    (height, width), beside = panel.shape[:2], abs(sheet - panel[0, 0]).max(2) <= ROUNDING
    parts = ((place, sheet[place[0] : place[0] + height, place[1] : place[1] + width]) for place in np.argwhere(beside))
    found = [place for place, part in parts if part.shape == panel.shape and abs(part - panel).max() <= ROUNDING]
    assert len(found) == 1, f"{len(found)} times in the picture"
    return found[0]


def under(image: np.ndarray, map_: np.ndarray) -> np.ndarray:
    return (255 * overlaid(image.transpose(1, 2, 0) / 255, map_)).round().astype(np.uint8)


@pytest.mark.parametrize("other", [False, True], ids=["its own data", "other data"])
def test_each_mistake_is_beside_the_map_of_its_answer_and_that_of_the_true_class(other, tmp_path):
    images, targets, words = images_of(100, 0), np.arange(100) % 3, []
    run = trained_on(tmp_path, images, targets, "model=cnn", "epochs=1")
    if other:
        images = images_of(100, 1)
        words = [f"data.path={write_arrays(tmp_path / 'other.npz', images, targets)}"]
    out, place = evaluated(run, tmp_path, *words)
    rows = [*csv.DictReader((place / "mistakes.csv").open())]
    assert f"{min(len(rows), PICTURES)} of the worst mistakes explained by Grad-CAM, 4 x 4" in out
    sheet, model = pixels_of(place / NAME), load(run, device="cpu")
    answers = model(images)
    for row in rows[:3]:
        known = answers[:, [int(row["predicted"]), int(row["true"])]]
        wanted = torch.tensor([float(row["probability"]), float(row["probability_of_true"])])
        image = images[(known - wanted).abs().sum(1).argmin()]  # the index is that in a split
        pixels = np.kron(image.transpose(1, 2, 0), np.ones((SCALE, SCALE, 1), np.uint8))
        maps = [model.explain([image], of=row[name])[0].map for name in ("predicted", "true")]
        assert not np.allclose(*maps)
        panels = [pixels, *(under(image, each) for each in maps)]
        (y, x), said, true = (place_of(panel, sheet) for panel in panels)
        assert y == said[0] == true[0] and x < said[1] < true[1]


def test_without_a_convolution_and_of_values_it_says_what_a_map_is(tmp_path):
    images, targets = images_of(100, 0), np.random.default_rng(3).normal(size=(100, 2)).astype(np.float32)
    run = trained_on(tmp_path, images, targets, "model=mlp", "epochs=1")
    out, place = evaluated(run, tmp_path)
    assert "24 of the worst mistakes explained by saliency (the model has no convolution)" in out
    row = next(csv.DictReader((place / "mistakes.csv").open()))
    image = images[-40:][int(row["index"])]
    place_of(under(image, load(run, device="cpu").explain([image])[0].map), pixels_of(place / NAME))


def test_a_model_without_mistakes_and_a_table_have_no_maps_and_say_so(tmp_path):
    (tmp_path / "a").mkdir()
    targets = np.arange(100) % 2
    images = (images_of(100, 0) // 4 + 192 * targets[:, None, None, None]).astype(np.uint8)  # dark or bright
    run = trained_on(tmp_path / "a", images, targets, "model=mlp", "epochs=20")
    out, place = evaluated(run, tmp_path / "a")
    assert "no mistakes explained: there are none" in out and not (place / NAME).exists()
    (tmp_path / "b").mkdir()
    code, _, errors = command(tmp_path / "b", "data=iris", "model=linear", "epochs=1", "threads=1", "device=cpu")
    assert code == 0, errors
    out, place = evaluated(only_run(tmp_path / "b"), tmp_path / "b")
    assert "no mistakes explained: the samples are not images; task=predict" in out and not (place / NAME).exists()


def test_without_the_word_nothing_is_explained_and_captum_is_not_needed(tmp_path, monkeypatch):
    run = trained_on(tmp_path, images_of(100, 0), np.arange(100) % 3, "model=cnn", "epochs=1")
    monkeypatch.setitem(sys.modules, "captum", None)
    words = ("task=evaluate", f"runs=[{run}]", "device=cpu")
    code, out, errors = command(tmp_path, *words)
    assert code == 0 and "explained" not in out and not [*tmp_path.rglob(NAME)], errors
    code, _, errors = command(tmp_path, *words, "explain=true")
    assert code == 2 and "task.explain=true: needs Captum; pip install 'trainer[explain]'" in errors
    assert len([*tmp_path.rglob("evaluation.json")]) == 1
