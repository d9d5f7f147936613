"""Losses against closed forms, loops and torch's own criteria, in float64, where only rounding differs (rtol 1e-12)."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from trainer.base.errors import ConfigError
from trainer.base.protocols import HasProbabilities
from trainer.engine.build import build_run
from trainer.loss import BinaryCrossEntropy, CrossEntropy, Hinge, MeanSquaredError

EVERY = [CrossEntropy(), BinaryCrossEntropy(), MeanSquaredError(), MeanSquaredError(reduction="sum"), Hinge()]
EXACT = {"rtol": 1e-12, "atol": 1e-12}  # a few dozen float64 operations


@pytest.fixture
def outputs():
    return torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).mul_(3).requires_grad_()


@pytest.fixture
def soft():
    return torch.rand(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).softmax(1)


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 3, 3, 0, 2])


@pytest.fixture
def hard(labels):
    return F.one_hot(labels, 4).double()


@pytest.mark.parametrize("criterion", EVERY)
def test_every_loss_gives_one_number_a_sample(criterion, outputs, hard):
    assert criterion(outputs, hard).shape == (7,) and (criterion(outputs, hard) >= 0).all()


def test_cross_entropy_by_hand():
    outputs = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # softmax = 1/4, 3/4
    targets = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    expected = torch.tensor([math.log(4) - math.log(3) / 2], dtype=torch.float64)
    assert_close(CrossEntropy()(outputs, targets), expected, **EXACT)


def test_cross_entropy_is_torchs_for_soft_targets_and_for_labels(outputs, soft, hard, labels):
    assert_close(CrossEntropy()(outputs, soft), F.cross_entropy(outputs, soft, reduction="none"), **EXACT)
    assert_close(CrossEntropy()(outputs, hard), F.cross_entropy(outputs, labels, reduction="none"), **EXACT)


@pytest.mark.parametrize(
    ("criterion", "squash"), [(CrossEntropy(), lambda o: o.softmax(1)), (BinaryCrossEntropy(), torch.sigmoid)]
)
def test_gradient_of_both_cross_entropies_is_probability_minus_target(criterion, squash, outputs, soft):
    criterion(outputs, soft).sum().backward()
    assert_close(outputs.grad, squash(outputs.detach()) - soft, **EXACT)


def test_binary_cross_entropy_sums_the_outputs_of_a_sample(outputs, soft):
    p = 1 / (1 + (-outputs.detach()).exp())
    expected = -(soft * p.log() + (1 - soft) * (1 - p).log()).sum(1)
    assert_close(BinaryCrossEntropy()(outputs.detach(), soft), expected, **EXACT)


@pytest.mark.parametrize(("criterion", "expected"), [(CrossEntropy(), [2e4, 0.0]), (BinaryCrossEntropy(), [2e4, 0.0])])
def test_large_outputs_give_large_losses_and_no_overflow(criterion, expected):
    outputs = torch.tensor([[-1e4, 1e4], [1e4, -1e4]])
    assert criterion(outputs, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist() == expected


def test_mean_squared_error_averages_the_outputs_of_a_sample(outputs, soft):
    assert_close(MeanSquaredError()(outputs, soft), F.mse_loss(outputs, soft, reduction="none").mean(1), **EXACT)
    assert MeanSquaredError()(torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 2.0]])).tolist() == [5.0]


def test_mean_squared_error_sums_the_outputs_where_asked(outputs, soft):
    """The lectures' ||o - t||^2 with gradient 2 (o - t), of which the mean is a K-th."""
    losses = MeanSquaredError(reduction="sum")(outputs, soft)
    assert_close(losses, (outputs - soft).norm(dim=1) ** 2, **EXACT)
    losses.sum().backward()
    assert_close(outputs.grad, 2 * (outputs.detach() - soft), **EXACT)
    assert_close(MeanSquaredError()(outputs, soft) * 4, losses, **EXACT)


def test_gradient_of_the_mean_squared_error_is_twice_the_error_over_the_number_of_outputs(outputs, soft):
    MeanSquaredError()(outputs, soft).sum().backward()
    assert_close(outputs.grad, (outputs.detach() - soft) / 2, **EXACT)


@pytest.mark.parametrize("reduction", ["none", "Sum", ""])
def test_mean_squared_error_refuses_other_reductions(reduction):
    with pytest.raises(ValueError, match=f"reduction must be one of mean, sum, got {reduction}"):
        MeanSquaredError(reduction=reduction)


@pytest.mark.parametrize("criterion", [CrossEntropy(), BinaryCrossEntropy()])
def test_a_step_down_the_gradient_lifts_the_true_logit_and_lowers_the_others(criterion, outputs, hard):
    criterion(outputs, hard).sum().backward()
    assert torch.equal(outputs.grad < 0, hard.bool())


def test_both_cross_entropies_are_one_for_two_classes(outputs, soft):
    """The sigmoid of a difference of logits is the softmax of the two."""
    pair, p = outputs.detach()[:, :2], soft[:, :1]
    expected = CrossEntropy()(pair, torch.cat([p, 1 - p], 1))
    assert_close(BinaryCrossEntropy()(pair[:, :1] - pair[:, 1:], p), expected, **EXACT)


