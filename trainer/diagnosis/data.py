"""Verdicts on the data: their order, their classes, their labels and their features."""

import math
import unicodedata
from collections.abc import Iterator, Sequence

from trainer.base.text import printable
from trainer.diagnosis.evidence import FEW_STEPS, Evidence
from trainer.diagnosis.start import OFF_CENTRE, activations
from trainer.diagnosis.verdict import Verdict

OTHER_LOSS = 0.1  # by which the loss of a sample in a batch differs from that in half of it
MIXED = 0.5  # entropy of the labels of a batch over that of shuffled batches
IMBALANCE = 10.0  # largest over smallest class (SageMaker)
MISSED = 0.7  # fraction of a class that is not recognised (SageMaker)
ONE_ANSWER = 0.99  # fraction of samples with the most common prediction
CONFUSED = 0.3  # fraction of two classes that are taken for one another
BOUNDED = ("Sigmoid", "Hardsigmoid", "Tanh", "Softsign", "Hardtanh")  # activations that flatten out on both sides
POOR = 0.8  # training score
KNOWN = 0.8  # score on the other classes, beside one that is confused or never predicted
ENOUGH = 8  # samples of a class
SIGNIFICANT = 3.0  # standard errors


def loss_of_batch(evidence: Evidence) -> Iterator[Verdict]:
    """A loss of a sample that depends on the size of its batch: a sum where a mean is meant."""
    ratio = evidence.loss_in_batch
    if ratio is not None and abs(ratio - 1) >= OTHER_LOSS:
        yield Verdict(
            code="loss_depends_on_batch",
            what=f"the loss of a sample is {ratio:.3g} times as large in a batch as in half of it",
            meaning="A sum where a mean is meant multiplies every gradient, and the learning rate, by the batch size.",
            other="let the loss return the loss of each sample, (B,)",
            numbers={"ratio": (ratio, 1 + OTHER_LOSS)},
        )


def not_shuffled(evidence: Evidence) -> Iterator[Verdict]:
    """Batches that hold few classes each."""
    if evidence.mixing is not None and evidence.mixing < MIXED:
        sampler = evidence.options.get("sampler")
        yield Verdict(
            code="not_shuffled",
            what=f"sampler={sampler}: the labels within a batch have {evidence.mixing:.0%} "
            "of the variety of shuffled ones",
            meaning="Batches of one class after the other teach the network the newest class and unlearn the rest.",
            changes=["sampler=shuffle"],
            numbers={"mixing": (evidence.mixing, MIXED)},
        )


def uncentred_inputs(evidence: Evidence) -> Iterator[Verdict]:
    """Inputs far from mean 0 before activations that flatten out, in a run that has learnt nothing."""
    found = (evidence.first or {}).get("input", {})
    mean, deviation = found.get("mean"), found.get("std")
    bounded = [row for row in activations(evidence.first) if row["slope"] is not None and row["kind"] in BOUNDED]
    if mean is None or not deviation or not bounded or evidence.fit_score(0.0) > POOR:
        return
    if abs(mean) / deviation > OFF_CENTRE:
        yield Verdict(
            code="uncentred_inputs",
            what=f"the inputs have mean {mean:.3g} and deviation {deviation:.3g}, before {bounded[0]['kind']}",
            meaning="Such units learn from inputs around 0 with a deviation near 1: those of one sign push all "
            "of them to one side, and small ones hardly move them.",
            changes=["preprocess=standardize"],
            numbers={"mean": (abs(mean) / deviation, OFF_CENTRE)},
        )


def imbalanced(evidence: Evidence) -> Iterator[Verdict]:
    """Classes of very different sizes, of which the small ones are not recognised."""
    counts = evidence.counts
    if len(counts) < 2 or not min(counts) or max(counts) / min(counts) <= IMBALANCE:
        return
    small, missed = smallest_class(evidence)
    if missed is not None and missed <= MISSED:
        return
    ratio = max(counts) / min(counts)
    recall = f", and {missed:.0%} of it is not recognised" if missed is not None else ""
    yield Verdict(
        code="class_imbalance",
        what=f"the largest class is {ratio:.0f} times the smallest, {name_of(evidence, small)}{recall}",
        meaning="The loss is a mean over samples, so that a rare class hardly counts; accuracy hides it.",
        changes=["sampler=balanced"],
        numbers={"ratio": (ratio, IMBALANCE), "missed": (missed if missed is not None else 1.0, MISSED)},
    )


def smallest_class(evidence: Evidence) -> tuple[int, float | None]:
    """Return the smallest class, and the fraction of it that is not recognised; None where that is not known."""
    small = min(range(len(evidence.counts)), key=evidence.counts.__getitem__)
    row = evidence.confusion[small] if evidence.confusion else []
    return small, 1 - row[small] / sum(row) if sum(row) else None


def same_class_twice(evidence: Evidence) -> Iterator[Verdict]:
    """Two classes with one name, or that are taken for one another as often as not."""
    known: dict[str, int] = {}
    for second, name in enumerate(evidence.classes):
        if (first := known.setdefault(normal(name), second)) != second:
            names = f"{name_of(evidence, first)} and {name_of(evidence, second)}"
            yield Verdict(
                code="duplicate_classes",
                what=f"the classes {names} have the same name but for letter case or spaces",
                meaning="Samples of one thing with two labels cannot be told apart.",
                other="put the samples of both into one class",
            )
            return
    for first, second, wrong in confusions(evidence):
        if min(wrong) > CONFUSED:
            yield Verdict(
                code="confused_classes",
                what=f"{name_of(evidence, first)} and {name_of(evidence, second)} are taken for one another in "
                f"{min(wrong):.0%} and {max(wrong):.0%} of the cases, other classes are not",
                meaning="Two classes that look the same to the network may be one, or have labels mixed up.",
                other="look at samples of both, and put them into one class if they are one",
                numbers={"confused": (min(wrong), CONFUSED)},
            )
            return


