"""Checks of the data against NumPy and scikit-learn, and on both sides of their thresholds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checking import subject_of
from sklearn.preprocessing import StandardScaler

from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.inspection import check_data
from trainer.inspection.check import scaled
from trainer.preprocess import Identity, Standardize


@pytest.fixture(scope="module")
def raw_wine():
    return subject_of("data=wine", "preprocess=none")


def test_inputs_that_are_not_centred_fail_with_the_ratio_of_numpy(raw_wine):
    x = raw_wine.run.data.train.images.numpy().astype(float)
    found = check_data.centred_inputs(raw_wine)
    assert found.passed is False and found.value == pytest.approx(np.sqrt(np.mean((x.mean(0) / x.std(0)) ** 2)))
    assert "preprocess=standardize" in found.advice


def test_features_of_other_scales_are_told_by_the_ratio_of_their_deviations():
    """Metres beside kilograms, of which the lecture says that the network is biased to the weight."""
    subject = subject_of("data=height_weight", "preprocess=none")
    height, weight = subject.run.data.train.images.double().numpy().std(0)
    detail = check_data.centred_inputs(subject).detail
    assert weight > 100 * height and detail.endswith(
        f"; the deviation of one feature is {weight / height:.3g} times that of another"
    )
    assert check_data.centred_inputs(subject_of("data=height_weight")).detail.endswith("is 1 times that of another")
    assert "times" not in check_data.centred_inputs(subject_of("data=digits", "model=linear")).detail


@pytest.mark.parametrize("words", ["data=wine", "data=digits model=linear", "data=spirals"])
def test_standardised_inputs_pass_all_checks_of_the_data(words):
    subject = subject_of(*words.split())
    checks = [
        check_data.centred_inputs,
        check_data.preprocessing_fitted_on_train,
        check_data.no_statistics_of_held_out_data,
        check_data.signs_of_first_gradients,
        check_data.sensitivity_to_weights,
    ]
    assert [check(subject).passed for check in checks] == [True] * 5


def test_the_advice_names_no_option_that_is_chosen(raw_wine):
    subject = replace(raw_wine, invocation=replace(raw_wine.invocation, choices={"preprocess": "center"}))
    assert subject.words("preprocess=center", "preprocess=standardize") == "try preprocess=standardize"
    assert subject.words("preprocess=center") == ""


def test_scaled_is_scikit_learns(raw_wine):
    x = raw_wine.run.data.train.images
    torch.testing.assert_close(scaled(x).numpy(), StandardScaler().fit_transform(x.double().numpy()).astype("float32"))


def test_positive_inputs_give_one_sign_on_one_sample_and_fewer_on_a_batch(raw_wine):
    """delta x has the sign of delta where all x > 0 (CS231n)."""
    inputs, grad = check_data.gradients_of_first_layer(raw_wine)
    found = check_data.signs_of_first_gradients(raw_wine)
    assert (inputs > 0).all() and found.value == 1 and found.passed is False
    assert check_data.one_signed(grad) < 1 and f"{check_data.one_signed(grad):.2f}" in found.detail


@pytest.mark.parametrize(("words", "applies"), [("data=digits", True), ("data=polynomial", False)])
def test_signs_of_convolutions_and_of_a_single_input(words, applies):
    found = check_data.signs_of_first_gradients(subject_of(*words.split(), "preprocess=none"))
    assert found.passed is (False if applies else None)


def test_one_signed_by_hand():
    rows = torch.tensor([[1.0, 2.0], [-1.0, -3.0], [1.0, -1.0], [0.0, 2.0], [0.0, 0.0]])
    assert check_data.one_signed(rows) == 3 / 4  # the last row has no sign


def test_sensitivity_of_a_linear_loss_grows_with_the_inputs(monkeypatch):
    """With o = w x and the loss sum_k o_k, a change of w changes the loss by dw x: c times as much with c x."""
    subject = subject_of("data=wine", "model=linear", criterion=lambda outputs, targets: outputs.sum(1))
    change = check_data.loss_change(subject, subject.first_layer())
    images = subject.batch[0] + 1
    assert change(7 * images) == pytest.approx(7 * change(images), rel=1e-3)


def test_sensitivity_fails_on_raw_wine(raw_wine):
    found = check_data.sensitivity_to_weights(raw_wine)
    assert found.passed is False and found.value > 50


class PerBatch:
    def fit(self, images):
        return lambda batch: (batch - batch.mean(0)) / batch.std(0)


class Peeking:
    """Fitted to what is held out as well, which it finds by itself."""

    data = None

    def fit(self, images):
        return Standardize().fit(torch.cat([images, Peeking.data.val.images]))


def with_preprocess(subject, preprocess, monkeypatch):
    """Let a run be preprocessed by another technique, in its loaders and when it is fitted again."""

    def fit(cfg, data, invocation):
        Peeking.data = data
        return preprocess.fit(data.train.images)

    monkeypatch.setattr(check_data, "fit_preprocess", fit)
    apply = fit(None, subject.run.data, None)
    splits = {name: getattr(subject.run.data, name) for name in ("train", "val", "test")}
    loaders = {name: Loader(split, apply, subject.run.device) for name, split in splits.items()}
    return replace(subject, run=replace(subject.run, **loaders), cache={})


@pytest.mark.parametrize(
    ("preprocess", "what"), [(PerBatch(), "without other samples"), (Peeking(), "other validation and test samples")]
)
def test_preprocessing_that_sees_more_than_it_should_fails(preprocess, what, raw_wine, monkeypatch):
    found = check_data.preprocessing_fitted_on_train(with_preprocess(raw_wine, preprocess, monkeypatch))
    assert found.passed is False and what in found.meaning


def test_preprocessing_of_the_training_split_passes(raw_wine, monkeypatch):
    found = check_data.preprocessing_fitted_on_train(with_preprocess(raw_wine, Standardize(), monkeypatch))
    assert found.passed and found.value == 0


@pytest.mark.parametrize("together", [True, False])
def test_inputs_standardised_over_all_splits_together_are_found(together, raw_wine, monkeypatch):
    data = raw_wine.run.data
    parts = {name: getattr(data, name) for name in ("train", "val", "test")}
    known = torch.cat([split.images for split in (parts.values() if together else [data.train])])
    scaler = StandardScaler().fit(known.double().numpy())
    changed = {
        name: Split(torch.from_numpy(scaler.transform(split.images.double().numpy())).float(), split.targets)
        for name, split in parts.items()
    }
    subject = replace(raw_wine, run=replace(raw_wine.run, data=replace(data, **changed)), cache={})
    found = check_data.no_statistics_of_held_out_data(with_preprocess(subject, Identity(), monkeypatch))
    assert found.passed is not together


def test_splits_that_are_all_the_same_are_not_accused(raw_wine, monkeypatch):
    data = raw_wine.run.data
    same = replace(data, val=data.train, test=data.train)
    subject = replace(raw_wine, run=replace(raw_wine.run, data=same), cache={})
    assert check_data.no_statistics_of_held_out_data(with_preprocess(subject, Standardize(), monkeypatch)).passed


def test_constant_inputs_fail():
    subject = subject_of("data=wine")
    zeros = Split(torch.ones_like(subject.run.data.train.images), subject.run.data.train.targets)
    loader = Loader(zeros, Identity(), subject.run.device)
    found = check_data.centred_inputs(replace(subject, run=replace(subject.run, train=loader)))
    assert found.passed is False and "nothing to learn" in found.meaning
