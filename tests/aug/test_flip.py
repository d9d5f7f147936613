"""Flips, read off the output, against the rate p and the rule of epochs."""

import pytest
import torch
from augmenting import UNLIKELY, numbered, rng
from scipy import stats

from trainer.aug.flip import Flip
from trainer.base.clock import Clock

EPOCHS = Clock(total_steps=40, steps_per_epoch=10)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip_mirrors_whole_images_left_to_right_at_the_rate_p(p):
    images, targets = numbered(4000, 2, 2, 3)
    out, same = Flip(p=p)(images, targets, rng())
    before, after = images.numpy(), out.numpy()
    mirrored = (after == before[..., ::-1]).all((1, 2, 3))
    assert ((after == before).all((1, 2, 3)) ^ mirrored).all() and same is targets
    assert stats.binomtest(int(mirrored.sum()), 4000, p).pvalue > UNLIKELY


def mirrored_in(flip, epoch, images):
    flip.begin(EPOCHS.at(10 * epoch + 7))
    out = flip(images, torch.eye(len(images)), rng(epoch))[0]
    mirrored = (out == images.flip(3)).all((1, 2, 3))
    assert (mirrored ^ (out == images).all((1, 2, 3))).all()
    return mirrored


def test_flip_alternates_between_epochs_whatever_the_order():
    images = torch.randint(0, 256, (4000, 1, 3, 4), generator=rng()) / 255
    flip = Flip(alternating=True)
    first = mirrored_in(flip, 0, images)
    assert stats.binomtest(int(first.sum()), 4000, 0.5).pvalue > UNLIKELY
    for epoch in (1, 2, 3):
        order = torch.randperm(4000, generator=rng(epoch))
        assert torch.equal(mirrored_in(flip, epoch, images[order]), first[order] ^ (epoch % 2 == 1))


def test_flip_needs_the_epoch_to_alternate():
    with pytest.raises(ValueError, match="alternating needs the epoch: call begin"):
        Flip(alternating=True)(*numbered(2), rng())
