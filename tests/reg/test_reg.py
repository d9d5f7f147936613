"""Regularisers in whole runs, at strength zero, together; soft targets and early stopping against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.reg.dropconnect import DropConnect
from trainer.reg.dropout import ScaledDropout, SpatialDropout
from trainer.reg.early_stopping import EarlyStopping
from trainer.reg.grad_clip import GradClip
from trainer.reg.grad_noise import GradNoise
from trainer.reg.l1_proximal import L1Proximal
from trainer.reg.label_smoothing import LabelSmoothing
from trainer.reg.max_norm import MaxNorm
from trainer.reg.penalties import L1, L2, ElasticNet
from trainer.reg.stochastic_depth import StochasticDepth
from trainer.reg.weight_decay import WeightDecay
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

CNN = ("model=cnn", "model.channels=[4,8]", "batch_size=256", "epochs=1", "threads=1")
RESNET = ("model=resnet20", "model.depth=8", "batch_size=256", "epochs=1", "threads=1")
NOTHING = [  # field of a regulariser, a value that turns it off, a value that does not
    ("loss.l2.strength", 0.0, 0.1),
    ("loss.l1.strength", 0.0, 0.1),
    ("loss.elastic_net.strength", 0.0, 0.1),
    ("weights.weight_decay.strength", 0.0, 0.1),
    ("weights.l1_proximal.strength", 0.0, 0.1),
    ("weights.max_norm.limit", 1e30, 0.1),
    ("layer.dropout.p", 0.0, 0.1),
    ("layer.dropout_scaled.p", 0.0, 0.1),
    ("layer.spatial_dropout.p", 0.0, 0.5),
    ("layer.alpha_dropout.p", 0.0, 0.1),
    ("model.dropconnect.p", 0.0, 0.1),
    ("model.stochastic_depth.survival", 1.0, 0.5),
    ("batch.label_smoothing.alpha", 0.0, 0.1),
    ("gradient.grad_clip.limit", 1e30, 0.1),
    ("gradient.grad_noise.eta", 0.0, 0.1),
]


@pytest.fixture(scope="module")
def plain():
    """Outputs of the runs without a regulariser, by their overrides."""
    return {}


@pytest.mark.parametrize(("key", "nothing", "something"), NOTHING)
def test_a_strength_of_zero_changes_nothing_bit_for_bit_and_another_does(key, nothing, something, fitted, plain):
    overrides = RESNET if "depth" in key else CNN

    def outputs(*more):
        run, _ = fitted(*overrides, *more)
        with torch.no_grad():
            return run.model.eval()(run.val.images)  # a function of every weight, whatever their names

    if overrides not in plain:
        plain[overrides] = outputs()
    name = key.split(".")[1]
    assert torch.equal(outputs(f"reg={name}", f"reg.{key}={nothing}"), plain[overrides])
    assert not torch.equal(outputs(f"reg={name}", f"reg.{key}={something}"), plain[overrides])


def test_all_regularisers_go_together(fitted):
    names = [key.split(".")[1] for key, _, _ in NOTHING] + ["early_stopping"]
    run, curves = fitted(*RESNET, f"reg=[{','.join(names)}]", "norm=batch", "epochs=2")
    assert len(names) == 16 and all(weight.isfinite().all() for weight in run.model.parameters())
    losses = [row["loss"] for row in curves.rows if row["split"] == "val" and row["step"]]
    assert len(losses) == 2 and all(map(math.isfinite, losses))


def test_regularisers_act_in_the_order_given(composed):
    for names in (["l1_proximal", "max_norm"], ["max_norm", "l1_proximal"]):
        run = build_run(composed(*CNN, f"reg=[{','.join(names)}]"))
        assert [type(edit).__name__ for edit in run.slots.weights] == [
            "".join(part.title() for part in name.split("_")) for name in names
        ]


def test_label_smoothing_mixes_with_the_uniform_distribution():
    images, targets = torch.zeros(2, 1), torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    same, smooth = LabelSmoothing(alpha=0.2)(images, targets, torch.Generator())
    assert same is images
    assert_close(smooth, torch.tensor([[0.05, 0.85, 0.05, 0.05], [0.45, 0.45, 0.05, 0.05]]))


def test_label_smoothing_of_yes_or_no_counts_two_classes():
    _, smooth = LabelSmoothing(alpha=0.2)(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]]), torch.Generator())
    assert_close(smooth, torch.tensor([[0.1], [0.9]]))


@pytest.mark.parametrize(
    ("overrides", "yes", "no"),
    [  # ten classes: 1 - 0.2 + 0.2 / 10 and 0.2 / 10; a question of its own: 1 - 0.2 / 2 and 0.2 / 2
        (("data=digits", "loss=cross_entropy"), 0.82, 0.02),
        (("data=digits", "loss=mse"), 0.82, 0.02),
        (("data=digits", "loss=hinge"), 0.82, 0.02),
        (("data=digits", "loss=bce"), 0.9, 0.1),
        (("data=iris", "loss=bce"), 0.9, 0.1),
        (("data=breast_cancer", "loss=bce"), 0.9, 0.1),
        (("data=breast_cancer", "loss=hinge"), 0.9, 0.1),
    ],
)
def test_label_smoothing_is_that_of_the_loss(overrides, yes, no, composed):
    run = build_run(
        composed(*overrides, "model=linear", "reg=label_smoothing", "reg.batch.label_smoothing.alpha=0.2", "threads=1")
    )
    images, targets = run.train.batch(torch.arange(40))
    _, smooth = run.slots.batch[0](images, targets, torch.Generator())
    assert_close(smooth, torch.where(targets == 1, yes, no), rtol=0, atol=1e-6)


def test_smoothed_questions_of_their_own_have_their_best_outputs_at_the_smoothed_answers(composed):
    """Each term of the loss is lowest where its sigmoid is 1 - alpha / 2 or alpha / 2, whatever the number of classes;

    Keras' BinaryCrossentropy(label_smoothing=alpha) has the targets y (1 - alpha) + alpha / 2.
    """
    run = build_run(composed("data=digits", "model=linear", "loss=bce", "reg=label_smoothing", "threads=1"))
    answers = torch.eye(10)[:3]
    _, smooth = run.slots.batch[0](torch.zeros(3, 1, 8, 8), answers, torch.Generator())
    best = (torch.where(answers == 1, 0.95, 0.05)).logit().requires_grad_()
    run.criterion(best, smooth).sum().backward()
    assert_close(best.grad, torch.zeros(3, 10), rtol=0, atol=1e-6)
    plain = nn.functional.binary_cross_entropy_with_logits(best, answers * 0.9 + 0.05, reduction="none").sum(1)
    assert_close(run.criterion(best, smooth), plain)


def test_label_smoothing_gives_torchs_smoothed_loss():
    outputs, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])
    _, smooth = LabelSmoothing(alpha=0.1)(outputs, nn.functional.one_hot(labels, 5).float(), torch.Generator())
    assert_close(
        nn.functional.cross_entropy(outputs, smooth), nn.functional.cross_entropy(outputs, labels, label_smoothing=0.1)
    )


@pytest.mark.parametrize(
    ("fields", "values", "stops"),
    [
        ({"patience": 2}, [1.0, 0.9, 0.9, 0.95, 0.8], 4),
        ({"patience": 1}, [1.0, 0.9, 0.8, 0.7], None),
        ({"patience": 1}, [1.0, 1.0], 2),
        ({"patience": 3}, [1.0, 1.1, 1.1, 0.9, 1.0, 1.0, 1.0], 7),
        ({"patience": 2, "min_delta": 0.25}, [1.0, 0.875, 0.75], 3),
        ({"patience": 2, "min_delta": 0.25}, [1.0, 0.875, 0.625, 0.5, 0.5], 5),
        ({"patience": 2, "monitor": "accuracy"}, [0.5, 0.6, 0.5, 0.6], 4),
        ({"patience": 2, "monitor": "accuracy"}, [0.5, 0.6, 0.7, 0.8], None),
        ({"patience": 2, "monitor": "r2"}, [-0.5, -0.6, 0.1, 0.1, 0.0], 5),
    ],
)
def test_early_stopping_waits_patience_evaluations_since_the_best(fields, values, stops):
    stop = EarlyStopping(**fields)
    history = [{stop.monitor: value} for value in values]
    verdicts = [stop(history[:count]) for count in range(1, len(history) + 1)]
    assert verdicts == [count == stops for count in range(1, len(history) + 1)]


def test_early_stopping_names_the_metrics_of_the_data():
    with pytest.raises(ValueError, match="monitor must be one of loss, accuracy for this data, got r2"):
        EarlyStopping(monitor="r2")([{"step": 20, "epoch": 1, "loss": 1.0, "accuracy": 0.5}])


def test_a_run_stopped_early_keeps_the_weights_of_its_best_epoch(composed, tmp_path):
    run = build_run(
        composed(
            *(
                "model=mlp",
                "model.hidden=[64]",
                "init=torch",
                "optimizer.lr=0.5",
                "epochs=40",
                "threads=1",
                "monitor=loss",
            )
        )
    )
    seen, saved = [], []

    def remember(history):
        seen.append({name: value.clone() for name, value in run.model.state_dict().items()})
        return False

    def save(done, weights, best):
        if best:
            saved.append(weights)

    curves = Recorder(tmp_path, run.data.task)
    run = replace(run, slots=replace(run.slots, stop=[remember, EarlyStopping(patience=3)]))
    outcome = fit(run, curves, Console(), save)
    curves.close()
    losses = [row["loss"] for row in curves.rows if row["split"] == "val" and row["step"]]
    best = losses.index(min(losses))
    assert outcome.status == "stopped" and 0 < best == len(losses) - 1 - 3
    assert all(torch.equal(value, saved[-1][name]) for name, value in seen[best].items())
    assert not all(torch.equal(value, saved[-1][name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L2(strength=-1e-4), "strength must be >= 0, got -0.0001"),
        (lambda: L1(strength=-1e-4), "strength must be >= 0, got -0.0001"),
        (lambda: ElasticNet(strength=-1e-4), "strength must be >= 0, got -0.0001"),
        (lambda: ElasticNet(beta=-1.0), "beta must be >= 0, got -1.0"),
        (lambda: WeightDecay(strength=-0.1), "strength must be >= 0, got -0.1"),
        (lambda: L1Proximal(strength=-0.1), "strength must be >= 0, got -0.1"),
        (lambda: ScaledDropout(p=1.0), r"p must be in \[0, 1\), got 1.0"),
        (lambda: SpatialDropout(p=-0.1), r"p must be in \[0, 1\), got -0.1"),
        (lambda: DropConnect(p=1.0), r"p must be in \[0, 1\), got 1.0"),
        (lambda: StochasticDepth(survival=0.0), r"survival must be in \(0, 1\], got 0.0"),
        (lambda: LabelSmoothing(alpha=1.0), r"alpha must be in \[0, 1\), got 1.0"),
        (lambda: MaxNorm(limit=0.0), "limit must be > 0, got 0.0"),
        (lambda: GradClip(limit=0.0), "limit must be > 0, got 0.0"),
        (lambda: GradNoise(eta=-0.1), "eta must be >= 0, got -0.1"),
        (lambda: GradNoise(gamma=-0.1), "gamma must be >= 0, got -0.1"),
        (lambda: EarlyStopping(patience=0), "patience must be >= 1, got 0"),
        (lambda: EarlyStopping(min_delta=-0.1), "min_delta must be >= 0, got -0.1"),
        (lambda: EarlyStopping(monitor="f1"), "monitor must be one of loss, accuracy, r2, got f1"),
    ],
)
def test_a_field_out_of_its_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
