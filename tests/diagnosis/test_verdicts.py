"""Rules of diagnosis on made evidence: each speaks beyond its threshold and is silent before it, alone."""

import importlib
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.config import catalog
from trainer.diagnosis import departures, rate, regularization
from trainer.diagnosis.decide import BESIDE, CAUSES, HINTS, MOST, judge
from trainer.diagnosis.early import certain
from trainer.diagnosis.evidence import Evidence
from trainer.diagnosis.fit import gap_of
from trainer.diagnosis.speed import speed_of
from trainer.diagnosis.verdict import LEVELS, Verdict, merged

VALUES = {
    "optimizer.lr": 0.1,
    "optimizer.momentum": 0.9,
    "optimizer.eps": 1e-8,
    "epochs": 10,
    "reg.layer.dropout.p": 0.5,
    "reg.loss.l2.strength": 1e-4,
    "aug.noise.std": 0.1,
    "norm.momentum": 0.1,
    "data.train_samples": "all",
    "warmup.length": "5%",
    "reg.gradient.grad_clip.limit": 1.0,
    "reg.batch.label_smoothing.alpha": 0.1,
}


def activation(**changes):
    row = {"name": "1", "kind": "ReLU", "mean": 0.4, "std": 0.6, "slope": 0.5, "dead": 0.0, "saturated": 0.0}
    return row | changes


def layer(name, **changes):
    row = {"name": name, "kind": "Linear", "mean": 0.0, "std": 1.0, "weight_std": 0.1}
    return row | {"grad_norm": 0.5, "grad_mean": 1e-3, "identical": 0.0} | changes


def probe(step, **changes):
    """The probe of a healthy network with two hidden layers."""
    found = {
        "step": step,
        "samples": 64,
        "loss": 2.3 if not step else 0.2,
        "loss_in_batch": 1.0,
        "common": 0.2,
        "input": {"mean": 0.0, "std": 1.0},
        "grad_norm": 1.0,
        "penalty": 0.0,
        "penalty_grad_norm": 0.0,
        "activations": [activation(), activation(name="3")],
        "layers": [layer("0"), layer("2"), layer("4")],
        "parameters": {name: {"norm": 3.0, "sum": 1.0 + step} for name in ("0.weight", "2.weight", "4.weight")},
    }
    return found | changes


def train(step, loss, **changes):
    row = {"split": "train", "step": step, "epoch": step / 100, "loss": loss, "lr": 0.1, "accuracy": 0.9}
    return row | {"grad_norm": 1.0, "update_ratio": 1e-3} | changes


def curve(losses):
    """Rows of training, the last one after 1,000 steps."""
    return [train(round(1000 * (place + 1) / len(losses)), loss) for place, loss in enumerate(losses)]


def history(scores, losses=None):
    losses = losses or [1.2 - score for score in scores]
    steps = [round(1000 * (place + 1) / len(scores)) for place in range(len(scores))]
    return [
        {"step": step, "epoch": step / 100, "loss": loss, "accuracy": score}
        for step, loss, score in zip(steps, losses, scores)
    ]


def healthy(**changes):
    """Evidence on a run of 1,000 steps on ten classes that has gone well."""
    evaluations = history([0.8, 0.88, 0.92, 0.94, 0.95, 0.955, 0.956, 0.957, 0.957, 0.958])
    usual = {
        "task": "classification",
        "status": "finished",
        "words": ("model=mlp",),
        "options": {
            "act": "relu",
            "sched": "cosine",
            "warmup": "none",
            "model": "mlp",
            "reg": {"l2"},
            "aug": {"noise"},
        },
        "values": VALUES,
        "usual": VALUES,
        "steps": 1000,
        "steps_per_epoch": 100,
        "total_steps": 1000,
        "samples": {"train": 6400, "val": 1000, "test": 1000},
        "batch": 64,
        "rows": [
            {"split": "val", "step": 0, "epoch": 0.0, "loss": 2.31, "accuracy": 0.1},
            *curve([2.2, 1.0, 0.6, 0.4, 0.3, 0.25, 0.2, 0.18, 0.17, 0.16]),
        ],
        "history": evaluations,
        "best": evaluations[-1],
        "constant": {"accuracy": 0.11, "loss": 2.30},
        "zero_loss": 2.3026,
        "probes": [probe(0), probe(8), probe(64), probe(1000)],
        "multipliers": {step: 1 - step / 1001 for step in range(0, 1001, 20)},
        "fit": {"accuracy": 0.97, "loss": 0.1, "samples": 1000},
        "noisy": {name: 0.2 for name in ("loss", "plain", "augmented", "dropping")}
        | {f"score_{name}": 0.97 for name in ("plain", "augmented", "dropping", "training")},
        "peak": 1.0,
        "counts": [640] * 10,
        "classes": [str(number) for number in range(10)],
        "mixing": 1.0,
        "confusion": [[96 if row == column else 0 for column in range(10)] for row in range(10)],
    }
    return Evidence(**usual | changes)


FAILED = {  # a run that has learnt nothing, without a cause
    "history": history([0.11] * 10, [2.3] * 10),
    "best": history([0.11] * 10, [2.3] * 10)[0],
    "fit": {"accuracy": 0.11, "loss": 2.3, "samples": 1000},
    "noisy": {name: 2.3 for name in ("loss", "plain", "augmented", "dropping")}
    | {f"score_{name}": 0.11 for name in ("plain", "augmented", "dropping", "training")},
    "rows": [{"split": "val", "step": 0, "epoch": 0.0, "loss": 2.31, "accuracy": 0.1}, *curve([2.2] * 10)],
}


