"""Checks of the two modes of a model: training and evaluation."""

import torch

from trainer.base.rng import derive, seed_default
from trainer.base.text import counted
from trainer.inspection.check import Check, Subject, judge, not_applicable
from trainer.inspection.practice import short_training

UNLIKE = 0.5  # relative difference of the losses of the two modes


def training_and_evaluation_agree(subject: Subject) -> Check:
    """Check that after some steps the loss is the same in both modes, with nothing dropped.

    Batch norms take the statistics of the batch in training, and their running averages in evaluation.
    """
    practice = short_training(subject)
    batches = [subject.batch]  # as one: the statistics of small batches are noise
    training, evaluation = (practice.losses_on(batches, training=mode).double().mean() for mode in (True, False))
    again = practice.losses_on(batches, training=True).double().mean()
    if not torch.isclose(training, again, rtol=1e-3):
        return not_applicable("the model draws at random in training")
    larger = max(float(training), 0.1 * practice.losses[0])
    difference = abs(float(evaluation - training)) / larger if larger else 0.0
    losses = f"{float(training):.4g} in training, {float(evaluation):.4g} in evaluation"
    detail = f"relative difference of the losses after {counted('step', practice.done)}: {losses}"
    meaning = "The model computes something else in evaluation than in training: running averages are not yet those of"
    meaning += " the data, or its two modes differ."
    return judge(difference, f"<= {UNLIKE:g}", detail, meaning, "try more epochs, a larger norm.momentum, norm=layer")


def evaluation_twice(subject: Subject) -> Check:
    """Check that evaluating the same samples twice gives the same numbers."""
    model, images = subject.copy_model().eval(), subject.batch[0]
    with torch.no_grad():
        outputs = []
        for number in range(2):
            seed_default(subject.run.device, derive(subject.run.seed, "evaluation", number))
            outputs.append(model(images).float())
    size = outputs[0].abs().max().clamp(min=1e-12)
    difference = float((outputs[0] - outputs[1]).abs().max() / size)
    detail = "largest relative difference of an output between two evaluations"
    meaning = "The model draws at random in evaluation, so that its scores are those of one draw."
    advice = "let dropout depend on self.training: F.dropout(x, p, self.training), or nn.Dropout"
    return judge(difference, "<= 1e-05", detail, meaning, advice)
