"""Samplers: the order of an epoch and the probability of each sample."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import one_hot

from trainer.base.hooks import tasks_of
from trainer.base.rng import derive
from trainer.engine.build import build_run
from trainer.engine.loop import batches
from trainer.sampler import Balanced, HardExamples, Sequential, Shuffle, WithReplacement

LOSSES = torch.zeros(50)
TARGETS = one_hot(torch.arange(50) % 3, 3).float()
ALL = [Shuffle(), Sequential(), WithReplacement(), Balanced(), HardExamples()]


def order(sampler, seed, epoch=0):
    return sampler(epoch, TARGETS, LOSSES, torch.Generator().manual_seed(seed)).tolist()


def fits(counts, chances):
    """Return whether counts may come from these chances: chi-square's p-value is above 1e-6, for fixed seeds."""
    counts, chances = np.asarray(counts, dtype=float), np.asarray(chances, dtype=float)
    assert (counts[chances == 0] == 0).all()
    return stats.chisquare(counts[chances > 0], counts.sum() * chances[chances > 0]).pvalue > 1e-6


def drawn(sampler, targets, losses, epochs):
    """Count the draws of each sample in epochs 1, 2, ... with these losses."""
    rng, counts = torch.Generator().manual_seed(0), torch.zeros(len(targets), dtype=torch.long)
    for epoch in range(1, epochs + 1):
        indices = sampler(epoch, targets, losses, rng)
        assert indices.shape == (len(targets),) and indices.dtype == torch.long
        counts += indices.bincount(minlength=len(targets))
    return counts.numpy()


@pytest.mark.parametrize("sampler", [Shuffle(), Sequential(), HardExamples()])
def test_every_sample_comes_once(sampler):  # hard_examples: in its first epoch
    assert sorted(order(sampler, 3)) == list(range(50))


@pytest.mark.parametrize("sampler", ALL)
def test_the_order_follows_from_the_rng_and_the_losses_alone(sampler):
    assert order(sampler, 3) == order(sampler, 3) and order(sampler, 3, epoch=5) == order(sampler, 3, epoch=5)
    assert (order(sampler, 3) == order(sampler, 4)) == isinstance(sampler, Sequential)


def test_shuffle_puts_each_sample_anywhere():
    firsts = torch.tensor([order(Shuffle(), seed) for seed in range(2000)]).double()
    # The mean place over n shuffles is 24.5, of deviation sqrt((50^2 - 1) / 12 / n); five: one in 30,000.
    assert (firsts.mean(0) - 24.5).abs().max() < 5 * ((50**2 - 1) / 12 / 2000) ** 0.5


def test_sequential_is_the_order_of_the_set_in_every_epoch():
    assert order(Sequential(), 3) == order(Sequential(), 4, epoch=7) == list(range(50))


def test_replacement_draws_every_sample_alike_and_leaves_out_a_fraction_of_1_in_e():
    assert fits(drawn(WithReplacement(), TARGETS, LOSSES, 400), np.full(50, 1 / 50))
    many = torch.zeros(10_000)
    left_out = 1 - len(WithReplacement()(0, many[:, None], many, torch.Generator().manual_seed(0)).unique()) / 10_000
    # (1 - 1 / n)^n = 1 / e; its variance is (1 / e - 2 / e^2) / n.
    assert abs(left_out - np.exp(-1)) < 5 * ((np.exp(-1) - 2 * np.exp(-2)) / 10_000) ** 0.5


def test_balanced_draws_classes_alike_and_samples_of_a_class_alike():
    labels = torch.tensor([0] * 30 + [3] * 2 + [1] * 8)  # class 2 has none
    labels = labels[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    counts = drawn(Balanced(), one_hot(labels, 4).float(), torch.zeros(40), 400)
    assert fits([counts[labels == label].sum() for label in (0, 1, 3)], np.full(3, 1 / 3))
    assert fits(counts, [1 / 3 / (labels == label).sum().item() for label in labels])


def test_balanced_takes_yes_and_no_for_two_classes():
    targets = torch.tensor([1.0] * 3 + [0.0] * 17)[:, None]
    counts = drawn(Balanced(), targets, torch.zeros(20), 400)
    assert fits(counts, [1 / 6] * 3 + [1 / 34] * 17)


def test_balanced_is_for_classes():
    assert tasks_of(Balanced()) == ("classification", "binary") and tasks_of(WithReplacement()) is None


LOSS = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 1000.0]  # nine of ten are 8 or less


