"""Checks of the fresh network: log C and entropies by hand, and broken beginnings."""

import math

import pytest
import torch
from checking import Net, subject_of
from scipy.stats import entropy
from torch import nn

from trainer.inspection import check_start
from trainer.inspection.check_gradients import gradient_flow


def silent_head(run):
    net = Net(run)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    return net


@pytest.mark.parametrize(
    ("words", "loss"),
    [
        ("data=digits", math.log(10)),
        ("data=iris", math.log(3)),
        ("data=breast_cancer loss=bce", math.log(2)),
        ("data=iris loss=hinge", 2.0),  # two other classes, each within the margin of 1
    ],
)
def test_the_loss_of_outputs_of_zero_is_that_of_a_guess(words, loss):
    found = check_start.initial_loss(subject_of(*words.split(), "model=mlp", model=silent_head))
    assert found.passed and found.value == pytest.approx(loss, rel=1e-6) and f"{loss:.4f}" in found.detail


def test_the_labels_entropy_and_the_targets_variance_are_shown():
    subject = subject_of("data=gaussians", "data.imbalance=20", "model=linear")
    labels = subject.run.data.train.targets.mean(0).double().numpy()
    shown = float(check_start.initial_loss(subject).detail.rpartition(" ")[2])
    # The entropy is that of the training split, the mean is over 256 samples of it.
    assert shown == pytest.approx(entropy(labels), rel=0.2) and shown < 0.8 * math.log(3)
    subject = subject_of("data=diabetes", model=silent_head)
    assert check_start.initial_loss(subject).value == pytest.approx(float(subject.batch[1].square().mean()))


def test_the_penalty_is_not_part_of_it():
    words = ("data=iris", "model=mlp", "reg=l2", "reg.loss.l2.strength=100.0")
    assert check_start.initial_loss(subject_of(*words)).passed


@pytest.mark.parametrize(("loss", "factor"), [(torch.sum, 2.0), (torch.mean, 1.0)])
def test_a_loss_that_sums_over_the_batch_is_found(loss, factor):
    def criterion(outputs, targets):
        losses = (outputs - targets).square().sum(1)
        return loss(losses).expand(len(losses))

    found = check_start.loss_is_a_mean(subject_of("data=iris", "model=linear", criterion=criterion))
    assert found.value == pytest.approx(factor, rel=1e-6) and found.passed is (factor == 1)


BROKEN = [
    ("init=zeros", check_start.symmetry_breaking),
    ("init=ones", check_start.symmetry_breaking),
    ("init=constant init.value=0.1", check_start.symmetry_breaking),
    ("bias=constant bias.value=-10", check_start.dead_units),
    ("bias=constant bias.value=-10", check_start.centred_outputs_of_layers),
    ("act=tanh bias=constant bias.value=10", check_start.saturated_units),
    ("model=deep_mlp init=normal init.std=1", check_start.initial_loss),
    ("model=deep_mlp init=normal init.std=1", check_start.signal_through_the_layers),
    ("model=deep_mlp init=normal init.std=0.001", check_start.signal_through_the_layers),
    ("model=deep_mlp init=normal init.std=0.001", gradient_flow),
    ("model=deep_mlp act=tanh init=normal init.std=0.01", check_start.signal_through_the_layers),
    ("model=deep_mlp act=sigmoid", gradient_flow),
]


@pytest.mark.parametrize(("words", "check"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_beginning_fails_the_check_that_is_about_it(words, check):
    found = check(subject_of("data=digits", "model=mlp", *words.split()))
    assert found.passed is False and found.meaning.endswith(".")


START = [
    check_start.initial_loss,
    check_start.loss_is_a_mean,
    check_start.symmetry_breaking,
    check_start.centred_outputs_of_layers,
    check_start.signal_through_the_layers,
    check_start.dead_units,
    check_start.saturated_units,
    gradient_flow,
]


@pytest.mark.parametrize(
    "words",
    [
        "model=mlp",
        "model=linear",
        "model=deep_mlp act=tanh init=xavier_normal",
        "model=cnn norm=batch",
        "model=resnet20 init=fixup",  # its branches and its head begin at 0
        "data=diabetes",
        "data=breast_cancer model=linear",
        "data=wine model=mlp act=selu init=lecun_normal",
        "data=spirals model=mlp act=maxout",
    ],
)
def test_a_healthy_beginning_is_accused_of_nothing(words):
    subject = subject_of(*words.split())
    assert [check(subject).meaning for check in START if check(subject).passed is False] == []


def test_the_product_of_slopes_is_shown():
    """Sigmoid near 0 has the slope 1/4: six of them, 1/4096."""
    words = ("data=digits", "model=deep_mlp", "act=sigmoid", "init=normal", "init.std=1e-4")
    product = float(gradient_flow(subject_of(*words)).detail.rpartition(" ")[2])
    assert product == pytest.approx(4**-6, rel=0.05)