def failed(**changes):
    return healthy(**FAILED | changes)


def first(**changes):
    """The probes of a run whose fresh network is another."""
    return [probe(0, **changes), *(probe(step, **changes) for step in (8, 64, 1000))]


def set_to(**keys):
    return {**VALUES, **{key.replace("__", "."): value for key, value in keys.items()}}


def slow(ratio):
    rows = [train(step, 2.2, update_ratio=ratio) for step in range(100, 1001, 100)]
    return failed(rows=[*FAILED["rows"][:1], *rows], multipliers={})


def clipped(kept):
    rows = [train(step, 2.2, update_ratio=1e-6, grad_kept=kept) for step in range(100, 1001, 100)]
    return failed(rows=[*FAILED["rows"][:1], *rows])


def fast(ratio):
    rows = [train(step, 2.31, update_ratio=ratio) for step in range(100, 1001, 100)]
    return failed(rows=[*FAILED["rows"][:1], *rows])


def rising(times):
    return healthy(rows=[healthy().rows[0], *curve([2.2, 1.0, 0.6, 1.0, 0.6 * times])])


def blown(times):
    return failed(rows=[*FAILED["rows"][:1], *curve([2.31 * times, *[2.31] * 9])])


def gap(size, samples=1000):
    evaluations = history([0.99 - size] * 10, [0.3] * 10)
    fit = {"accuracy": 0.99, "loss": 0.01, "samples": 1000}
    sizes = {"train": 6400, "val": samples, "test": 1000}
    return healthy(history=evaluations, best=evaluations[-1], fit=fit, samples=sizes)


def warming(largest):
    options = healthy().options | {"warmup": "linear"}
    return healthy(options=options, multipliers={step: largest * step / 1000 for step in range(0, 1001, 20)})


def decayed(before):
    """A rate that falls to a thousandth after 300 steps, where the loss fell by so much an evaluation before."""
    losses = [1.0, 1.0 - before, *[1.0 - before] * 8]
    evaluations = history([0.7] * 10, losses)
    times = {step: 1.0 if step <= 250 else 0.001 for step in range(0, 1001, 50)}
    fit = {"accuracy": 0.75, "loss": 1.0, "samples": 1000}
    return healthy(history=evaluations, best=evaluations[-1], multipliers=times, fit=fit)


def penalized(share):
    """A penalty of so much of the loss, with a gradient of twice that of the data."""
    loss = 1.0
    end = probe(1000, loss=loss, penalty=loss * share / (1 - share), penalty_grad_norm=2.0)
    return failed(probes=[probe(0), end])


def decayed_weights(left):
    """Weights that a strong decay has left so much of, in a run that fits 70 % of its training samples."""
    end = probe(1000)
    end["parameters"] = {name: row | {"norm": left * row["norm"]} for name, row in end["parameters"].items()}
    decay = {"optimizer.weight_decay": 1.0}
    fit = {"accuracy": 0.7, "loss": 1.0, "samples": 1000}
    usual = VALUES | {"optimizer.weight_decay": 0.01}
    return healthy(probes=[probe(0), end], values=VALUES | decay, usual=usual, fit=fit)


def counts(large, missed):
    confusion = [[0] * 10 for _ in range(10)]
    confusion[3][3], confusion[3][4] = 100 - missed, missed
    return healthy(counts=[large if place != 3 else 100 for place in range(10)], confusion=confusion)


def confused(wrong):
    """Classes 2 and 5 of which so many percent are taken for one another."""
    confusion = [[96 if row == column else 0 for column in range(10)] for row in range(10)]
    confusion[2][2], confusion[2][5], confusion[5][5], confusion[5][2] = 100 - wrong, wrong, 100 - wrong, wrong
    return healthy(confusion=confusion)


def full_batch(fall):
    losses = [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 1.0, 1.0, 1.0, 1.0 - fall]
    evaluations = history([0.5] * 10, losses)
    short = {"steps": 10, "total_steps": 10, "steps_per_epoch": 1, "batch": 6400}
    evaluations = [{**row, "step": place + 1} for place, row in enumerate(evaluations)]
    fit = {"accuracy": 0.6, "loss": 1.0, "samples": 1000}
    return healthy(history=evaluations, best=evaluations[-1], fit=fit, probes=[probe(0), probe(10)], **short)


def frozen(moved):
    before, after = probe(0), probe(1000)
    if not moved:
        after["parameters"]["2.weight"] = dict(before["parameters"]["2.weight"])
    return healthy(probes=[before, after])


def improving(rise, fall=0.06):
    """Scores and losses of which the last three rise and fall by so much."""
    scores = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.8, 0.8 + rise / 2, 0.8 + rise]
    losses = [0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.42, 0.4, 0.4 * (1 - fall / 2), 0.4 * (1 - fall)]
    evaluations = history(scores, losses)
    return healthy(history=evaluations, best=evaluations[-1], fit={"accuracy": 0.85, "loss": 0.4, "samples": 1000})


def still(best_at):
    scores, losses = [0.9] * 12, [0.3] * 12
    scores[best_at], losses[4] = 0.95, 0.2
    evaluations = history(scores, losses)
    fit = {"accuracy": 0.92, "loss": 0.2, "samples": 1000}
    return healthy(history=evaluations, best=evaluations[best_at], fit=fit)