@pytest.mark.parametrize(
    ("fields", "losses", "chances"),
    [
        ({"cap": 0.9, "uniform": 0.0}, LOSS, np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8]) / 44),
        ({"cap": 0.5, "uniform": 0.0}, LOSS, np.array([0, 1, 2, 3, 4, 4, 4, 4, 4, 4]) / 30),
        ({"cap": 1.0, "uniform": 0.0}, LOSS, np.array(LOSS) / 1036),
        ({"cap": 0.9, "uniform": 0.25}, LOSS, 0.25 / 10 + 0.75 * np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8]) / 44),
        ({"cap": 0.9, "uniform": 1.0}, LOSS, np.full(10, 0.1)),
        ({"cap": 0.9, "uniform": 0.5}, [0.0] * 10, np.full(10, 0.1)),
        ({"cap": 1.0, "uniform": 0.0}, [1.0] * 8 + [float("inf"), float("nan")], np.full(10, 0.1)),
        ({"cap": 1.0, "uniform": 0.0}, [1.0, 3.0, float("inf"), -2.0], np.array([1, 3, 3, 0]) / 7),
    ],
)
def test_hard_examples_draws_by_the_recent_loss_up_to_the_cap(fields, losses, chances):
    losses = torch.tensor(losses)
    counts = drawn(HardExamples(**fields), torch.zeros(len(losses), 1), losses, 2000)
    assert fits(counts, chances)


def test_hard_examples_leaves_the_losses_as_they_were():
    losses = torch.tensor([1.0, float("inf"), -1.0])
    HardExamples()(1, torch.zeros(3, 1), losses, torch.Generator().manual_seed(0))
    assert losses.tolist() == [1.0, float("inf"), -1.0]


def test_hard_examples_in_a_run_gets_the_loss_of_each_sample_and_repeats_hard_ones(fitted):
    epochs = []

    class Recorded:
        uses_losses = True

        def __call__(self, epoch, targets, losses, rng):
            indices = HardExamples(uniform=0.0)(epoch, targets, losses, rng)
            epochs.append((losses.clone(), indices))
            return indices

    fitted("model=mlp", "model.hidden=[16]", "epochs=3", "threads=1", sampler=Recorded())
    (first, _), (second, indices), (third, _) = epochs
    assert not first.any() and (second > 0).all() and second.isfinite().all()
    chances = second.clamp(max=second.quantile(0.9, interpolation="higher"))
    chances /= chances.sum()
    mean = (chances * second).sum()
    deviation = ((chances * (second - mean).square()).sum() / len(indices)).sqrt()
    assert abs(second[indices].mean() - mean) < 5 * deviation < mean - second.mean()
    trained = torch.zeros(len(second), dtype=torch.bool).index_fill(0, indices, True)
    assert torch.equal(third[~trained], second[~trained]) and (third != second)[trained].double().mean() > 0.99


@pytest.mark.parametrize("name", ["shuffle", "sequential", "replacement", "balanced", "hard_examples"])
def test_the_order_of_an_epoch_needs_no_epoch_before_it(name, composed):
    run = build_run(composed("model=mlp", "epochs=3", f"sampler={name}", "threads=1"))
    listed = [torch.cat(indices) for indices, _ in batches(run)]
    third = torch.cat(listed[2 * run.clock.steps_per_epoch :])
    rng = torch.Generator().manual_seed(derive(run.seed, "order", 2))
    assert torch.equal(third, run.sampler(2, run.train.targets, torch.zeros(len(run.train)), rng))


@pytest.mark.parametrize("fields", [{"cap": 0.0}, {"cap": 1.1}, {"uniform": -0.1}, {"uniform": 1.1}])
def test_hard_examples_refuses_fractions_out_of_range(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        HardExamples(**fields)
