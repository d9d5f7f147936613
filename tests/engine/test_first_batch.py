"""The first batch that TensorBoard shows is the one that the network sees, and the run is the same with and without."""

from dataclasses import replace

import pytest
import torch
from conftest import only_run

from trainer.engine import first_batch as picture
from trainer.engine import session
from trainer.engine.build import build_run
from trainer.engine.first_batch import GAP, SHOWN, draw, first_batch
from trainer.engine.image_grid import colors, label
from trainer.engine.loop import fit
from trainer.rundir.console import Console
from trainer.rundir.reader import read_summary
from trainer.rundir.recorder import Recorder

WORDS = ("model=linear", "epochs=1", "batch_size=40", "threads=1", "device=cpu")
KINDS = {
    "shuffled": (),
    "augmented": ("aug=[crop,flip,rotate]",),
    "blended": ("aug=[rotate,mixup]", "reg=[label_smoothing]", "accumulate=3"),
    "sampled": ("sampler=balanced", "aug=[noise]"),
    "host": ("residency=host", "aug=[crop,cutmix]", "preprocess=standardize"),
    "whole": ("batch_size=full", "aug=[cutout]"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_the_network_sees_in_the_first_step(kind, composed, tmp_path):
    run = build_run(composed(*WORDS, *KINDS[kind]))
    shown = first_batch(run)
    images, targets = [], []

    def criterion(outputs, wanted):
        targets.extend([wanted] if outputs.requires_grad else [])
        return run.criterion(outputs, wanted)

    run.model.register_forward_pre_hook(lambda module, inputs: images.extend(inputs if module.training else []))
    recorder, silent = Recorder(tmp_path, run.data.task), Console(silent=True)
    fit(replace(run, criterion=criterion), recorder, silent, until=1)
    _, batch, *_ = images  # a probe of the layers precedes the first step
    _, wanted, *_ = targets
    labels = [label(target, run.data) for target in wanted[:SHOWN]]
    assert torch.equal(shown, draw(colors(batch[:SHOWN], run.train.preprocess), labels))
    assert len({text for text in labels}) > 3  # not all alike


def test_another_seed_shows_another_batch(composed):
    first, other = (first_batch(build_run(composed(*WORDS, f"seed={seed}"))) for seed in (0, 1))
    assert not torch.equal(first, other)


def test_tables_have_no_picture(composed):
    assert first_batch(build_run(composed(*WORDS, "data=iris"))) is None


def test_a_batch_without_room_in_memory_is_left_to_the_first_step(composed):
    run = build_run(composed(*WORDS, "aug=[flip]"))

    def exhausted(images, targets, rng):
        raise MemoryError

    assert first_batch(replace(run, aug=[exhausted])) is None


def test_a_run_has_the_same_weights_and_curves_with_the_picture_and_without(run_in_process, tmp_path, monkeypatch):
    typed = (
        *("model=cnn", "epochs=2", "batch_size=300", "threads=1", "device=cpu", "log_every=1"),
        *("aug=[crop,rotate,mixup]", "reg=[dropout]", "sampler=hard_examples"),
    )
    assert run_in_process(*typed, "output=with/outputs")[0] == 0
    monkeypatch.setattr(session, "first_batch", lambda run: None)
    assert run_in_process(*typed, "output=without/outputs")[0] == 0
    runs = [only_run(tmp_path / name) for name in ("with", "without")]
    summaries = [read_summary(run) for run in runs]
    assert summaries[0]["weights_sha256"] == summaries[1]["weights_sha256"]
    assert summaries[0]["test"] == summaries[1]["test"]


def test_an_image_is_enlarged_by_whole_pixels_above_its_label():
    images = torch.rand(5, 8, 6, 3, generator=torch.Generator().manual_seed(0))
    drawn = draw(images, ["cat", "dog", "cat", "cat 0.60\ndog 0.40", "a name that is far too long for its place"])
    factor = 12  # 72 / 6
    height, width = 8 * factor, 6 * factor
    step = drawn.shape[0] // 2
    assert drawn.dtype == torch.uint8 and drawn.shape[1:] == (4 * (width + GAP), 3)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]):
        top, left = row * step + GAP // 2, column * (width + GAP) + GAP // 2
        cell = drawn[top : top + height, left : left + width]
        for corner in (0, factor - 1):
            assert torch.equal(cell[corner::factor, corner::factor], (images[place] * 255).round().byte())
        below = drawn[top + height : (row + 1) * step, left - GAP // 2 : left + width + GAP // 2]
        assert (below < 100).any()  # letters
    first_line = drawn[GAP // 2 + height : GAP // 2 + height + 14]
    assert (first_line[:, : width + GAP] < 100).sum() < (first_line[:, 3 * (width + GAP) :] < 100).sum()
    assert (drawn[step:, width + GAP :] == 255).all()  # the long name ends with its image


def test_a_label_is_cut_where_its_image_ends():
    font = picture.caption_font(12)
    assert picture.shortened("cat", font, 72) == "cat"
    cut = picture.shortened("a name that is far too long", font, 72)
    assert cut.endswith("\u2026") and cut[:-1] == "a name that is far too long"[: len(cut) - 1]
    assert font.getlength(cut) <= 72 < font.getlength("a name that is far too long"[: len(cut)] + "\u2026")