@pytest.mark.parametrize("criterion", EVERY)
def test_a_loss_of_mixed_labels_is_the_mix_of_the_labels_losses(criterion, outputs, soft):
    """True of losses linear in the targets; the squared error is less by the labels' spread, for any outputs."""
    alone = torch.stack([criterion(outputs, F.one_hot(torch.full((7,), k), 4).double()) for k in range(4)], 1)
    outputs_averaged = {MeanSquaredError(): 4, MeanSquaredError(reduction="sum"): 1}
    spread = (1 - soft.square().sum(1)) / outputs_averaged[criterion] if criterion in outputs_averaged else 0
    assert_close(criterion(outputs, soft), (soft * alone).sum(1) - spread, **EXACT)


@pytest.mark.parametrize("criterion", EVERY)
def test_the_mean_over_a_batch_does_not_depend_on_its_parts(criterion, outputs, soft):
    parts = [criterion(outputs[first : first + 3], soft[first : first + 3]) for first in (0, 3, 6)]
    assert_close(sum(part.sum() for part in parts) / 7, criterion(outputs, soft).mean(), **EXACT)


@pytest.mark.parametrize("criterion", EVERY)
def test_outputs_of_a_bf16_forward_pass_give_float32_losses_and_gradients(criterion, hard):
    torch.manual_seed(0)
    layer, images = torch.nn.Linear(5, 4), torch.randn(7, 5)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(images)
    losses = criterion(outputs.float(), hard.float())
    losses.mean().backward()
    assert outputs.dtype == torch.bfloat16 and losses.dtype == torch.float32 and layer.weight.grad.abs().max() > 0
    # float32 operations on the same bf16 outputs.
    assert_close(losses.double(), criterion(outputs.detach().double(), hard), rtol=1e-5, atol=1e-6)


def test_hinge_by_hand():
    """The example of cs231n."""
    outputs = torch.tensor([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], dtype=torch.float64)
    expected = torch.tensor([2.9, 0.0, 12.9], dtype=torch.float64)
    assert_close(Hinge()(outputs, torch.eye(3, dtype=torch.float64)), expected, **EXACT)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_hinge_is_the_sum_over_wrong_classes(margin, outputs, hard, labels):
    expected = [
        sum(max(0.0, row[j] - row[y] + margin) for j in range(4) if j != y)
        for row, y in zip(outputs.tolist(), labels.tolist())
    ]
    assert_close(Hinge(margin=margin)(outputs, hard), torch.tensor(expected, dtype=torch.float64), **EXACT)
    torchs = F.multi_margin_loss(outputs, labels, margin=margin, reduction="none")
    assert_close(Hinge(margin=margin)(outputs, hard), 4 * torchs, **EXACT)


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_gradient_of_the_hinge_counts_the_classes_within_the_margin(margin, outputs, hard, labels):
    Hinge(margin=margin)(outputs, hard).sum().backward()
    expected = torch.zeros(7, 4, dtype=torch.float64)
    for sample, (row, y) in enumerate(zip(outputs.tolist(), labels.tolist())):
        for j in range(4):
            if j != y and row[j] - row[y] + margin > 0:
                expected[sample, j] += 1
                expected[sample, y] -= 1
    assert_close(outputs.grad, expected, **EXACT)


def test_hinge_weighs_the_classes_of_soft_targets(outputs, soft):
    each = torch.stack([Hinge()(outputs, F.one_hot(torch.full((7,), k), 4).double()) for k in range(4)], 1)
    assert_close(Hinge()(outputs, soft), (soft * each).sum(1), **EXACT)


def test_hinge_of_one_output_pushes_yes_above_and_no_below_the_margin():
    outputs = torch.tensor([[0.25], [3.0], [0.25], [-3.0], [0.5]])
    targets = torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.5]])
    assert Hinge(margin=2.0)(outputs, targets).tolist() == [1.75, 0.0, 2.25, 0.0, 2.0]


@pytest.mark.parametrize("margin", [-1.0, math.nan])
def test_hinge_refuses_a_margin_below_zero(margin):
    with pytest.raises(ValueError, match=f"margin must be >= 0, got {margin}"):
        Hinge(margin=margin)


FREQUENCIES = [
    [0.6, 0.3, 0.1], [0.55, 0.35, 0.1], [0.4, 0.3, 0.3], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0],
    [0.1, 0.2, 0.3, 0.4], [0.02, 0.5, 0.08, 0.3, 0.1], [0.5, 0.5],
]  # fmt: skip


