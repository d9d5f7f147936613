"""Checks of the fresh network: its loss, its units, and the signal through its layers."""

import math

import torch

from trainer.base.protocols import HasBestConstant
from trainer.diagnosis.start import DEAD, SATURATED
from trainer.inspection.check import Check, Subject, judge, not_applicable
from trainer.inspection.practice import at_the_start


def initial_loss(subject: Subject) -> Check:
    """Check that the fresh network's loss is that of a guess: log C for C classes, without any penalty."""
    run, (images, targets) = subject.run, subject.batch
    with torch.no_grad():
        loss = float(run.criterion(subject.copy_model()(images).float(), targets).mean())
        guesses = {"outputs of 0": float(run.criterion(torch.zeros_like(targets), targets).mean())}
        if isinstance(run.criterion, HasBestConstant):
            constant = run.criterion.constant(run.train.targets).to(targets).expand_as(targets)
            guesses[run.criterion.constant_loss] = float(run.criterion(constant, targets).mean())
    low, high = min(guesses.values()) / 2, max(guesses.values()) * 2
    if not math.isfinite(high) or high <= 0:
        return not_applicable("the loss of a guess is not a positive number")
    classes = max(run.data.outputs, 2)
    known = f" = log {classes}" if math.isclose(guesses["outputs of 0"], math.log(classes), rel_tol=1e-4) else ""
    detail = ", ".join(f"{name}: {value:.4f}" for name, value in guesses.items()).replace(",", f"{known},", 1)
    if loss < low:
        meaning = (
            "The loss of the fresh network is far below that of a guess: it is scaled, or the inputs hold the targets."
        )
        advice = "look at the loss, and in the data for a column that is the target"
    else:
        meaning = "The fresh network is far more wrong than a guess: its outputs begin too large."
        advice = subject.words("init=auto", subject.standardize, "norm=batch")
    return judge(loss, f"in [{low:.4g}, {high:.4g}]", detail, meaning, advice)


def loss_is_a_mean(subject: Subject) -> Check:
    """Check that the loss does not grow with the batch: each sample twice gives the same mean."""
    run, (images, targets) = subject.run, subject.batch
    half = max(len(targets) // 2, 1)
    with torch.no_grad():
        outputs, targets = subject.copy_model().eval()(images[:half]).float(), targets[:half]
        once = run.criterion(outputs, targets).double().mean()
        twice = run.criterion(torch.cat([outputs, outputs]), torch.cat([targets, targets])).double().mean()
    if not once:
        return not_applicable("the loss of the fresh network is 0")
    detail = "loss of a batch that holds each sample twice, over that of the batch"
    meaning = "The loss grows with the size of the batch, a sum where a mean is meant: the right rate depends on it."
    return judge(
        float(twice / once),
        "in [0.999, 1.001]",
        detail,
        meaning,
        "return one loss for each sample, (B,), without summing over them",
    )


def symmetry_breaking(subject: Subject) -> Check:
    """Check that the units of a layer differ: those with equal weights and equal gradients stay equal for ever."""

    def measure(probe: dict) -> Check:
        layers = probe["layers"][:-1]  # the outputs have targets of their own
        if not layers:
            return not_applicable("the model has no hidden layer")
        alike = [row["name"] for row in layers if row["identical"]]
        detail = f"layers whose units are all alike, of {len(layers)} hidden ones{': ' + alike[0] if alike else ''}"
        meaning = f"All units of {' and of '.join(alike[:2])} have the same weights and gradients, and stay alike."
        return judge(len(alike), "<= 0", detail, meaning, subject.words("init=auto", "init=he_normal"))

    return at_the_start(subject, measure)


def centred_outputs_of_layers(subject: Subject) -> Check:
    """Check that the outputs of each layer, before its activation, are not all far to one side of 0."""

    def measure(probe: dict) -> Check:
        ratios = {row["name"]: abs(row["mean"]) / row["std"] for row in probe["layers"] if row["std"]}
        if not ratios:
            return not_applicable("no layer has outputs that vary")
        worst = max(ratios, key=ratios.__getitem__)
        detail = f"|mean| / deviation of a layer's outputs, largest in {worst}"
        meaning = f"Nearly all outputs of {worst} lie on one side of 0, so that its activations are constant or linear."
        return judge(ratios[worst], "<= 4", detail, meaning, subject.words("bias=zero", "init=auto", "norm=batch"))

    return at_the_start(subject, measure)


def signal_through_the_layers(subject: Subject) -> Check:
    """Check that the outputs keep their size from the first hidden layer to the last one."""

    def measure(probe: dict) -> Check:
        hidden = probe["activations"] if len(probe["activations"]) > 1 else probe["layers"][:-1]
        if len(hidden) < 2:
            return not_applicable("the model has fewer than two hidden layers")
        first, last = hidden[0]["std"], hidden[-1]["std"]
        if not first:
            return not_applicable("the outputs of the first layer do not vary")
        detail = f"deviation of the outputs of {hidden[-1]['name']} over that of {hidden[0]['name']}"
        ratio = math.nan if last is None else last / first
        meaning = "The signal fades from layer to layer." if ratio < 1 else "The signal grows from layer to layer."
        return judge(ratio, "in [0.03, 50]", detail, meaning, subject.words("init=auto", "norm=batch"))

    return at_the_start(subject, measure)


def dead_units(subject: Subject) -> Check:
    """Check that few units are off for nearly all samples: they get no gradient."""

    def measure(probe: dict) -> Check:
        meaning = "Most units of {} are off for all samples: no gradient reaches the weights before them."
        advice = subject.words("bias=zero", "init=auto", "act=leaky_relu")
        what = "units that pass on a gradient on under 1 % of the samples"
        return of_activations(probe, "dead", DEAD, what, meaning, advice)

    return at_the_start(subject, measure)


def saturated_units(subject: Subject) -> Check:
    """Check that few outputs of activations lie where the activation is flat."""

    def measure(probe: dict) -> Check:
        meaning = "Most outputs of {} lie where the activation is flat: their gradients vanish."
        advice = subject.words("init=auto", "bias=zero", "norm=batch")
        what = "outputs where the activation is flat, |f'| < 0.01"
        return of_activations(probe, "saturated", SATURATED, what, meaning, advice)

    return at_the_start(subject, measure)


def of_activations(probe: dict, key: str, limit: float, what: str, meaning: str, advice: str) -> Check:
    """Return the check that a fraction is within its limit in each activation."""
    rows = probe["activations"]
    if not rows:
        return not_applicable("the model has no activations")
    worst = max(rows, key=lambda row: row[key] or 0.0)
    value = math.nan if worst[key] is None else worst[key]
    return judge(value, f"<= {limit}", f"{what}, largest in {worst['name']}", meaning.format(worst["name"]), advice)