def noisy(lost, cause="augmented"):
    """A run whose training samples score so much less by a cause."""
    scores = {"score_plain": 0.6, "score_augmented": 0.6, "score_dropping": 0.6, "score_training": 0.5}
    losses = {"loss": 2.0, "plain": 1.0, "augmented": 1.0, "dropping": 1.0}
    fit = {"accuracy": 0.6, "loss": 1.0, "samples": 1000}
    return healthy(noisy=scores | losses | {f"score_{cause}": 0.6 - lost, cause: 2.0}, fit=fit)


def hidden(times):
    """Deviations of the hidden layers that change by so much from the first to the last."""
    return first(activations=[activation(std=0.5), activation(std=0.5 * times)])


def faint(times, loss=1.0, **changes):
    """A run at an accuracy of 0.25 whose last hidden layer has so little of the inputs' deviation, by training loss.

    Args:
        loss: times that of knowing nothing.
    """
    evaluations = history([0.25] * 10, [2.3] * 10)
    probes = first(activations=[activation(std=0.1), activation(std=2.0 * times)], input={"mean": 0.0, "std": 2.0})
    fit = {"accuracy": 0.25, "loss": loss * 2.3026, "samples": 1000}
    rows = healthy(rows=curve([2.3] * 10)).rows
    return healthy(
        history=evaluations, best=evaluations[-1], probes=probes, fit=fit, rows=rows, neighbours=0.99, **changes
    )


def gradients(first_norm, last_norm, mean=1e-3):
    rows = [layer("0", grad_norm=first_norm, grad_mean=mean), layer("2"), layer("4", grad_norm=last_norm)]
    return first(layers=rows)


def uncentred_and_vanishing():
    """The probes of a network of sigmoids whose inputs are off centre and whose gradients vanish."""
    fresh, *later = gradients(0.9e-3, 1.0)
    sigmoids = [activation(kind="Sigmoid", slope=0.25), activation(name="3", kind="Sigmoid", slope=0.25)]
    return [fresh | {"activations": sigmoids, "input": {"mean": 0.6, "std": 1.0}}, *later]


def by_chance(fit):
    """A validation score of chance, and a training score."""
    best = {"step": 100, "epoch": 1.0, "loss": 2.3, "accuracy": 0.12}
    return failed(best=best, fit={"accuracy": fit, "loss": 2.3, "samples": 1000})


def uphill(ratio, falls_at=0):
    """A loss that rises in each of the first steps, but for one, and is not finite later."""
    losses = {step: 2.3 + 0.1 * step - (0.5 if step == falls_at else 0.0) for step in (1, 2, 4, 8)}
    rows = [train(step, loss, update_ratio=ratio) for step, loss in losses.items()]
    return failed(nonfinite_step=20, rows=[*FAILED["rows"][:1], *rows])


def never(times, wrong=0):
    """Class 4, taken for class 5 but for so many times, and so many of each other class for class 9."""
    confusion = [[96 - wrong * (row < 9) if row == column else 0 for column in range(10)] for row in range(10)]
    for row in range(9):
        confusion[row][9] = wrong
    confusion[4][4], confusion[4][5] = times, 96 - times
    return healthy(confusion=confusion)


def never_of_two():
    """Two classes, of which the network names one."""
    return failed(confusion=[[0, 40], [0, 40]], counts=[3200, 3200], classes=["cat", "dog"])


def of_few(training, validation, held_out=20):
    """Scores of training and of a few validation samples, of two equal classes."""
    evaluations = history([validation] * 10, [0.7] * 10)
    fit = {"accuracy": training, "loss": 0.6, "samples": 128}
    found = {"constant": {"accuracy": 0.5, "loss": 0.69}, "counts": [64, 64], "confusion": []}
    samples = {"train": 128, "val": held_out, "test": held_out}
    return healthy(history=evaluations, best=evaluations[-1], fit=fit, samples=samples, **found)


def impatient(patience, last=0.52, falls=0.2):
    """A run that early stopping has ended after 300 of 1,000 steps, where the training loss fell by so much."""
    evaluations = [{**row, "step": round(row["step"] * 0.3)} for row in history([0.8, 0.85, 0.9], [0.6, 0.5, last])]
    values = VALUES | {"reg.stop.early_stopping.patience": patience}
    rows = [healthy().rows[0], *curve([2.2, 1.0, 0.6, 0.55, 0.52, 0.55 * (1 - falls)])]
    fit = {"accuracy": 0.93, "loss": 0.4, "samples": 1000}
    return healthy(
        status="stopped", steps=300, history=evaluations, best=evaluations[1], values=values, rows=rows, fit=fit
    )


def too_simple(loss):
    """A training score of chance with a loss on a plateau, so many times that of knowing nothing."""
    return failed(fit={"accuracy": 0.11, "loss": loss * 2.3026, "samples": 1000}, neighbours=0.9)


def swinging(size):
    """Scores of 100 samples that go up and down by so much at the end."""
    evaluations = history([0.6, 0.8, 0.85, 0.87, 0.88, *[0.9, 0.9 - size] * 3, 0.9], [0.5] * 10 + [0.4] * 2)
    sizes = {"train": 6400, "val": 100, "test": 1000}
    values = VALUES | {"data.val_fraction": 0.1}
    return healthy(history=evaluations, best=evaluations[5], samples=sizes, values=values)


