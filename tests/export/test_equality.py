"""Comparison of answers: probabilities as they are, values in units of the target's deviation."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from trainer.data.inputs import Predicted, named_columns
from trainer.export.equality import LIMIT, compare, largest_difference
from trainer.inference.model import TrainedModel
from trainer.loss import CrossEntropy, Hinge, MeanSquaredError
from trainer.rundir.description import Description


def model_of(task, criterion, **predicted):
    """Return a model whose answers are its inputs (B, 2), before the loss makes probabilities of them."""
    classes = () if task == "regression" else ("a", "b")
    description = Description(
        task=task, classes=classes, inputs=named_columns(["x", "y"]), predicted=Predicted(**predicted),
        preprocess=None, input_shape=(2,), outputs=2, config={}, choices={},
    )  # fmt: skip
    return TrainedModel(
        module=nn.Identity(), preprocess=lambda rows: rows, criterion=criterion,
        views=lambda network, rows: network(rows)[None], description=description, device=torch.device("cpu"),
        autocast=nullcontext, source="a test",
    )  # fmt: skip


SOFTMAX = model_of("classification", CrossEntropy())
VALUES = model_of("regression", MeanSquaredError(), mean=(1e6, 0.0), deviation=(100.0, 1.0))
MARGINS = model_of("classification", Hinge())


def test_probabilities_are_compared_as_they_are():
    one, two = torch.tensor([[0.25, 0.75]]), torch.tensor([[0.25, 0.5]])
    assert largest_difference(one, two, SOFTMAX) == 0.25


def test_values_are_compared_in_units_of_the_deviation():
    wanted = torch.tensor([[1e6, 3.0]])
    assert largest_difference(wanted + torch.tensor([[50.0, 0.0]]), wanted, VALUES) == pytest.approx(0.5, abs=0.01)
    assert largest_difference(wanted + torch.tensor([[0.0, 0.5]]), wanted, VALUES) == pytest.approx(0.5, abs=1e-5)
    neighbour = torch.nextafter(wanted, wanted + 1)  # float32 has nothing between them
    assert largest_difference(neighbour, wanted, VALUES) == 0


def test_outputs_that_are_no_probabilities_are_compared_relative_to_the_largest():
    wanted = torch.tensor([[200.0, 1.0], [100.0, 0.5]])
    found = wanted + torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert largest_difference(found, wanted, MARGINS) == pytest.approx(1 / 200, rel=1e-3)
    assert largest_difference(found * 1e-3, wanted * 1e-3, MARGINS) == pytest.approx(1e-3, rel=1e-3)  # all below 1


@pytest.mark.parametrize("model", [SOFTMAX, VALUES, MARGINS])
def test_what_is_not_finite_must_be_the_same(model):
    wanted = torch.tensor([[float("nan"), float("inf")]])
    assert largest_difference(wanted.clone(), wanted, model) == 0
    assert largest_difference(torch.zeros(1, 2), wanted, model) == float("inf")
    assert largest_difference(wanted, torch.zeros(1, 2), model) == float("inf")
    assert largest_difference(torch.zeros(2, 2), torch.zeros(1, 2), model) == float("inf")  # of another shape


def test_a_difference_in_one_size_of_batch_is_found():
    rows = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    seen = []

    def wrong_in_twos(batch):
        seen.append(len(batch))
        return SOFTMAX(batch) + (2e-5 if len(batch) == 2 else 0)

    found = compare(wrong_in_twos, SOFTMAX, rows, "made up")
    assert set(seen) == {1, 2, 64, 256} and seen.count(64) == 4
    assert {size for size, gap in found.by_batch.items() if gap > LIMIT} == {2}
    assert not found.holds and found.largest == pytest.approx(2e-5, rel=0.01) and found.samples == 256
    assert compare(SOFTMAX, SOFTMAX, rows[:5], "made up").holds  # few are used repeatedly
    assert compare(SOFTMAX, SOFTMAX, rows[:5], "made up").samples == 5
