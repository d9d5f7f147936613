"""Initialisers of biases: the values, and the loss that a model without weights begins with."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from trainer.base.errors import ConfigError
from trainer.bias import Constant, Marginal, Zero
from trainer.engine.build import build_run
from trainer.loss import BinaryCrossEntropy, CrossEntropy, Hinge, MeanSquaredError
from trainer.norm import Batch


def net(outputs, bias=True):
    return nn.Sequential(
        nn.Linear(5, 6, bias), Batch()(6), nn.ReLU(), nn.Linear(6, 7, bias), nn.ReLU(), nn.Linear(7, outputs)
    )


def filled(outputs, bias=True):
    model = net(outputs, bias)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    return model


@pytest.mark.parametrize(
    ("rule", "hidden", "head"),
    [
        (Zero(), 0.0, [0.0] * 3),
        (Constant(), 0.1, [0.0] * 3),
        (Constant(value=-2.0, head=3.0), -2.0, [3.0] * 3),
        (Marginal(), 0.0, None),
    ],
)
def test_a_rule_sets_the_biases_of_dense_layers_and_nothing_else(rule, hidden, head):
    model, targets = filled(3), torch.eye(3)
    rule(model, targets, CrossEntropy())
    head = [math.log(1 / 3)] * 3 if head is None else head  # three classes alike
    for layer, value in ((model[0], [hidden] * 6), (model[3], [hidden] * 7), (model[5], head)):
        assert layer.bias.tolist() == pytest.approx(value, rel=1e-6)  # float32
    assert all((layer.weight == 0.5).all() for layer in (model[0], model[3], model[5])) and (model[1].bias == 0.5).all()


def start(targets, criterion):
    """Return the mean loss over the targets of a model whose last weights are 0."""
    model = net(targets.shape[1])
    nn.init.zeros_(model[5].weight)
    Marginal()(model, targets, criterion)
    return criterion(model(torch.randn(len(targets), 5)), targets).mean().item()


def test_marginal_begins_a_classifier_at_the_entropy_of_its_labels():
    targets = torch.eye(3)[[0] * 70 + [1] * 25 + [2] * 5]
    entropy = -(0.7 * math.log(0.7) + 0.25 * math.log(0.25) + 0.05 * math.log(0.05))
    assert start(targets, CrossEntropy()) == pytest.approx(entropy, rel=1e-5)  # float32 sums of 100 terms


def test_marginal_begins_a_binary_task_at_the_binary_entropy():
    targets = torch.tensor([[1.0]] * 10 + [[0.0]] * 90)
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert start(targets, BinaryCrossEntropy()) == pytest.approx(entropy, rel=1e-5)


def test_marginal_begins_a_regression_at_the_variance():
    values = np.random.default_rng(0).normal(5, 3, (200, 1))
    assert start(torch.from_numpy(values).float(), MeanSquaredError()) == pytest.approx(values.var(), rel=1e-5)


@pytest.mark.parametrize("criterion", [CrossEntropy(), BinaryCrossEntropy(), MeanSquaredError(), Hinge()])
def test_marginal_begins_at_the_best_constant_of_the_loss_chosen(criterion):
    targets = torch.eye(3)[[0] * 60 + [1] * 25 + [2] * 15]
    p = np.array([0.6, 0.25, 0.15])
    expected = {
        CrossEntropy: -(p * np.log(p)).sum(),
        BinaryCrossEntropy: -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(),
        MeanSquaredError: (p * (1 - p)).mean(),
        Hinge: 0.25 * 3 + 0.15 * 3,  # one margin for the first class: 2 and 1 for each of the others
    }
    assert start(targets, criterion) == pytest.approx(expected[type(criterion)], rel=1e-5)  # float32


def test_marginal_refuses_a_loss_of_the_users_own_whose_constant_it_cannot_know():
    with pytest.raises(ValueError, match="function has no method `constant`; try bias=zero"):
        Marginal()(net(3), torch.eye(3), lambda outputs, targets: (outputs - targets).abs().sum(1))


def test_marginal_takes_values_of_two_columns_by_column():
    model, values = net(2), torch.tensor([[1.0, 10.0], [4.0, 20.0]])
    Marginal()(model, values, MeanSquaredError())
    assert model[5].bias.tolist() == [2.5, 15.0]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        # a class that does not occur: half of one in four
        (torch.eye(3)[[0, 0, 0, 1]], [math.log(3 / 4), math.log(1 / 4), math.log(1 / 8)]),
        (torch.ones(4, 1), [math.log(7)]),  # p = 7/8
        (torch.zeros(4, 1), [-math.log(7)]),
    ],
)
def test_marginal_counts_a_class_that_does_not_occur_as_half_a_sample(targets, expected):
    model = net(targets.shape[1])
    Marginal()(model, targets, BinaryCrossEntropy() if targets.shape[1] == 1 else CrossEntropy())
    assert model[5].bias.tolist() == pytest.approx(expected, rel=1e-6)


def test_constant_says_that_no_hidden_layer_has_a_bias():
    with pytest.raises(ValueError, match="norms replace it; try bias=zero, norm=none"):
        Constant()(net(3, bias=False), torch.eye(3), CrossEntropy())
    with pytest.raises(ValueError, match="no hidden layer; try bias=zero"):
        Constant()(nn.Linear(5, 3), torch.eye(3), CrossEntropy())


def test_marginal_says_that_the_last_layer_has_no_bias():
    with pytest.raises(ValueError, match="try bias=zero"):
        Marginal()(nn.Linear(5, 3, bias=False), torch.eye(3), CrossEntropy())


def test_zero_takes_layers_without_a_bias():
    model = filled(3, bias=False)
    Zero()(model, torch.eye(3), CrossEntropy())
    assert not model[5].bias.any()


@pytest.mark.parametrize("field", ["value", "head"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_constant_refuses_values_that_are_not_finite(field, bad):
    with pytest.raises(ValueError, match=f"{field} must be in"):
        Constant(**{field: bad})


@pytest.fixture
def unbalanced(tmp_path):
    """Make a folder of grey images of three classes, 40, 8 and 2 of them to train on."""
    draws = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, count in (("a", 40), ("b", 8), ("c", 2)):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draws.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path


def entropy(counts):
    return -sum(count / sum(counts) * math.log(count / sum(counts)) for count in counts)


# float32; outputs of 0.01 sqrt(16) x about 0.02
@pytest.mark.parametrize(("init", "tolerance"), [("zeros", 1e-5), ("small_normal", 0.01)])
def test_marginal_begins_a_run_on_unbalanced_images_at_the_entropy_of_its_labels(init, tolerance, unbalanced, composed):
    data = ("data=image_folder", f"data.root={unbalanced}", "data.val_fraction=0", "batch_size=full")
    overrides = (*data, "model=mlp", "model.hidden=[16]", f"init={init}", "threads=1")
    losses = {bias: first_loss(build_run(composed(*overrides, f"bias={bias}"))) for bias in ("marginal", "zero")}
    assert losses["marginal"] == pytest.approx(entropy([40, 8, 2]), rel=tolerance)  # 0.60
    assert losses["zero"] == pytest.approx(math.log(3), rel=tolerance)  # the first loss of bias=zero: 1.10


def test_marginal_begins_a_run_on_a_table_at_the_entropy_of_its_labels(composed):
    run = build_run(composed("data=breast_cancer", "model=mlp", "init=zeros", "bias=marginal", "threads=1"))
    targets = run.train.targets
    ones = targets.sum(0).tolist()
    counts = ones if len(ones) > 1 else [ones[0], len(targets) - ones[0]]
    assert first_loss(run) == pytest.approx(entropy(counts), rel=1e-5)
    assert sorted(counts)[0] < 0.4 * sum(counts)


def first_loss(run):
    images, targets = run.train.batch(torch.arange(len(run.train)))
    with torch.no_grad():
        return run.criterion(run.model(images), targets).mean().item()


@pytest.mark.parametrize("overrides", [(), ("norm=batch", "norm.place=after_act")])
def test_constant_reaches_the_hidden_layers_of_a_run(overrides, composed):
    run = build_run(composed("model=mlp", "bias=constant", "bias.value=0.25", "threads=1", *overrides))
    *hidden, head = [layer for layer in run.model.modules() if isinstance(layer, nn.Linear)]
    assert len(hidden) == 2 and all((layer.bias == 0.25).all() for layer in hidden) and not head.bias.any()


def test_constant_says_in_a_run_that_norms_replace_the_biases(composed):
    with pytest.raises(ConfigError, match="^bias.*norms replace it; try bias=zero, norm=none$"):
        build_run(composed("model=mlp", "norm=batch", "bias=constant", "threads=1"))