def slowed(ratio, fast_points=0, times=1.0, points=50, pause_at=None, since=0.5, **values):
    """A run whose points of 20 steps take 2 s each, and more since half of the steps, but for some of the last points.

    Args:
        ratio: of the later throughput to that before.
        times: by which all is faster.
        pause_at: point after which the run was resumed, an hour later.
        since: part of the run after which it is slow.
    """
    rows, seconds = [], 0.0
    for point in range(1, points + 1):
        slow = since * points < point <= points - fast_points
        throughput = 640 * times * (ratio if slow else 1.0)
        seconds += 20 * 64 / throughput
        clock = 1e9 + seconds + (3600.0 if pause_at is not None and point > pause_at else 0.0)
        rows.append(train(20 * point, 0.2, throughput=throughput, seconds=seconds, time=clock))
    start = healthy().rows
    return healthy(
        rows=[*start, *rows], values=VALUES | {key.replace("__", "."): value for key, value in values.items()}
    )


CASES = {  # code -> evidence before its threshold and beyond it
    "loss_depends_on_batch": (healthy(probes=first(loss_in_batch=1.05)), healthy(probes=first(loss_in_batch=2.0))),
    "symmetric_init": (
        failed(probes=first(layers=[layer("0"), layer("2"), layer("4", identical=1.0)])),
        failed(probes=first(layers=[layer("0", identical=1.0), layer("2"), layer("4")])),
    ),
    "dead_units": (
        healthy(probes=first(activations=[activation(dead=0.5), activation()])),
        healthy(probes=first(activations=[activation(dead=0.51), activation()])),
    ),
    "rate_too_high": (blown(2.9), blown(3.1)),
    "unscaled_inputs": (
        healthy(probes=first(input={"mean": 29.0, "std": 5.0})),
        healthy(probes=first(input={"mean": 1.0, "std": 31.0})),
    ),
    "exploding_activations": (
        replace(blown(2.9), probes=first(activations=[activation(slope=1.5), activation(slope=1.5)])),
        replace(blown(3.1), probes=first(activations=[activation(slope=1.5), activation(slope=1.5)])),
    ),
    "init_too_large": (healthy(probes=hidden(19)), healthy(probes=hidden(21))),
    "not_shuffled": (healthy(mixing=0.55), healthy(mixing=0.45)),
    "soft_labels": (healthy(peak=0.55), healthy(peak=0.45)),
    "penalty_outweighs": (penalized(0.45), penalized(0.55)),
    "warmup_never_ends": (warming(0.6), warming(0.4)),
    "momentum_too_high": (
        healthy(values=set_to(optimizer__momentum=1 - 1 / 240)),
        healthy(values=set_to(optimizer__momentum=1 - 1 / 260)),
    ),
    "uncentred_inputs": (
        failed(probes=first(input={"mean": 0.4, "std": 1.0}, activations=[activation(kind="Sigmoid")] * 2)),
        failed(probes=first(input={"mean": 0.6, "std": 1.0}, activations=[activation(kind="Sigmoid")] * 2)),
    ),
    "init_too_small": (failed(probes=hidden(0.06)), failed(probes=hidden(0.04))),
    "vanishing_gradients": (failed(probes=gradients(0.9e-2, 1.0)), failed(probes=gradients(0.9e-3, 1.0))),
    "young_averages": (
        failed(steps=20, probes=[probe(0), probe(20, loss=1.0, loss_in_evaluation=1.4)]),
        failed(steps=20, probes=[probe(0), probe(20, loss=1.0, loss_in_evaluation=1.6)]),
    ),
    "augmentation_too_strong": (noisy(0.2), noisy(0.3)),
    "rate_too_low": (slow(6e-5), slow(4e-5)),
    "clipping_most_steps": (clipped(0.06), clipped(0.04)),
    "decayed_too_early": (decayed(0.04), decayed(0.06)),
    "too_few_steps": (full_batch(0.1), full_batch(0.2)),
    "labels_without_signal": (
        failed(fit={"accuracy": 0.13, "loss": 2.2, "samples": 1000}),
        failed(fit={"accuracy": 0.16, "loss": 2.2, "samples": 1000}),
    ),
    "class_imbalance": (counts(999, 80), counts(1001, 80)),
    "confused_classes": (confused(29), confused(31)),
    "frozen_layer": (frozen(True), frozen(False)),
    "one_class_predicted": (
        failed(probes=[probe(0), probe(1000, common=0.98)]),
        failed(probes=[probe(0), probe(1000, common=0.99)]),
    ),
    "dropping_too_much": (
        failed(values=set_to(reg__layer__dropout__p=0.8)),
        failed(values=set_to(reg__layer__dropout__p=0.85)),
    ),
    "underfitting": (
        healthy(
            fit={"accuracy": 0.7, "loss": 1.0, "samples": 1000},
            neighbours=0.755,
            rows=healthy(rows=curve([1.0] * 10)).rows,
        ),
        healthy(
            fit={"accuracy": 0.7, "loss": 1.0, "samples": 1000},
            neighbours=0.765,
            rows=healthy(rows=curve([1.0] * 10)).rows,
        ),
    ),
    "overfitting": (gap(0.055), gap(0.065)),
    "no_better_than_constant": (
        by_chance(0.125),
        by_chance(0.115),  # 0.1 + 2 sqrt(0.1 0.9 / 1000) = 0.119
    ),
    "constant_features": (healthy(), healthy(constants=["feature 3"])),
    "long_without_progress": (still(3), still(2)),
    "still_improving": (improving(0.04), improving(0.06)),
    "uphill": (uphill(0.011), uphill(0.009)),
    "class_never_predicted": (never(1), never(0)),
    "stopped_too_early": (impatient(5), impatient(4)),
    "noisy_validation": (swinging(0.05), swinging(0.07)),
    "throughput_dropped": (slowed(0.51), slowed(0.49)),
}
EXTRA = [  # other ways to the same verdicts
    ("rate_too_high", rising(2.5)),
    ("rate_too_high", fast(0.06)),
    ("rate_too_high", failed(nonfinite_step=3, layer="first in layer 4 (Linear)")),
    ("rate_too_high", failed(probes=[probe(0), probe(1000, activations=[activation(dead=1.0), activation()])])),
    ("unscaled_inputs", failed(nonfinite_step=3, probes=first(input={"mean": 3e3, "std": 3e3}))),
    ("augmentation_too_strong", failed(nonfinite_step=3, values=set_to(aug__noise__std=10.0))),
    ("init_too_large", failed(probes=gradients(80.0, 1.0))),
    ("init_too_large", failed(probes=first(activations=[activation(kind="Tanh", saturated=0.6), activation()]))),
    ("init_too_large", healthy(rows=[{**healthy().rows[0], "loss": 5.0}, *curve([2.2, 1.0, 0.5, 0.2])])),
    ("init_too_small", faint(0.019)),
    ("vanishing_gradients", failed(probes=gradients(0.5, 1.0, mean=5e-8))),
    ("vanishing_gradients", failed(probes=uncentred_and_vanishing())),
    ("rate_too_low", replace(slow(4e-5), values=set_to(optimizer__eps=1.0))),
    ("too_few_steps", replace(full_batch(0.01), neighbours=0.9)),
    ("penalty_outweighs", failed(values=set_to(reg__loss__l2__strength=1.0))),
    ("penalty_outweighs", decayed_weights(0.49)),
    ("underfitting", too_simple(0.94)),
    ("dropping_too_much", noisy(0.3, "dropping")),
    ("still_improving", improving(0.02, fall=0.11)),
    ("no_better_than_constant", failed(fit={"accuracy": 0.125, "loss": 2.3, "samples": 1000})),
    ("augmentation_too_strong", failed(noisy=FAILED["noisy"] | {"contrast": 0.04})),
    ("duplicate_classes", healthy(classes=["cat", "dog", " Cat", *map(str, range(7))])),
    ("throughput_dropped", slowed(0.4, fast_points=2)),
    ("throughput_dropped", slowed(0.4, times=2.9)),  # 10 * 2 / 2.9 (1 / 0.4 - 1) = 10.3 s
    ("throughput_dropped", slowed(0.4, points=100, pause_at=40, since=0.7)),  # slow since it was resumed
]
WIDER = "train model=mlp 'model.hidden=[{},{}]'"
OF_GROUPS = [rule for rule in (*CAUSES, *BESIDE, *HINTS)]