def confusions(evidence: Evidence) -> Iterator[tuple[int, int, tuple[float, float]]]:
    """Yield two classes, and which fractions of both are taken for the other, where the other classes are known."""
    sizes, recognised, _ = sums_of(evidence.confusion)
    total, correct = sum(sizes), sum(recognised)
    for first, second in pairs(len(evidence.confusion)):
        (a, b), (c, d) = ([evidence.confusion[i][j] for j in (first, second)] for i in (first, second))
        if min(a + b, c + d) < ENOUGH or a + b < 0.8 * sizes[first]:
            continue
        others, right = total - a - b - c - d, correct - a - d
        if others and right / others > KNOWN:
            yield first, second, (b / (a + b), c / (c + d))


def never_predicted(evidence: Evidence) -> Iterator[Verdict]:
    """A class that no sample is taken for, in a trained network that tells the others apart."""
    for index, size, right in unpredicted(evidence):
        if right > KNOWN:
            yield Verdict(
                code="class_never_predicted",
                what=f"no validation sample is predicted as {name_of(evidence, index)}, though {size} are; "
                f"{right:.0%} of the others are right",
                meaning="The output of this class never is the largest one: it may be cut off, or hardly trained.",
                other="look at the last layer for an activation behind it, and at the labels of that class",
                numbers={"others": (right, KNOWN)},
            )
            return


def unpredicted(evidence: Evidence) -> Iterator[tuple[int, int, float]]:
    """Yield each class that no sample is taken for, its samples, and the fraction of all others that are right."""
    sizes, recognised, predicted = sums_of(evidence.confusion)
    total, correct = sum(sizes), sum(recognised)
    if evidence.steps < FEW_STEPS or sum(map(bool, recognised)) < 2:
        return
    for index, size in enumerate(sizes):
        if size >= ENOUGH and not predicted[index] and total > size:
            yield index, size, (correct - recognised[index]) / (total - size)


def sums_of(confusion: Sequence[Sequence[int]]) -> tuple[list[int], list[int], list[int]]:
    """Return for each class its samples, those of them that are recognised, and the samples that are taken for it."""
    recognised = [row[index] for index, row in enumerate(confusion)]
    return [sum(row) for row in confusion], recognised, [sum(column) for column in zip(*confusion)]


def pairs(count: int) -> Iterator[tuple[int, int]]:
    """Yield every pair of two numbers below a count of at most 200."""
    yield from ((first, second) for second in range(min(count, 200)) for first in range(second))


def normal(name: str) -> str:
    """Return a class's name without letter case, spaces and signs between words, in composed form."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())


def name_of(evidence: Evidence, index: int) -> str:
    """Return the name of a class, or its number."""
    names = evidence.classes
    return repr(printable(names[index])) if index < len(names) else f"class {index}"


def no_signal(evidence: Evidence) -> Iterator[Verdict]:
    """Labels that training samples are fitted to, but that say nothing about others."""
    if evidence.has_learnt or evidence.score is None or evidence.task == "regression":
        return
    guess, fit = evidence.constant[evidence.metric.name], evidence.fit.get(evidence.metric.name)
    base = max(guess, evidence.largest_share or 0.0)
    count = int(evidence.fit.get("samples", 0))
    if fit is None or errors_above(base, evidence) < SIGNIFICANT:
        return
    # A network that has hardly begun to learn is a little above chance on both splits.
    errors = math.hypot(evidence.error_at(fit, count), evidence.error_at(evidence.score))
    if fit - evidence.score < SIGNIFICANT * errors:
        return
    yield Verdict(
        code="labels_without_signal",
        what=f"training samples are fitted ({fit:.3g}), but validation {evidence.metric.name} is {evidence.score:.3g} "
        f"at best, where always the same class has {guess:.3g}",
        meaning="Labels that have nothing to do with the inputs can be learnt by heart, and not predicted.",
        other="look at samples with their labels (task=preview): they may be shuffled, or read from the wrong place",
        numbers={"fit": (fit, base), "validation": (evidence.score, guess)},
    )


def errors_above(base: float, evidence: Evidence) -> float:
    """Return by how many standard errors of its samples the training score is above another."""
    return (evidence.fit_score(base) - base) / evidence.error_at(base, int(evidence.fit["samples"]))


def constant_features(evidence: Evidence) -> Iterator[Verdict]:
    """Features of a table that have one value."""
    if evidence.constants:
        names = ", ".join(map(printable, evidence.constants[:5])) + (" ..." if len(evidence.constants) > 5 else "")
        yield Verdict(
            code="constant_features",
            level="hint",
            what=f"{names}: one value in the whole training split",
            meaning="A feature that does not vary carries nothing, and may be a mistake in the table.",
            other="leave it out (data=csv: data.ignore), or look where it was lost",
            numbers={"features": (len(evidence.constants), 0)},
        )


def one_answer(evidence: Evidence) -> Iterator[Verdict]:
    """A network that gives one class to all samples, though no single class has nearly all of them."""
    probe = evidence.last or {}
    common, share = probe.get("common"), evidence.largest_share or 1.0
    if common is not None and common >= ONE_ANSWER and share < 0.9 and not evidence.has_learnt:
        yield Verdict(
            code="one_class_predicted",
            what=f"the network gives the same class to {common:.0%} of the samples; "
            f"the most frequent class has {share:.0%}",
            meaning="Its outputs do not depend on its inputs.",
            changes=["optimizer.lr=auto"],
            numbers={"common": (common, ONE_ANSWER)},
        )