@pytest.mark.parametrize("margin", [1.0, 0.5])
@pytest.mark.parametrize("frequencies", FREQUENCIES, ids=str)
def test_the_constant_of_the_hinge_reaches_the_minimum_of_the_linear_program(frequencies, margin):
    p, count = np.array(frequencies), len(frequencies)
    pairs = [(y, j) for y in range(count) for j in range(count) if y != j]
    bounds = np.zeros((len(pairs), count + len(pairs)))  # o_j - o_y + margin <= slack of the pair
    for row, (y, j) in enumerate(pairs):
        bounds[row, j], bounds[row, y], bounds[row, count + row] = 1.0, -1.0, -1.0
    costs = np.concatenate([np.zeros(count), [p[y] for y, _ in pairs]])
    free = [(None, None)] * count + [(0, None)] * len(pairs)
    best = scipy.optimize.linprog(costs, bounds, np.full(len(pairs), -margin), bounds=free).fun
    targets = torch.eye(count, dtype=torch.float64).repeat_interleave(torch.from_numpy(p * 100).round().long(), dim=0)
    criterion = Hinge(margin=margin)
    outputs = criterion.constant(targets)
    assert criterion(outputs.expand(len(targets), -1), targets).mean().item() == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("ones", [30, 70])
def test_the_constant_of_the_binary_hinge_takes_the_side_of_the_majority(ones):
    targets = torch.tensor([[1.0]] * ones + [[0.0]] * (100 - ones), dtype=torch.float64)
    criterion, minority = Hinge(margin=2.0), min(ones, 100 - ones) / 100
    outputs = criterion.constant(targets).expand(100, 1)
    assert criterion(outputs, targets).mean().item() == pytest.approx(minority * 4.0)  # twice the margin, else 0


SMOOTH = [CrossEntropy(), BinaryCrossEntropy(), MeanSquaredError(), MeanSquaredError(reduction="sum")]


@pytest.mark.parametrize("criterion", SMOOTH)
def test_the_gradient_at_the_constant_is_zero(criterion):
    targets = torch.eye(4, dtype=torch.float64)[[0] * 60 + [1] * 25 + [2] * 10 + [3] * 5]
    constant = criterion.constant(targets).requires_grad_()
    criterion(constant.expand(100, 4), targets).mean().backward()
    assert constant.grad.abs().max() < 1e-12  # float64


def test_the_constant_of_a_regression_is_the_mean_and_its_loss_the_variance():
    targets = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for criterion, times in ((MeanSquaredError(), 1), (MeanSquaredError(reduction="sum"), 2)):
        loss = criterion(criterion.constant(targets).expand(50, 2), targets).mean()
        assert_close(loss, targets.var(0, correction=0).mean() * times, **EXACT)


def test_without_a_margin_the_hinge_is_the_perceptrons_loss_of_one_output_and_of_classes():
    """max(0, -y o) with y = +-1, and the sum over wrong classes of max(0, o_j - o_y)."""
    outputs, targets = torch.tensor([[0.25], [-3.0], [0.25], [-3.0]]), torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    assert Hinge(margin=0.0)(outputs, targets).tolist() == [0.0, 3.0, 0.25, 0.0]
    scores = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
    assert Hinge(margin=0.0)(scores, torch.eye(3)[[0, 1]]).tolist() == [3.0, 0.0]


def test_perceptrons_that_begin_at_zero_follow_rosenblatts_rule():
    """w <- w + y x for each sample with y w x <= 0, y = +-1, which SGD of rate 1 and batches of 1 takes."""
    draws = np.random.default_rng(0)
    x = draws.standard_normal((40, 3))
    y = np.sign(x @ [1.0, -2.0, 0.5])
    weight, expected = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True), np.zeros(3)
    sgd, samples = torch.optim.SGD([weight], lr=1.0), torch.from_numpy(x)
    for one, sign in zip(range(40), y):
        expected += sign * x[one] * (sign * expected @ x[one] <= 0)
        sgd.zero_grad()
        Hinge(margin=0.0)(samples[[one]] @ weight.T, torch.tensor([[(sign + 1) / 2]])).sum().backward()
        sgd.step()
        assert weight.detach().numpy()[0] == pytest.approx(expected, abs=1e-12)
    assert expected.any()


def test_classes_that_tie_at_zero_are_told_apart_without_a_margin():
    outputs = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    Hinge(margin=0.0)(outputs, torch.eye(3, dtype=torch.float64)[[1]]).sum().backward()
    assert outputs.grad.tolist() == [[1.0, -2.0, 1.0]]


@pytest.mark.parametrize(
    ("data", "criterion"),
    [
        ("iris", CrossEntropy),
        ("breast_cancer", BinaryCrossEntropy),
        ("diabetes", MeanSquaredError),
        ("regression", MeanSquaredError),
    ],
)
def test_auto_is_the_loss_of_the_kind_of_data(data, criterion, composed):
    assert build_run(composed(f"data={data}", "loss=auto")).criterion == criterion()
    with pytest.raises(ConfigError, match="is for classification"):
        build_run(composed("data=regression", "loss=cross_entropy"))


def test_probabilities_of_hand_worked_outputs():
    outputs = torch.tensor([[0.0, math.log(3.0)], [math.log(9.0), 0.0]])
    softmax = torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    sigmoid = torch.tensor([[0.5, 0.75], [0.9, 0.5]])
    assert_close(CrossEntropy().probabilities(outputs), softmax)
    assert_close(BinaryCrossEntropy().probabilities(outputs), sigmoid)
    for without in (Hinge(), MeanSquaredError()):
        assert not isinstance(without, HasProbabilities)
