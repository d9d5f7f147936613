"""Verdicts on a run, the likeliest cause first, three at most. BEGIN HERE.

A rule is a function of the evidence that yields verdicts. Of the causes, the first rule that yields any is the last: a
fault of the initialisation or of the learning rate explains the symptoms that later rules look for. The rules beside
the cause are always asked; hints are given to runs without a problem.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from trainer.diagnosis import data, departures, fit, rate, regularization, speed, start
from trainer.diagnosis.evidence import Evidence
from trainer.diagnosis.verdict import Verdict

MOST = 3
Rule = Callable[[Evidence], Iterable[Verdict]]


def only_without_success(rule: Rule) -> Rule:
    """Return a rule for runs that have learnt nothing."""
    return lambda evidence: () if evidence.has_learnt else rule(evidence)


CAUSES: tuple[Rule, ...] = (  # in this order: the first that finds something explains the rest
    data.loss_of_batch,
    start.symmetric,
    rate.blown_up,
    start.unscaled_inputs,
    start.dead_from_the_start,
    start.initial_loss,
    data.not_shuffled,
    regularization.soft_labels,
    regularization.penalty_outweighs,
    regularization.decay_outweighs,
    rate.warm_up_never_ends,
    rate.long_momentum,
    start.vanishing,
    data.uncentred_inputs,
    regularization.young_averages,
    regularization.noise_of_training,
    regularization.blank_images,
    rate.rate_too_high,
    rate.rate_too_low,
    rate.decayed_too_early,
    rate.too_few_steps,
    data.no_signal,
    data.imbalanced,
    data.same_class_twice,
    data.never_predicted,
    regularization.frozen,
    only_without_success(departures.departure),
    data.one_answer,
    fit.underfitting,
    fit.overfitting,
    fit.no_better_than_constant,
)
BESIDE: tuple[Rule, ...] = (regularization.frozen, data.imbalanced, data.same_class_twice, data.constant_features)
HINTS: tuple[Rule, ...] = (
    fit.standstill,
    fit.still_improving,
    fit.stopped_too_early,
    fit.noisy_validation,
    speed.throughput_dropped,
)


def judge(evidence: Evidence) -> list[Verdict]:
    """Return the verdicts on a run."""
    causes = first_found(CAUSES, evidence)
    found = [*causes, *all_found(BESIDE, evidence)]
    if not found:
        found = [*all_found(HINTS, evidence)]
    once = [*{verdict.code: verdict for verdict in reversed(found)}.values()][::-1]
    return [without_idle(verdict, evidence) for verdict in once[:MOST]]


def without_idle(verdict: Verdict, evidence: Evidence) -> Verdict:
    """Return a verdict whose command changes nothing to what the run has already."""
    return replace(verdict, changes=[change for change in verdict.changes if not evidence.has(change)])


def first_found(rules: Iterable[Rule], evidence: Evidence) -> list[Verdict]:
    """Return the verdicts of the first rule that has any."""
    return next((found for rule in rules if (found := [*rule(evidence)])), [])


def all_found(rules: Iterable[Rule], evidence: Evidence) -> Iterator[Verdict]:
    """Yield the verdicts of all rules."""
    for rule in rules:
        yield from rule(evidence)
