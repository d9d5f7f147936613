"""Figures of classes against scikit-learn's own report, and against an example that is worked by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, classification_report, top_k_accuracy_score
from test_predictions import collected, random_classes

from trainer.loss import CrossEntropy
from trainer.report.classes import figures_of_classes


def predictions_of(true, predicted, classes):
    """Predictions of given classes."""
    true, predicted = torch.tensor(true), torch.tensor(predicted)
    outputs, targets = (torch.nn.functional.one_hot(places, classes).float() for places in (predicted, true))
    return collected("classification", CrossEntropy(), outputs, targets)


def test_by_hand():
    """Of cat 3 of 4 are found, and 1 of 4 predicted ones is a dog."""
    found = figures_of_classes(predictions_of([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 0, 1, 1], 4), 10)
    assert found.precision[:3] == pytest.approx([3 / 4, 1 / 3, 0])
    assert found.recall[:3] == pytest.approx([3 / 4, 1 / 2, 0])
    assert found.f1[:3] == pytest.approx([3 / 4, 2 / 5, 0]) and found.support.tolist() == [4, 2, 1, 0]
    assert all(np.isnan(column[3]) for column in (found.precision, found.recall, found.f1))  # nobody knows the fourth
    assert found.macro["f1"] == pytest.approx((3 / 4 + 2 / 5 + 0) / 3) and found.accuracy == pytest.approx(4 / 7)
    assert found.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert found.matrix.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert found.confused == ((0, 1, 1, 4), (1, 0, 1, 2), (2, 1, 1, 1)) and found.worst == 2 and found.top_five is None


@pytest.mark.parametrize("classes", [3, 12, 100])
def test_against_scikit_learn(classes):
    outputs, targets = random_classes(300, classes)
    outputs = outputs + targets
    predictions = collected("classification", CrossEntropy(), outputs, targets)
    found = figures_of_classes(predictions, 5)
    true, said = targets.argmax(1).numpy(), outputs.argmax(1).numpy()
    expected = classification_report(true, said, output_dict=True, zero_division=0)
    for place in range(classes):
        if (row := expected.get(str(place))) is not None:
            figures = found.precision[place], found.recall[place], found.f1[place], found.support[place]
            assert figures == pytest.approx((row["precision"], row["recall"], row["f1-score"], row["support"]))
    for ours, theirs in ((found.macro, "macro avg"), (found.weighted, "weighted avg")):
        assert [*ours.values()] == pytest.approx([expected[theirs][key] for key in ("precision", "recall", "f1-score")])
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(true, said))
    if classes <= 10:
        assert found.top_five is None
    else:
        labels = np.arange(classes)
        assert found.top_five == pytest.approx(top_k_accuracy_score(true, outputs.numpy(), k=5, labels=labels))


def test_pairs_are_sorted_by_their_number():
    found = figures_of_classes(predictions_of([0] * 5 + [1] * 4, [0, 1, 2, 2, 2, 0, 0, 1, 1], 3), 2)
    assert found.confused == ((0, 2, 3, 5), (1, 0, 2, 4))


def test_many_classes_have_pairs_and_no_matrix():
    found = figures_of_classes(predictions_of([0, 2999], [1, 2999], 3000), 5)
    assert found.matrix is None and found.confused == ((0, 1, 1, 1),) and found.accuracy == 0.5
