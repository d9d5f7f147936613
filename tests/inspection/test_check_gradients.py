"""Checks of gradients: leaks by hand, wrong backward passes in a model."""

import pytest
import torch
from checking import Detached, Dropping, Failing, Mixing, Net, subject_of
from torch import nn

from trainer.inspection import check_gradients
from trainer.inspection.checks import checked


class MeanLess(nn.Module):
    """Each output is its input less the mean over the batch."""

    def __init__(self, run):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return (images - images.mean(0))[:, :3] * self.scale


def test_the_leak_of_a_mean_by_hand():
    """d(x_i - mean)/dx_j is 1 - 1/B for j = i and -1/B for the B - 1 others: they have half of it."""
    found = check_gradients.independent_samples(subject_of("data=iris", model=MeanLess))
    assert found.passed is False and found.value == pytest.approx(0.5)


class Sorting(Net):
    """The order of the batch is visible, and no gradient passes."""

    def hidden(self, images):
        hidden = super().hidden(images)
        return hidden + hidden.detach().sum(0)


class OverTheBatch(Net):
    def forward(self, images):
        return super().forward(images).softmax(0)


@pytest.mark.parametrize("model", [Mixing, Sorting, OverTheBatch])
def test_models_that_mix_samples_are_found(model):
    assert check_gradients.independent_samples(subject_of("data=iris", model=model)).passed is False


@pytest.mark.parametrize("words", ["norm=batch", "norm=layer", "model=resnet20 norm=batch", "pool=fractional"])
def test_layers_that_keep_samples_apart_in_evaluation_pass(words):
    found = check_gradients.independent_samples(subject_of("data=digits", *words.split()))
    assert found.passed and found.value < 1e-6


@pytest.mark.parametrize("model", [Net, Dropping])
def test_models_that_keep_samples_apart_pass(model):
    assert check_gradients.independent_samples(subject_of("data=iris", model=model)).passed


class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, grad):
        return grad * (1 - ctx.saved_tensors[0].tanh())  # the square is missing


class WrongTanh(nn.Module):
    def forward(self, x):
        return Clipped.apply(x)


def with_wrong_tanh(run):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), WrongTanh(), nn.Linear(8, 3))


def test_a_wrong_backward_is_named():
    found = check_gradients.gradients_against_differences(subject_of("data=iris", model=with_wrong_tanh))
    assert found.passed is False and found.value == 1
    assert "WrongTanh (" in found.meaning and "test_check_gradients.py) at 2" in found.meaning


def test_a_wrong_loss_and_a_wrong_penalty_are_named():
    def criterion(outputs, targets):
        return (Clipped.apply(outputs) - targets).square().sum(1)

    found = check_gradients.gradients_against_differences(subject_of("data=iris", criterion=criterion))
    assert found.passed is False and "function" in found.meaning

    def penalty(model, images, outputs, targets):
        return sum(Clipped.apply(weight).sum() for weight in model.parameters())

    from dataclasses import replace

    subject = subject_of("data=iris", "model=mlp")
    slots = replace(subject.run.slots, loss=[penalty])
    subject = replace(subject, run=replace(subject.run, slots=slots), cache={})
    assert check_gradients.gradients_against_differences(subject).passed is False


def test_a_detached_layer_shows_in_the_gradient():
    assert check_gradients.gradients_against_differences(subject_of("data=iris", model=Detached)).passed is False


def test_a_model_of_single_precision_is_said_not_to_be_compared():
    class Single(Net):
        def forward(self, images):
            return super().forward(images.float())

    found = check_gradients.gradients_against_differences(subject_of("data=iris", model=Single))
    assert found.passed and "not compared: the model in float64 raises RuntimeError" in found.detail


def test_a_check_in_which_a_technique_raises_says_so_in_one_line():
    subject = subject_of("data=iris", model=Failing)
    found = checked(check_gradients.independent_samples, subject)
    assert found.passed is False and found.name == "independent samples"
    assert "checking.py:" in found.meaning and "raises IndexError: no such feature" in found.meaning
