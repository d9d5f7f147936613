"""Checks of learning: broken models, optimizers and labels, and healthy ones beside them."""

from dataclasses import replace

import pytest
import torch
from checking import AlwaysDropping, Blind, Detached, Dropping, Frozen, Net, Unused, subject_of

from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.inspection import check_learning
from trainer.inspection.practice import far_apart, in_batches, settle_averages, small_sample
from trainer.norm import Batch
from trainer.preprocess import Identity


@pytest.mark.parametrize(
    ("model", "names", "why"),
    [
        (Unused, 2, "has no gradient"),
        (Frozen, 2, "is frozen"),
        (Detached, 2, "has no gradient"),
        (Blind, 1, "The gradient of first.weight is 0"),
    ],
)
def test_weights_that_stand_still_are_found(model, names, why):
    found = check_learning.weights_that_move(subject_of("data=iris", model=model))
    assert found.passed is False and found.value == names and why in found.meaning


@pytest.mark.parametrize("words", ["model=mlp norm=batch", "model=fast_cnn norm=batch", "model=mlp optimizer=sam"])
def test_all_weights_of_healthy_models_move(words):
    """The first layer of fast_cnn is fitted to the data, and frozen on purpose."""
    assert check_learning.weights_that_move(subject_of("data=digits", *words.split())).passed


HEALTHY = [
    "data=iris",
    "data=iris model=linear",
    "data=wine",
    "data=breast_cancer model=linear",
    "data=diabetes",
    "data=diabetes model=linear",
    "data=spirals",
    "data=gaussians",
    "data=gaussians model=linear",
    "data=regression",
    "data=polynomial",
    "data=height_weight",
    "data=digits model=linear",
    "data=digits model=mlp optimizer=lion",
    "data=iris optimizer=lbfgs batch_size=full",
    "data=digits model=mlp warmup=linear warmup.length=5ep optimizer=adam",
]


@pytest.mark.parametrize("words", HEALTHY)
def test_healthy_runs_learn(words):
    subject = subject_of(*words.split())
    for check in (check_learning.overfit_small_sample, check_learning.inputs_against_zeros):
        found = check(subject)
        assert found.passed is not False, found


@pytest.mark.parametrize("model", [Dropping, AlwaysDropping, Net])
def test_a_models_own_dropout_does_not_fail_it(model):
    assert check_learning.overfit_small_sample(subject_of("data=digits", "model=mlp", model=model)).passed


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("data=digits model=mlp model.hidden=[1]", "too small"),
        ("data=spirals model=linear", "too small"),
        ("data=digits model=mlp optimizer.lr=5", "too high"),
        ("data=digits model=mlp optimizer.lr=5e-5", "too low"),
        ("data=digits model=mlp init=zeros", "begins badly"),
    ],
)
def test_runs_that_do_not_fit_a_small_sample_fail(words, meaning):
    found = check_learning.overfit_small_sample(subject_of(*words.split()))
    assert found.passed is False and meaning in found.meaning


@pytest.mark.parametrize("words", ["data=digits model=mlp", "data=iris", "data=diabetes"])
def test_shuffled_labels_and_unseen_inputs_are_found(words):
    subject = subject_of(*words.split())
    rng = torch.Generator().manual_seed(0)

    def shuffled(loader):
        order = torch.randperm(len(loader), generator=rng)
        return Loader(Split(loader.images, loader.targets[order]), Identity(), subject.run.device)

    run = replace(subject.run, train=shuffled(subject.run.train), val=shuffled(subject.run.val))
    assert check_learning.inputs_against_zeros(subject).passed
    assert check_learning.inputs_against_zeros(replace(subject, run=run, cache={})).passed is False
    assert check_learning.inputs_against_zeros(subject_of(*words.split(), model=Blind)).passed is False


def test_samples_that_lie_far_apart_by_hand():
    """From 0 the farthest is 10, then 4 (4 from 0; 6 from 10)."""
    images = torch.tensor([[0.0], [1.0], [4.0], [9.0], [10.0]])
    chosen = far_apart(in_batches(images, images, 5), 3)
    assert chosen.images.flatten().tolist() == [0.0, 10.0, 4.0]


def test_a_sample_holds_no_input_twice():
    subject = subject_of("data=iris")
    twice = torch.cat([subject.run.train.images] * 2)
    loader = Loader(Split(twice, torch.cat([subject.run.train.targets] * 2)), Identity(), subject.run.device)
    sample = small_sample(replace(subject, run=replace(subject.run, train=loader), cache={}), 5)
    assert len(sample.images) == len(sample.images.unique(dim=0)) == len(subject.run.train.images.unique(dim=0))
    assert sum(len(targets) for _, targets in sample.batches) == len(sample.images)


@pytest.mark.parametrize(
    ("momentum", "total", "wanted"),
    [(0.1, 400, 0.1), (0.01, 400, 1 - 0.05 ** (1 / 50)), (0.01, 50, 0.01), (0.001, 400, 0.001)],
)
def test_averages_settle_within_fewer_steps_where_they_do_in_the_run(momentum, total, wanted):
    norm = Batch(momentum=momentum)(3)
    settle_averages(norm, 50, total)
    assert norm.momentum == pytest.approx(wanted)
