"""Checks of learning: weights that move, a overfit small sample, and inputs against zeros."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from trainer.base.layers import common_rate, trained_parameters
from trainer.base.metrics import score_of
from trainer.base.neighbours import score_of_neighbours
from trainer.base.text import counted
from trainer.inspection.check import Batch, Check, Subject, judge, not_applicable
from trainer.inspection.practice import (
    MakeOptimizer,
    Practice,
    Sample,
    adam,
    far_apart,
    own_optimizer,
    short_training,
    small_sample,
    training_batches,
)

BATCHES = 5  # of the small sample
FEW = 10  # samples, where noise makes it long to fit more of them
NEIGHBOURS = 5  # for regression; 1 for classes
WORSE = 3.0  # times the errors of nearest neighbours, from which a model is too small
PROGRESS = 0.95  # of the initial loss: an optimizer that is slow, and not stuck, gets below it
GROWTH = 1.5  # of the loss, from which a learning rate is too high rather than too low
ADAM_RATES = (3e-3, 1e-3)
HELD_OUT = 1000  # validation samples, at most
ENOUGH_HELD_OUT = 400  # samples, below which some of the training split are held out as well
DEVIATIONS = 3.0  # by which real inputs must beat zeros
ENOUGH = {"accuracy": 1.0, "r2": 0.99}
LARGER = "try more units or layers, as model=mlp model.hidden=[256,256]; look at the other checks first"


def weights_that_move(subject: Subject) -> Check:
    """Check that every trainable weight changes in a few steps, and that none is frozen unawares."""
    practice = short_training(subject)
    model, trained = practice.model, dict(trained_parameters(practice.model, subject.run.frozen))
    weights = [
        (name, weight, before)
        for (name, weight), before in zip(model.named_parameters(), practice.before)
        if name in trained and weight.numel()
    ]
    if not weights:
        return not_applicable("the model has no weights to train")
    still = {name: weight for name, weight, before in weights if torch.equal(weight.detach(), before)}
    which = f": {next(iter(still))}" if still else ""
    detail = f"tensors that {counted('step', practice.done)} did not change, of {len(weights)}{which}"
    meaning, advice = why_still(*next(iter(still.items())), subject) if still else ("", "")
    return judge(len(still), "<= 0", detail, meaning, advice)


def why_still(name: str, weight: Tensor, subject: Subject) -> tuple[str, str]:
    """Return why a weight has not moved, and what to do."""
    if not weight.requires_grad:
        meaning = f"{name} is frozen (requires_grad=False) at the values that it was drawn with."
        return meaning, "leave out requires_grad_(False), unless that is meant"
    if weight.grad is None:
        meaning = f"{name} has no gradient: the loss does not depend on it."
        return meaning, "look in forward for a layer that is not used, and for detach() and no_grad()"
    if not weight.grad.any():
        meaning = f"The gradient of {name} is 0: nothing behind it passes one on, or what it sees is 0."
        return meaning, subject.words("init=auto", "bias=zero")
    meaning = f"{name} has a gradient, and the optimizer does not move it."
    return meaning, "try a larger optimizer.lr, or optimizer=adam"


def overfit_small_sample(subject: Subject) -> Check:
    """Check that the model fits a few batches perfectly: accuracy 1, or r2 0.99, without regularisation.

    Where the run's own optimizer does not get there, Adam tries: an optimizer that is slow, and not stuck, is no fault.
    Where Adam does not get there either, because many samples of few features have noisy targets, the model must be
    about as good as the samples' nearest neighbours are, and fit ten samples perfectly.
    """
    sample, score = small_sample(subject, BATCHES), score_of(subject.run.data.task).name
    if not (sample.targets != sample.targets[:1]).any():
        return not_applicable("the sample has no two different targets")
    goal = ENOUGH[score]
    own, practice = learn(subject, sample, own_optimizer)
    detail = f"{score} on {counted('training sample', len(sample.targets))} after {counted('step', practice.done)}"
    result = partial(Check, value=own, threshold=f">= {goal:g}")
    if own >= goal:
        return result(passed=True, detail=detail)
    best = learn_with_adam(subject, sample)
    task = subject.run.data.task
    neighbours = score_of_neighbours(sample.images, sample.targets, task, NEIGHBOURS if task == "regression" else 1)
    least = min(goal, 1 - WORSE * (1 - neighbours) - 1 / len(sample.targets))
    detail += f", with Adam {best:.3g}, of nearest neighbours {neighbours:.3g}"
    if max(own, best) < least:
        meaning = "The model is too small, or begins badly: it fits the samples that it learns from worse than their"
        meaning += " nearest neighbours predict them."
        return result(passed=False, detail=detail, meaning=meaning, advice=LARGER)
    if own < least and not is_learning(practice, sample):
        return result(passed=False, detail=detail, **fault_of_optimizer(practice, subject))
    if best >= goal:
        return result(passed=True, threshold=f">= {goal:g}, or with Adam", detail=detail)
    return of_ten_samples(subject, sample, detail)


def learn(subject: Subject, sample: Sample, make: MakeOptimizer) -> tuple[float, Practice]:
    """Train on a sample until all of it is right, and return the best score with the training."""
    practice, goal = Practice(subject, subject.steps, make), ENOUGH[score_of(subject.run.data.task).name]
    best = -math.inf
    while practice.done < practice.steps and best < goal:
        for images, targets in sample.batches:
            practice.step(images, targets)
        if practice.is_stuck():
            break
        best = max(best, practice.score_on(sample.batches, training=True), practice.score_on(sample.batches))
    return best, practice


def learn_with_adam(subject: Subject, sample: Sample) -> float:
    """Return the best score of Adam on a sample, at two rates."""
    best = -math.inf
    for rate in ADAM_RATES:
        if best < ENOUGH[score_of(subject.run.data.task).name]:
            best = max(best, learn(subject, sample, adam(rate))[0])
    return best


def is_learning(practice: Practice, sample: Sample) -> bool:
    """Return whether the loss has fallen clearly: the optimizer is slow, not stuck."""
    last = practice.losses[-len(sample.batches) :]
    return sum(last) / len(last) < PROGRESS * practice.losses[0]


def fault_of_optimizer(practice: Practice, subject: Subject) -> dict[str, str]:
    """Return meaning and advice for an optimizer that does not learn where Adam does."""
    grew = not max(practice.losses) < GROWTH * practice.losses[0]
    meaning = "The optimizer does not fit a small sample, and Adam does: its learning rate is probably too "
    meaning += f"{'high' if grew else 'low'}."
    rate = subject.cfg.optimizer.get("lr") or common_rate(practice.optimizer, "base_lr")
    rates = [f"optimizer.lr={rate / 10 if grew else rate * 10:.3g}"] if "lr" in subject.cfg.optimizer else []
    return {"meaning": meaning, "advice": f"try {', '.join([*rates, 'optimizer=adam'])}"}


def of_ten_samples(subject: Subject, sample: Sample, detail: str) -> Check:
    """Return the check of ten samples for a model that does not fit many, and is as good there as neighbours are."""
    score, few = score_of(subject.run.data.task).name, far_apart(sample, FEW)
    best = max(learn(subject, few, own_optimizer)[0], learn_with_adam(subject, few))
    parameters = sum(weight.numel() for weight in subject.run.model.parameters() if weight.requires_grad)
    if best < ENOUGH[score] and parameters < sample.targets.numel():
        many = counted("sample", len(sample.targets))
        return not_applicable(f"{counted('parameter', parameters)} cannot fit {many} perfectly; {detail}")
    detail = f"{score} on {counted('training sample', len(few.targets))}; {detail}"
    return judge(best, f">= {ENOUGH[score]:g}", detail, "The model cannot fit even a handful of samples.", LARGER)


def inputs_against_zeros(subject: Subject) -> Check:
    """Check that a short training on the inputs predicts held-out samples better than one on zeros does.

    The loss of each held-out sample is compared in pairs, so that labels without a relation to the inputs are found.
    """
    held_out, indices = held_out_samples(subject)
    if held_out is None:
        return not_applicable("there are too few samples to hold some out")
    attempts = [(own_optimizer, subject.steps // 4), (adam(ADAM_RATES[0]), subject.steps)]
    value, real, zeros = -math.inf, math.nan, math.nan
    for make, steps in attempts:
        if value < DEVIATIONS:
            value, real, zeros = max((value, real, zeros), gain_over_zeros(subject, make, steps, indices, held_out))
    losses = f"{real:.3g} on {counted('held-out sample', len(held_out[1]))}, {zeros:.3g} with zeros as inputs"
    detail = f"standard errors between the losses after a short training: {losses}"
    meaning = (
        "The inputs do not help to predict held-out samples: are the labels shuffled, or the inputs lost on the way?"
    )
    return judge(value, f">= {DEVIATIONS:g}", detail, meaning, "look at some samples and their labels: task=preview")


def gain_over_zeros(
    subject: Subject, make: MakeOptimizer, steps: int, indices: Tensor, held_out: Batch
) -> tuple[float, float, float]:
    """Return by how many standard errors inputs lower the loss of held-out samples, and the loss with and without."""
    real = trained_losses(subject, make, steps, indices, held_out, lambda images: images)
    zeros = trained_losses(subject, make, steps, indices, held_out, torch.zeros_like)
    gain = (zeros - real).double()
    spread = float(gain.std()) / len(gain) ** 0.5
    value = float(gain.mean()) / spread if spread > 0 else 0.0
    return value if math.isfinite(value) else -math.inf, float(real.mean()), float(zeros.mean())


def held_out_samples(subject: Subject) -> tuple[Batch | None, Tensor]:
    """Return samples to judge by, and the indices of the training samples to learn from.

    Those of the validation split, and up to a third of the training split where that is small.
    """
    run = subject.run
    order = subject.some(len(run.train), "held out")
    wanted = max(ENOUGH_HELD_OUT - len(run.val), 0)
    count = min(wanted, len(order) // 3)
    parts = [run.train.batch(order[:count])] if count else []
    if len(run.val):
        parts.append(run.val.batch(torch.arange(min(len(run.val), HELD_OUT), device=run.val.targets.device)))
    total = sum(len(targets) for _, targets in parts)
    if total < 10 or len(order) - count < 2:
        return None, order
    return (torch.cat([images for images, _ in parts]), torch.cat([targets for _, targets in parts])), order[count:]


def trained_losses(
    subject: Subject, make: MakeOptimizer, steps: int, indices: Tensor, held_out: Batch, change: Callable
) -> Tensor:
    """Return the losses of held-out samples after a short training, with all inputs changed."""
    practice = Practice(subject, steps, make)
    for images, targets in training_batches(subject, steps, indices):
        practice.step(change(images), targets)
        if practice.is_stuck():
            break
    images, targets = held_out
    size = subject.run.eval_batch_size
    return practice.losses_on([*zip(change(images).split(size), targets.split(size))])
