"""Nearest neighbours: their score is that of scikit-learn, each sample left out once."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from trainer.base.neighbours import score_of_neighbours

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(60, 2, 2)).astype(np.float32)
LABELS = (INPUTS[:, 0, 0] + 0.5 * RNG.normal(size=60) > 0).astype(int) + (INPUTS[:, 1, 1] > 1)


def predicted(model, targets):
    return cross_val_predict(model, INPUTS.reshape(60, 4), targets, cv=LeaveOneOut())


@pytest.mark.parametrize("count", [1, 5])
def test_classes(count):
    wanted = (predicted(KNeighborsClassifier(count), LABELS) == LABELS).mean()
    one_hot = torch.nn.functional.one_hot(torch.tensor(LABELS)).float()
    assert score_of_neighbours(torch.tensor(INPUTS), one_hot, "classification", count) == pytest.approx(wanted)


@pytest.mark.parametrize("count", [1, 5])
def test_two_classes_of_one_output(count):
    wanted = (predicted(KNeighborsClassifier(count), LABELS > 0) == (LABELS > 0)).mean()
    targets = torch.tensor(LABELS > 0).float()[:, None]
    assert score_of_neighbours(torch.tensor(INPUTS), targets, "binary", count) == pytest.approx(wanted)


def test_values():
    """r2 = 1 - sum of squared errors / sum of squared deviations, over both targets."""
    targets = INPUTS.reshape(60, 4)[:, :2] + 0.1
    errors = ((predicted(KNeighborsRegressor(5), targets) - targets) ** 2).sum()
    wanted = 1 - errors / ((targets - targets.mean(0)) ** 2).sum()
    found = score_of_neighbours(torch.tensor(INPUTS), torch.tensor(targets), "regression", 5)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_more_neighbours_than_samples():
    """All others are asked: two of three samples of class 0 are right, the third one is not."""
    targets = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    assert score_of_neighbours(torch.tensor([[0.0], [1], [2]]), targets, "classification", 5) == pytest.approx(2 / 3)
