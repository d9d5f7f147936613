"""Checks of training and evaluation mode."""

import pytest
from checking import AlwaysDropping, Dropping, Net, OtherInEvaluation, subject_of

from trainer.inspection.check_modes import evaluation_twice, training_and_evaluation_agree


@pytest.mark.parametrize(("model", "passed"), [(Net, True), (OtherInEvaluation, False), (Dropping, None)])
def test_modes_that_differ_are_found_and_dropout_is_no_difference(model, passed):
    found = training_and_evaluation_agree(subject_of("data=digits", "model=mlp", model=model))
    assert found.passed is passed and (passed is not True or found.value < 1e-4)


@pytest.mark.parametrize("words", ["norm=batch", "norm=batch reg=dropout", "norm=batch norm.momentum=0.01"])
def test_batch_norm_agrees_after_some_steps(words):
    found = training_and_evaluation_agree(subject_of("data=digits", "model=mlp", *words.split()))
    assert found.passed and found.value > 0


def test_averages_that_do_not_settle_within_the_run_are_found():
    words = ("data=digits", "model=deep_mlp", "norm=batch", "norm.momentum=0.001", "epochs=2")
    found = training_and_evaluation_agree(subject_of(*words))
    assert found.passed is False and "40 steps" in found.detail


@pytest.mark.parametrize(("model", "passed"), [(Net, True), (Dropping, True), (AlwaysDropping, False)])
def test_evaluation_that_draws_at_random_is_found(model, passed):
    assert evaluation_twice(subject_of("data=iris", model=model)).passed is passed
