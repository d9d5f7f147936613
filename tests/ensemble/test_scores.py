"""Scores, differences and diversity against NumPy and scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, r2_score

from trainer.base.errors import DataError
from trainer.data.inputs import Predicted
from trainer.ensemble.members import Answers, Member, require_alike
from trainer.ensemble.result import averaged, ensemble_of, subsets
from trainer.ensemble.scores import Scorer, difference


@pytest.fixture
def classes():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, 50)
    logits = rng.normal(size=(3, 50, 4)) + np.eye(4)[true]
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), true


def member(values, true, digest="a", split="test", **change):
    known = {"task": "classification", "names": ("a", "b", "c", "d"), "has_probabilities": True}
    answers = {split: Answers(values=values, true=true, samples=digest)}
    return Member(source=f"runs/{digest}", answers=answers, **{**known, "predicted": Predicted(), **change})


def test_loss_and_accuracy_are_those_of_scikit_learn(classes):
    answers, true = classes
    scorer = Scorer(task="classification", true=true, has_probabilities=True)
    for one, losses, scores in zip(answers, scorer.losses(answers), scorer.scores(answers)):
        assert losses.mean() == pytest.approx(log_loss(true, one))
        assert scores.mean() == pytest.approx(accuracy_score(true, one.argmax(1)))


def test_r2_of_several_outputs_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    true = rng.normal(size=(30, 2)) * [1, 5]
    answers = true + rng.normal(size=(30, 2))
    scorer = Scorer(task="regression", true=true, has_probabilities=False)
    expected = r2_score(true, answers, multioutput="variance_weighted")
    assert scorer.scores(answers).mean() == pytest.approx(expected)
    assert scorer.losses(answers).mean() == pytest.approx(((answers - true) ** 2).mean())


def test_without_probabilities_there_is_no_loss(classes):
    answers, true = classes
    scorer = Scorer(task="classification", true=true, has_probabilities=False)
    assert np.isnan(scorer.losses(answers)).all() and not scorer.has_loss
    result = ensemble_of([member(each, true, has_probabilities=False) for each in answers], "test", False, "loss", 5)
    assert all("loss" not in row for row in result.rows())


def test_the_standard_error_is_that_of_paired_samples():
    one, other = np.array([1.0, 1, 0, 1, 1]), np.array([1.0, 0, 0, 1, 0])
    found = difference(one, other)  # differences 0, 1, 0, 0, 1: variance 0.3 over 5 samples
    assert found.mean == pytest.approx(0.4) and found.error == pytest.approx(math.sqrt(0.3 / 5))


def test_disagreement_is_the_mean_over_pairs():
    labels = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]])
    scorer = Scorer(task="classification", true=labels[0], has_probabilities=True)
    # pairs (0, 1): 1 of 4; (0, 2): 1 of 4; (1, 2): 2 of 4
    assert scorer.diversity(np.eye(2)[labels]) == pytest.approx((0.25 + 0.25 + 0.5) / 3)


def test_the_squared_error_of_the_ensemble_is_the_members_mean_without_the_ambiguity():
    rng = np.random.default_rng(2)
    answers, true = rng.normal(size=(4, 20, 2)), rng.normal(size=(20, 2))
    scorer = Scorer(task="regression", true=true, has_probabilities=False)
    members, ensemble = scorer.losses(answers).mean(), scorer.losses(answers.mean(0)).mean()
    assert ensemble == pytest.approx(members - scorer.diversity(answers))


def test_the_ensemble_and_its_gain_against_numpy(classes):
    answers, true = classes
    result = ensemble_of([member(each, true) for each in answers], "test", False, "loss", 5)
    mean = sum(answers) / 3
    np.testing.assert_allclose(result.ensemble, mean, rtol=1e-12)
    own, others = -np.log(mean[range(50), true]), -np.log(answers[:, range(50), true])
    gain = result.gains["mean of the members"]["loss"]
    paired = others.mean(0) - own
    assert gain.mean == pytest.approx(paired.mean()) and gain.mean > 0  # Jensen: the loss is convex
    assert gain.error == pytest.approx(paired.std(ddof=1) / math.sqrt(50))
    losses, deviations = result.curves["loss"]
    pairs = [-np.log((answers[a] + answers[b])[range(50), true] / 2).mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert losses == pytest.approx([others.mean(), np.mean(pairs), own.mean()])
    assert deviations == pytest.approx([others.mean(1).std(), np.std(pairs), 0.0], abs=1e-12)


def test_members_that_are_picked_twice_count_twice(classes):
    answers, _ = classes
    expected = (2 * answers[0] + answers[2]) / 3
    np.testing.assert_allclose(averaged(answers, {2: 1, 0: 2}), expected, rtol=1e-12)


def test_subsets_are_all_or_some():
    assert subsets(4, 2, 50) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    some = subsets(30, 10, 7)
    assert len(some) == 7 and all(len({*each}) == 10 and each == sorted(each) for each in some)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"digest": "b"}, "they were held out other test samples"),
        ({"names": ("a", "b", "c", "e")}, "they have other classes"),
        ({"task": "regression"}, "one is classification, the other regression"),
        ({"has_probabilities": False}, "only one of them gives probabilities"),
        ({"split": "val"}, "they were held out other val samples"),
        ({"predicted": Predicted(mean=(0.0,), deviation=(2.0,))}, "their targets are in other units"),
    ],
)
def test_members_that_do_not_go_together_are_refused(classes, change, why):
    answers, true = classes
    with pytest.raises(DataError, match=f"^runs/a and runs/.* do not go together: {why}"):
        require_alike([member(answers[0], true), member(answers[1], true, **change)])
