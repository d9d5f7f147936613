"""The order of samples."""

import pytest
import torch

from trainer.sampler import Sequential, Shuffle

LOSSES = torch.zeros(50)


def order(sampler, seed, epoch=0):
    return sampler(epoch, LOSSES, torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("sampler", [Shuffle(), Sequential()])
def test_every_sample_comes_once(sampler):
    assert sorted(order(sampler, 3)) == list(range(50))


def test_shuffle_follows_its_rng():
    assert order(Shuffle(), 3) == order(Shuffle(), 3) != order(Shuffle(), 4)


def test_shuffle_puts_each_sample_anywhere():
    firsts = torch.tensor([order(Shuffle(), seed) for seed in range(2000)]).double()
    # The mean place of a sample over n shuffles is 24.5 with deviation sqrt((50^2 - 1) / 12 / n); 5 of them for 50 samples: once in 30,000.
    assert (firsts.mean(0) - 24.5).abs().max() < 5 * ((50**2 - 1) / 12 / 2000) ** 0.5


def test_sequential_is_the_order_of_the_set_in_every_epoch():
    assert order(Sequential(), 3) == order(Sequential(), 4, epoch=7) == list(range(50))
