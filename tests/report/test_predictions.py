"""Predictions that are reduced batch by batch, against NumPy on all outputs at once."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from trainer.data.inputs import Predicted
from trainer.loss import BinaryCrossEntropy, CrossEntropy, Hinge, MeanSquaredError
from trainer.report.collector import Collector
from trainer.report.predictions import Predictions


def collected(task, criterion, outputs, targets, size=7, target=Predicted()):  # noqa: B008
    collector = Collector(task, criterion)
    for some, known in zip(outputs.split(size), targets.split(size)):
        collector.add(criterion(some, known), some, known)
    return collector.predictions(target)


def random_classes(count=40, classes=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    outputs = torch.randn(count, classes, generator=rng)
    return outputs, torch.nn.functional.one_hot(torch.randint(0, classes, (count,), generator=rng), classes).float()


@pytest.mark.parametrize("criterion", [CrossEntropy(), BinaryCrossEntropy(), Hinge(), MeanSquaredError()], ids=repr)
def test_of_classes(criterion):
    outputs, targets = random_classes()
    found = collected("classification", criterion, outputs, targets)
    o, true = outputs.numpy(), targets.numpy().argmax(1)
    known = {CrossEntropy: lambda o: softmax(o, 1), BinaryCrossEntropy: expit}.get(type(criterion), lambda o: o)(o)
    rows = np.arange(len(o))
    assert found.has_probabilities == isinstance(criterion, CrossEntropy | BinaryCrossEntropy)
    assert (found.true == true).all() and (found.predicted == o.argmax(1)).all() and found.outputs == 12
    np.testing.assert_allclose(found.score, known.max(1), rtol=1e-5)
    np.testing.assert_allclose(found.true_score, known[rows, true], rtol=1e-5)
    ordered = np.sort(known, 1)
    np.testing.assert_allclose(found.margin, ordered[:, -1] - ordered[:, -2], atol=1e-6)
    assert (found.rank == (o > o[rows, true][:, None]).sum(1)).all()


@pytest.mark.parametrize("criterion", [BinaryCrossEntropy(), Hinge()], ids=repr)
def test_of_one_output(criterion):
    outputs = torch.tensor([[2.0], [-1.0], [0.0], [-3.0]])
    targets = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    found = collected("binary", criterion, outputs, targets)
    assert found.true.tolist() == [1, 1, 1, 0] and found.predicted.tolist() == [1, 0, 0, 0] and found.outputs == 2
    assert found.rank.tolist() == [0, 1, 1, 0]  # an output of 0 says no
    p = expit(outputs.numpy()[:, 0]) if found.has_probabilities else outputs.numpy()[:, 0]
    no = 1 - p if found.has_probabilities else -p
    np.testing.assert_allclose(found.score, np.where(found.predicted == 1, p, no), rtol=1e-6)
    np.testing.assert_allclose(found.true_score, np.where(found.true == 1, p, no), rtol=1e-6)


def test_of_values_in_the_targets_own_unit():
    outputs, targets = torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.5]])
    target = Predicted(mean=(100.0, 3.0), deviation=(10.0, 2.0))
    found = collected("regression", MeanSquaredError(), outputs, targets, target=target)
    assert found.predicted.tolist() == [[100, 5], [120, 1]] and found.true.tolist() == [[110, 5], [100, 4]]
    assert found.mistakes(5).tolist() == [1, 0]


def test_the_worst_mistakes_come_first():
    """Sure of a wrong class before unsure of one; the right ones, however unsure, are no mistakes."""
    p = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.01, 0.04, 0.95], [0.4, 0.35, 0.25], [0.1, 0.6, 0.3]])
    labels = torch.tensor([1, 0, 2, 0, 2])
    targets = torch.nn.functional.one_hot(labels, 3).float()
    found = collected("classification", CrossEntropy(), p.clamp(min=1e-9).log(), targets)
    assert found.wrong.tolist() == [0, 1, 4]
    assert found.mistakes(5).tolist() == [0, 1, 4]
    assert found.mistakes(1).tolist() == [0] and found.uncertain(3).tolist() == [3, 4, 1]
    outputs = torch.tensor([[5.0, 1.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 9.0], [3.0, 2.9, 0.0], [0.0, 7.0, 0.0]])
    found = collected("classification", Hinge(), outputs, targets)
    assert found.mistakes(5).tolist() == [4, 0, 1]  # by the loss: 9, 5, 2.5
    assert found.uncertain(2).tolist() == [3, 1]  # by the margin: 0.1, 0.5


def test_outputs_that_are_no_numbers_are_the_worst_and_the_least_certain():
    outputs, targets = random_classes(6, 3)
    outputs[4] = float("nan")
    targets[4] = torch.tensor([0.0, 0.0, 1.0])
    found = collected("classification", CrossEntropy(), outputs, targets)
    assert found.uncertain(1).tolist() == [4] and found.mistakes(1).tolist() == [4] and found.rank[4] == 2


def test_of_equally_sure_mistakes_the_larger_loss_comes_first_then_the_earlier_sample():
    ones, zeros = np.ones(4, dtype=int), np.zeros(4, dtype=int)
    known = {"score": np.ones(4), "losses": np.array([1.0, 3.0, 2.0, 3.0]), "has_probabilities": True}
    found = Predictions(task="classification", true=zeros, predicted=ones, **known)
    assert found.mistakes(9).tolist() == [1, 3, 2, 0] and found.uncertain(2).tolist() == [0, 1]