def test_a_healthy_run_is_not_accused():
    assert judge(healthy()) == []


@pytest.mark.parametrize("code", CASES)
def test_a_rule_speaks_beyond_its_threshold_alone(code):
    before, beyond = CASES[code]
    assert code not in [verdict.code for verdict in judge(before)]
    found = judge(beyond)
    assert found[0].code == code and len(found) <= MOST and found[0].level in LEVELS


COUNTED = {"symmetric_init", "frozen_layer", "constant_features"}  # one layer, weight or feature is enough for them


def test_each_threshold_is_in_the_table_of_margins_and_its_figure_is_what_the_rule_compares(monkeypatch):
    """Every figure is on one side of its threshold for a run without the verdict, and on the other for one with it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    margins = importlib.import_module("margins")
    assert CASES.keys() - {code for code, _, _ in margins.FIGURES.values()} == COUNTED
    together = []
    for name, (code, threshold, figure) in margins.FIGURES.items():
        before = [figure(evidence) for evidence in (healthy(), CASES[code][0])]
        beyond = [figure(evidence) for evidence in (CASES[code][1], *(e for other, e in EXTRA if other == code))]
        pairs = ((one, other) for one in before for other in beyond if other is not None)
        if not any(
            one is None or (one - threshold) * (other - threshold) <= 0 < abs(one - other) for one, other in pairs
        ):
            together.append(name)
    assert together == []
    assert margins.figures_of(bare()).keys() == margins.FIGURES.keys()


SILENT = [  # other conditions of the same verdicts, each just not met
    ("uphill", uphill(0.009, falls_at=4)),
    ("stopped_too_early", impatient(4, last=0.56)),  # 12 % above the least loss
    ("stopped_too_early", impatient(4, falls=0.09)),
    ("noisy_validation", swinging(0.13)),  # 4 sqrt(0.9 0.1 / 100) = 0.12
    ("class_never_predicted", replace(never(0), steps=99)),
    ("class_never_predicted", never_of_two()),  # the only answer is right on all of the other class
    ("labels_without_signal", of_few(training=0.77, validation=0.65)),  # sqrt(0.65 0.35 / 20) = 0.11
    ("overfitting", of_few(training=0.4, validation=0.0, held_out=2)),  # 0 of 2, which 0.4 may well give
    ("class_never_predicted", never(0, wrong=24)),  # of 8 classes 75 % are right, of the last all: 0.78
    ("augmentation_too_strong", failed(noisy=FAILED["noisy"] | {"contrast": 0.06})),
    ("penalty_outweighs", decayed_weights(0.51)),
    ("underfitting", too_simple(0.96)),
    ("init_too_small", faint(0.021)),
    ("init_too_small", faint(0.019, loss=0.94)),
    ("dropping_too_much", noisy(0.2, "dropping")),
    ("labels_without_signal", failed(fit={"accuracy": 0.15, "loss": 2.2, "samples": 1000})),  # 2.7 errors above 0.11
    ("rate_too_high", failed(rows=[*FAILED["rows"], {**train(1000, 12.0), "split": "val"}])),  # young averages
    ("rate_too_low", slow(0.0)),  # no gradient in most steps, as of a perceptron that errs on few samples
    ("too_few_steps", replace(full_batch(0.004), neighbours=0.9)),  # converged: more steps bring nothing
    ("throughput_dropped", slowed(0.4, fast_points=3)),  # of the last ten points seven are slow
    ("throughput_dropped", slowed(0.4, times=4)),  # ten points cost 2 / 4 (1 / 0.4 - 1) = 0.75 s each
    ("throughput_dropped", slowed(0.4, points=24, since=0.4)),  # too few points
    ("throughput_dropped", slowed(0.4, pause_at=25)),  # the slow half was trained elsewhere
    ("throughput_dropped", slowed(0.4, since=0.0)),  # slow from the first step on
    ("throughput_dropped", slowed(0.4, optimizer__max_eval=25)),  # a line search
]


@pytest.mark.parametrize(
    ("code", "evidence"), SILENT, ids=[f"{place}: {code}" for place, (code, _) in enumerate(SILENT)]
)
def test_a_verdict_needs_all_its_conditions(code, evidence):
    assert code not in [verdict.code for verdict in judge(evidence)]


@pytest.mark.parametrize(("code", "evidence"), EXTRA, ids=[f"{place}: {code}" for place, (code, _) in enumerate(EXTRA)])
def test_other_ways_to_a_verdict(code, evidence):
    assert judge(evidence)[0].code == code


def test_many_classes_are_judged_in_a_moment():
    """Of 600 classes the last one is never predicted; two loops over all samples for each class would take minutes."""
    confusion = [[20 if row == column else 0 for column in range(600)] for row in range(600)]
    confusion[599][599], confusion[599][0] = 0, 20
    names = [f"class {number}" for number in range(600)]
    assert judge(healthy(confusion=confusion, counts=[640] * 600, classes=names))[0].code == "class_never_predicted"
    names[599] = "Class 7"
    assert judge(healthy(counts=[640] * 600, classes=names))[0].code == "duplicate_classes"


@pytest.mark.parametrize(
    ("evidence", "command"),
    [
        (
            replace(blown(4), values=set_to(optimizer__lr=5.0), words=("model=mlp", "optimizer.lr=5")),
            "train model=mlp optimizer.lr=0.1",
        ),
        (blown(4), "train model=mlp optimizer.lr=0.01"),
        (
            replace(slow(1e-6), values=set_to(optimizer__eps=1.0), words=("optimizer=adam", "optimizer.eps=1")),
            "train optimizer=adam optimizer.eps=1e-08",
        ),
        (replace(slow(1e-6), values=set_to(optimizer__lr=1e-5)), "train model=mlp optimizer.lr=0.1"),
        (healthy(mixing=0.1, words=("sampler=sequential", "model=mlp")), "train sampler=shuffle model=mlp"),
        (
            replace(gap(0.2), values=set_to(data__train_samples=200), words=("data.train_samples=200", "seed=3")),
            "train seed=3",
        ),
        (faint(0.019, words=("model=mlp", "init=normal", "init.std=0.01")), "train model=mlp"),
        (faint(0.5, values=set_to(model__hidden=[128, 128]), multipliers={}), WIDER.format(256, 256) + " epochs=100"),
        (faint(0.5, values=set_to(model__hidden=[1]), multipliers={}), WIDER.format(128, 128) + " epochs=100"),
        (faint(0.5, values=set_to(model__hidden=[512]), multipliers={}, steps=2000), WIDER.format(1024, 1024)),
        (
            replace(CASES["symmetric_init"][1], words=("init=constant", "init.value=0.1", "model=mlp")),
            "train model=mlp",
        ),
    ],
)
def test_the_command_is_that_of_the_run_with_the_change(evidence, command):
    assert judge(evidence)[0].command(evidence.words) == command


@pytest.mark.parametrize(
    ("evidence", "held"),
    [
        (CASES["one_class_predicted"][1], {"words": ("optimizer.lr=auto",)}),
        (CASES["init_too_small"][1], {"options": {"act": "relu", "norm": "batch", "reg": set()}}),
        (CASES["init_too_small"][1], {"options": {"act": "relu", "norm": "none", "reg": set()}}),
        (CASES["unscaled_inputs"][1], {"options": {"preprocess": "standardize"}}),
        (CASES["unscaled_inputs"][1], {"options": {"preprocess": "none"}}),
        (CASES["not_shuffled"][1], {"options": {"sampler": "shuffle"}}),
        (CASES["class_imbalance"][1], {"options": {"sampler": "balanced"}}),
        (CASES["decayed_too_early"][1], {"options": {"sched": "cosine"}}),
        (CASES["decayed_too_early"][1], {"options": {"sched": "step"}}),
    ],
)
def test_a_command_never_asks_for_what_the_run_has_already(evidence, held):
    """The first change of the same run with other options is there; where the run has it, there is none."""
    evidence = replace(evidence, **held)
    options = dict(word.split("=") for word in evidence.words if "=" in word) | evidence.options
    (change,) = judge(replace(evidence, options={"reg": set()}, words=()))[0].changes
    key, _, wanted = change.partition("=")
    assert judge(evidence)[0].changes == ([] if options.get(key) == wanted else [change])


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ("act=relu", True),
        ("act=tanh", False),
        ("reg=[dropout,l2]", True),
        ("reg=[l2]", False),
        ("model.hidden=[128, 64]", True),
        ("model.hidden=[64,128]", False),
        ("optimizer.lr=1e-1", True),
        ("optimizer.lr=auto", False),
        ("epochs=20", True),
        ("~init", False),
        ("sched=cosine", False),
    ],
)
def test_what_a_run_has_already(change, held):
    options = {"act": "relu", "reg": ["l2", "dropout"], "init": "auto"}
    values = {"model.hidden": [128, 64], "optimizer.lr": 0.1}
    assert healthy(options=options, values=values, words=("epochs=20", "init=auto")).has(change) is held


@pytest.mark.parametrize(
    ("words", "changes", "wanted"),
    [
        (["a=1", "b=2"], ["a=3", "c=4"], ["a=3", "b=2", "c=4"]),
        (["sched=step", "sched.gamma=0.1", "seed=1"], ["sched=cosine"], ["sched=cosine", "seed=1"]),
        (["sched.gamma=0.1"], ["sched=cosine"], ["sched=cosine"]),
        (["reg=[l2]", "reg.loss.l2.strength=1"], ["reg=[l2,dropout]"], ["reg=[l2,dropout]", "reg.loss.l2.strength=1"]),
        (["init=zeros", "bias=one"], ["~init"], ["bias=one"]),
        (["resume.run=x", "hydra.sweep.dir=y", "sweep.on_error=stop", "seed=1"], [], ["seed=1"]),
        (["allow=[mine]", "output=o"], [], ["allow=[mine]", "output=o"]),
    ],
)
def test_merged_overrides(words, changes, wanted):
    assert merged(words, changes) == wanted


def test_one_cause_explains_the_rest_and_hints_come_alone():
    several = failed(mixing=0.1, probes=first(loss_in_batch=64.0, input={"mean": 50.0, "std": 50.0}))
    assert [verdict.code for verdict in judge(several)] == ["loss_depends_on_batch"]
    beside = replace(several, constants=["feature 1"], classes=["a", "A", *map(str, range(8))])
    assert [verdict.code for verdict in judge(beside)][0] == "loss_depends_on_batch"
    assert len(judge(beside)) == 3


def test_a_weak_strength_is_no_departure_and_a_strong_one_is():
    for value, accused in ((1e-4 / 20, False), (1e-4 * 20, True)):
        found = judge(failed(values=set_to(reg__loss__l2__strength=value)))
        assert any(verdict.code == "penalty_outweighs" for verdict in found) is accused


def test_a_short_patience_is_a_departure_and_a_long_one_is_not():
    key = "reg.stop.early_stopping.patience"
    for value, codes in ((1, ["stopped_too_early"]), (100, ["no_better_than_constant"])):
        found = judge(failed(values=VALUES | {key: value}, usual=VALUES | {key: 10}))
        assert [verdict.code for verdict in found] == codes


def test_a_warm_up_from_0_is_no_early_decay():
    _, beyond = CASES["decayed_too_early"]
    warm = {step: times for step, times in beyond.multipliers.items()} | {1: 0.001, 2: 0.002}
    assert judge(replace(beyond, multipliers=warm))[0].numbers == judge(beyond)[0].numbers
    rising = {step: min(1.0, step / 500) for step in range(0, 1001, 50)} | {1: 0.001}
    assert "decayed_too_early" not in [verdict.code for verdict in judge(replace(beyond, multipliers=rising))]


def test_the_speed_of_a_run_leaves_out_its_first_fifth_and_what_was_before_a_resume():
    """Ten points of 1,280 samples at 640 a second are 20 s; at 256 a second 50 s."""
    found = speed_of(slowed(0.4, since=0.75))
    assert (found.early, found.late, found.slow) == (640.0, 256.0, 1.0) and found.lost == pytest.approx(30)
    warm = slowed(0.4, since=0.75)
    rows = [row | {"throughput": 1.0} if row.get("throughput") and row["step"] <= 200 else row for row in warm.rows]
    assert speed_of(replace(warm, rows=rows)) == found
    resumed = speed_of(slowed(0.4, points=100, pause_at=75, since=0.75))
    assert (resumed.early, resumed.late, resumed.lost) == (256.0, 256.0, 0.0)
    assert speed_of(slowed(0.4, pause_at=30)) is None  # 20 points are left


def test_the_advice_on_a_slow_run_names_the_disk_where_samples_are_streamed():
    (of_disk,) = judge(slowed(0.4, residency="stream"))
    assert "residency=host" in of_disk.other and "residency" not in judge(slowed(0.4, residency="auto"))[0].other


def test_the_gap_is_counted_in_standard_errors():
    """(0.95 - 0.90) / sqrt(p (1 - p) / 1000 + q (1 - q) / 1000) = 4.242 with p = 951 / 1002 and q = 901 / 1002; on 30
    validation samples, q = 28 / 32, 0.823."""
    evaluations = history([0.90] * 10)
    evidence = healthy(history=evaluations, fit={"accuracy": 0.95, "loss": 0.1, "samples": 1000})
    assert gap_of(evidence) == pytest.approx((0.05, 4.242), rel=1e-3)
    few = replace(evidence, samples={"train": 6400, "val": 30, "test": 10})
    assert gap_of(few) == pytest.approx((0.05, 0.823), rel=1e-3)
    assert judge(gap(0.065, samples=30)) == []


def test_a_gap_beside_a_loss_that_still_falls_is_no_overfitting():
    falling = history([0.9] * 10, [1.0, 0.9, 0.8, 0.6, 0.5, 0.4, 0.4, 0.39, 0.38, 0.37])
    fit = {"accuracy": 0.99, "loss": 0.01, "samples": 1000}
    assert judge(healthy(history=falling, best=falling[-1], fit=fit)) == []
    settled = [{**row, "loss": max(row["loss"], 0.4)} for row in falling]
    assert judge(healthy(history=settled, best=settled[-1], fit=fit))[0].code == "overfitting"


def test_the_advice_against_overfitting_is_more_data_augmentation_or_dropout():
    """Of all samples before anything else; augmentation of images; dropout, and then a penalty, where it has been."""
    few = replace(gap(0.2), values=set_to(data__train_samples=200))
    options = {
        "act": "relu",
        "norm": "none",
        "sched": "cosine",
        "warmup": "none",
        "model": "cnn",
        "reg": set(),
        "aug": set(),
    }
    images = replace(gap(0.2), options=options, values=set_to(data__size=64))
    plain = replace(gap(0.2), options={**options, "norm": "batch"}, values=set_to(data__size=64))
    dropping = replace(gap(0.2), options={**options, "reg": {"dropout"}})
    both = replace(gap(0.2), options={**options, "reg": {"dropout", "l2"}})
    changes = [judge(each)[0].changes for each in (few, images, plain, dropping)]
    assert changes == [["~data.train_samples"], ["aug=[crop]"], ["reg=[dropout]"], ["reg=[dropout,l2]"]]
    assert judge(both)[0].code == "overfitting"


def test_a_rate_is_judged_by_the_schedule_and_the_first_half():
    """Update ratios that fall with the schedule are divided by it; those of the second half do not count."""
    rows = [train(step, 0.5, update_ratio=1e-3 * (1 - step / 1000)) for step in range(100, 1001, 100)]
    times = {step: 1 - step / 1000 for step in range(0, 1001, 100)}
    assert healthy(rows=rows, multipliers=times).rate == pytest.approx(1e-3)
    ends = [train(step, 0.5, update_ratio=1e-3 if step <= 500 else 1e-9) for step in range(100, 1001, 100)]
    assert healthy(rows=ends, multipliers={}).rate == 1e-3


@pytest.mark.parametrize(
    ("value", "usual", "times"),
    [(10.0, 1.0, 10), (0.1, 1.0, 10), (0.9, 0.5, 5), (0.99, 0.9, 10), ("all", 1.0, 1), (1.0, 1.0, 1), (0.0, 0.1, 1)],
)
def test_distance_from_a_default(value, usual, times):
    import math

    assert math.exp(departures.distance(value, usual)) == pytest.approx(times)


def bare():
    """Evidence that lacks everything."""
    sizes = {"train": 2, "val": 0, "test": 0}
    return Evidence(
        task="classification", status="diverged", steps=0, steps_per_epoch=1, total_steps=1, samples=sizes, batch=1
    )


def test_rules_bear_evidence_that_lacks_everything():
    for changes in ({}, {"task": "regression"}, {"steps": 1, "probes": [numberless(0), numberless(1)]}):
        for rule in OF_GROUPS:
            assert all(isinstance(verdict, Verdict) for verdict in rule(replace(bare(), **changes)))


def numberless(step):
    """A probe of a network whose numbers are not finite."""
    whole = probe(step)

    def without(value):
        if isinstance(value, dict):
            return {key: without(child) for key, child in value.items()}
        if isinstance(value, list):
            return [without(child) for child in value]
        return value if isinstance(value, str) else None

    return {**without(whole), "step": step}


def test_the_limit_of_clipping_is_the_90th_percentile_of_the_norms():
    rows = [train(step, 1.0, grad_norm=float(step)) for step in range(1, 102)]
    assert rate.percentile_of_norms(healthy(rows=rows)) == 91.0


def test_the_norm_of_all_parameters():
    assert regularization.norm_of({"parameters": {"a": {"norm": 3.0}, "b": {"norm": 4.0}, "c": {"norm": None}}}) == 5.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        (
            {"layers": [layer("0", identical=1.0), layer("2"), layer("4")]},
            ["all units of layer 0"],
        ),
        ({"activations": [activation(), activation(dead=1.0)]}, ["all units of activation 2 (ReLU) are off"]),
        ({"activations": [activation(), activation(dead=0.99)]}, []),
        ({"parameters": probe(0)["parameters"]}, ["no weight has changed in 64 steps"]),
    ],
)
def test_what_is_certain_while_a_run_trains(changes, said):
    found = [*certain([probe(0), probe(8), probe(64, **changes)])]
    assert len(found) == len(said) and all(line.startswith(start) for line, start in zip(found, said))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"optimizer.momentum": 0.9}, 10),
        ({"optimizer.momentum": 0.99}, 100),
        ({"optimizer.momentum": 0.9, "optimizer.dampening": 0.9}, 1),
        ({"optimizer.betas": [0.9, 0.999]}, 1),
        ({"optimizer.momentum": 0.0}, 1),
        ({}, 1),
    ],
)
def test_the_growth_of_steps_by_momentum(values, wanted):
    assert healthy(values=values).grows == pytest.approx(wanted)


def test_a_command_names_the_folders_of_own_options(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "extra_folders", [tmp_path / "own options"])
    verdict = Verdict(code="rate_too_high", what="", meaning="", changes=["optimizer.lr=0.1"])
    words = shlex.split(verdict.command(["model=mine", "optimizer.lr=10"]))
    assert words == ["train", "model=mine", "optimizer.lr=0.1", "--config-dir", str(tmp_path / "own options")]
