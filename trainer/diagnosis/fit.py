"""Verdicts on the fit: a network that is too small, one that learns by heart, and runs of the wrong length."""

import math
from collections.abc import Iterator, Mapping, Sequence

from trainer.base.text import counted, epochs
from trainer.diagnosis.evidence import FEW_STEPS, Evidence, fall, is_positive
from trainer.diagnosis.verdict import Verdict
from trainer.rundir.status import Status

GAP = 0.06  # between two accuracies
SETTLED = 0.02  # fall of the validation loss in the last third of a run
GAP_OF_R2 = 0.15  # between two r2
SIGNIFICANT = 3.0  # standard errors
FITTED_R2 = 0.1  # training r2 of a network that has fitted anything
LOW = 0.9  # training score of a network that has not fitted its data
WIDE, LONG = 128, 100  # units of a layer and epochs of a larger network
ENOUGH_STEPS = 2000  # for it
FLAT = 0.03  # fall of the training loss over the last third: less is a plateau
FALLING, FAR = 0.15, 0.15  # the same where the score is so far below that of nearest neighbours
FEW = 10  # evaluations
BEST_EARLY = 0.25  # fraction of the run in which its best score is
STILL = 0.05  # rise of the score, and fall of the loss, within the last fifth
STILL_FALLING = 0.1  # fall of the loss alone
EAGER, PATIENT = 4, 10  # evaluations that early stopping waits, at most and better
WORSE = 0.1  # rise of the validation loss over its least one
SWING, LARGE_SHARE = 0.06, 0.3  # of a score at the end of a run; fraction that is held out


def underfitting(evidence: Evidence) -> Iterator[Verdict]:
    """A training score below that of nearest neighbours that no longer rises: the network is too small or simple."""
    fit, losses, reference = evidence.fit.get(evidence.metric.name), training_losses(evidence), evidence.neighbours
    if fit is None or reference is None or fit >= LOW or len(losses) < 6 or evidence.steps < FEW_STEPS:
        return
    falls = fall(last_third(losses))
    if evidence.task == "regression":
        least, learnt = GAP_OF_R2, True
    else:
        least = max(GAP, SIGNIFICANT * evidence.error_at(reference, int(evidence.fit["samples"])))
        learnt = has_fitted(evidence) or evidence.has_lowered_loss
    if not learnt or reference - fit < least or falls > (FALLING if reference - fit > FAR else FLAT):
        return
    yield Verdict(
        code="underfitting",
        what=f"training {evidence.metric.name} is {fit:.3g}, where five nearest neighbours have {reference:.3g}, "
        f"and its loss fell by {max(falls, 0):.1%} in the last third of the run",
        meaning="The network cannot represent the data any better: it is too small, or too simple, for them."
        if falls <= FLAT
        else "The network is too small, or too simple, for the data; or its steps too few, or too short.",
        changes=larger(evidence),
        numbers={"fit": (fit, reference), "falls": (falls, FLAT)},
    )


def has_fitted(evidence: Evidence) -> bool:
    """Return whether the training score is above that of the best constant answer by more than two standard errors."""
    fit = evidence.fit.get(evidence.metric.name)
    if fit is None or evidence.task == "regression":
        return fit is not None and fit > FITTED_R2
    guess = evidence.largest_share or 0.5
    return fit > guess + 2 * evidence.error_at(guess, int(evidence.fit["samples"]))


def larger(evidence: Evidence) -> list[str]:
    """Return the change to a larger network: 128 units in two layers, and twice as many where a layer has them."""
    model, hidden = evidence.options.get("model"), evidence.values.get("model.hidden")
    if model not in ("linear", "linear_chain", "mlp"):
        return []
    widths = list(hidden) if model == "mlp" and hidden else [0]
    units = WIDE if max(widths) < WIDE else 2 * max(widths)
    longer = evidence.steps < ENOUGH_STEPS and LONG * evidence.steps_per_epoch > evidence.total_steps
    layers = ",".join([str(units)] * max(len(widths), 2))
    return ["model=mlp", f"model.hidden=[{layers}]", *([f"epochs={LONG}"] if longer else [])]


def training_losses(evidence: Evidence) -> list[float]:
    """Return the losses of the training curve from the last of its first steps on."""
    return [row["loss"] for row in evidence.training if row["loss"] is not None]


def last_third(values: Sequence[float]) -> Sequence[float]:
    """Return the last third of some values, at least three."""
    return values[-max(len(values) // 3, 3) :]


def gap_of(evidence: Evidence) -> tuple[float, float]:
    """Return the gap between the scores of training and validation at the end, and its size in standard errors."""
    name = evidence.metric.name
    fit, last = evidence.fit.get(name), evidence.history[-1].get(name) if evidence.history else None
    if fit is None or last is None:
        return 0.0, 0.0
    count, held_out = int(evidence.fit["samples"]), evidence.samples["val"]
    if evidence.task == "regression":
        mine, theirs = 1 - fit, 1 - last
        if mine <= 0 or theirs <= 0:
            return fit - last, 0.0
        return fit - last, math.log(theirs / mine) / math.sqrt(2 / count + 2 / held_out)
    return fit - last, (fit - last) / math.hypot(evidence.error_at(fit, count), evidence.error_at(last, held_out))


def is_significant(gap: float, errors: float) -> bool:
    """Return whether a gap between two scores is large, and larger than chance makes it."""
    return gap >= GAP and errors >= SIGNIFICANT


def overfitting(evidence: Evidence) -> Iterator[Verdict]:
    """A training score that is significantly above that of validation, whose loss no longer falls."""
    gap, errors = gap_of(evidence)
    if not is_significant(gap, errors) or still_falls(evidence):
        return
    name = evidence.metric.name
    fit, last = evidence.fit[name], evidence.history[-1][name]
    yield Verdict(
        code="overfitting",
        what=f"{name} is {fit:.3g} on training, {last:.3g} on {counted('validation sample', evidence.samples['val'])}: "
        f"a gap of {gap:.2g}, {errors:.1f} standard errors",
        meaning="The network has learnt its training samples by heart; what it learnt last does not carry over.",
        changes=regularized(evidence),
        numbers={"gap": (gap, GAP), "errors": (errors, SIGNIFICANT)},
    )


def still_falls(evidence: Evidence) -> bool:
    """Return whether the validation loss has fallen in the last third of a run: a gap does not harm it yet."""
    since = 2 / 3 * evidence.history[-1]["step"]
    before, after = (
        [row["loss"] for row in evidence.history if (row["step"] > since) is late] for late in (False, True)
    )
    return bool(before and after) and min(after) < (1 - SETTLED) * min(before)


def regularized(evidence: Evidence) -> list[str]:
    """Return the changes against overfitting: more of the data, or what holds the network back."""
    kept = evidence.values.get("data.train_samples")
    if kept not in (None, "all"):
        return ["~data.train_samples"]
    images = "aug" in evidence.options and evidence.values.get("data.size") is not None
    names, changed = (sorted(evidence.options.get(group) or ()) for group in ("reg", "aug"))
    added = [name for name in ("dropout", "l2") if name not in names][:1]
    if evidence.options.get("norm") == "none" and not names and images and "crop" not in changed:
        return [f"aug=[{','.join([*changed, 'crop'])}]"]
    return [f"reg=[{','.join([*names, *added])}]"] if added else []


def no_better_than_constant(evidence: Evidence) -> Iterator[Verdict]:
    """Scores of validation and training that chance explains, or that of the best constant answer; nothing says why."""
    if evidence.score is None or not evidence.steps or evidence.has_learnt:
        return
    constant = evidence.constant.get(evidence.metric.name)
    if constant is None or (evidence.metric.is_better(evidence.score, constant) and has_fitted(evidence)):
        return
    yield Verdict(
        code="no_better_than_constant",
        what=f"{evidence.held_out} {evidence.metric.name} {evidence.score:.4f} is no better than "
        f"{evidence.metric.constant} ({constant:.4f})",
        meaning="The run has learnt nothing that holds for other samples.",
        changes=["optimizer.lr=auto"],
        numbers={"score": (evidence.score, constant)},
    )


def standstill(evidence: Evidence) -> Iterator[Verdict]:
    """A run whose best score is of its first quarter and whose least loss of its first half, of ten evaluations."""
    history, best = evidence.history, evidence.best
    if (
        evidence.stopped
        or best is None
        or len(history) < FEW
        or history[int(BEST_EARLY * len(history))]["step"] <= best["step"]
    ):
        return
    if min(history, key=lambda row: row["loss"])["step"] > evidence.steps / 2:
        return
    since, total = (epochs(row["step"] / evidence.steps_per_epoch) for row in (best, history[-1]))
    half = max(math.ceil(best["step"] / evidence.steps_per_epoch * 1.5), 1)
    constant = len(set(evidence.multipliers.values())) == 1
    yield Verdict(
        code="long_without_progress",
        level="hint",
        what=f"val {evidence.metric.name} has not improved since epoch {since} of {total}",
        meaning="A learning rate that falls lets a run settle; it was constant."
        if constant
        else "The rest of the run brought nothing: a shorter one gives the same weights.",
        changes=["sched=cosine"] if constant else [f"epochs={half}"],
        numbers={"best": (best["step"] / evidence.steps, BEST_EARLY)},
    )


def stopped_too_early(evidence: Evidence) -> Iterator[Verdict]:
    """A run that an impatient rule has ended in its first half, while it was learning and validation was not worse."""
    found = ((key, value) for key, value in evidence.values.items() if key.endswith(".patience"))
    key, patience = next(((key, value) for key, value in found if is_positive(value)), ("", EAGER + 1))
    losses, training = [row["loss"] for row in evidence.history], training_losses(evidence)
    if evidence.status != Status.STOPPED or patience > EAGER or len(losses) < 3 or min(losses) <= 0:
        return
    falls, worse = fall(last_third(training)), losses[-1] / min(losses) - 1
    if evidence.steps > evidence.total_steps / 2 or falls < STILL_FALLING or worse > WORSE:
        return
    yield Verdict(
        code="stopped_too_early",
        level="hint",
        what=f"early stopping with {key}={patience:g} ended the run after {evidence.steps / evidence.total_steps:.0%} "
        f"of it, while the training loss fell and validation was {max(worse, 0):.1%} above its least loss",
        meaning="Validation losses go up and down: a few evaluations without a new best one are no end yet.",
        changes=[f"{key}={PATIENT}"],
        numbers={"patience": (patience, EAGER), "falls": (falls, STILL_FALLING), "worse": (worse, WORSE)},
    )


def noisy_validation(evidence: Evidence) -> Iterator[Verdict]:
    """Validation scores that go up and down at the end, by what their few samples explain."""
    if evidence.task == "regression" or len(evidence.history) < FEW or evidence.best is None:
        return
    error, swing = evidence.error_at(evidence.best[evidence.metric.name]), swing_of(evidence)
    held_out = evidence.samples.get(evidence.held_out, 0)
    share = evidence.values.get("data.val_fraction")
    if swing < SWING or swing > 4 * error or not held_out or not is_positive(share) or share >= LARGE_SHARE:
        return
    yield Verdict(
        code="noisy_validation",
        level="hint",
        what=f"val {evidence.metric.name} goes up and down by {swing:.2g} at the end; the standard error of "
        f"{counted('validation sample', held_out)} is {error:.2g}",
        meaning="Smaller differences between runs are chance: compare several seeds, or hold out more.",
        changes=[f"data.val_fraction={min(LARGE_SHARE, 2 * share):g}"],
        numbers={"swing": (swing, SWING)},
    )


def swing_of(evidence: Evidence) -> float:
    """Return the difference between the highest and the lowest validation score of a run's last third."""
    scores = [row[evidence.metric.name] for row in evidence.history[-max(len(evidence.history) // 3, 5) :]]
    return max(scores) - min(scores)


def still_improving(evidence: Evidence) -> Iterator[Verdict]:
    """A run that ended while its validation score was rising clearly."""
    history, name = evidence.history, evidence.metric.name
    if len(history) < 5 or evidence.best is None or evidence.best["step"] < history[-1]["step"] or evidence.stopped:
        return
    tail = last_fifth(history)
    rise = tail[-1][name] - tail[0][name]
    steady = all(later["loss"] < before["loss"] for before, later in zip(tail, tail[1:]))
    noise = 2 * evidence.error_at(tail[-1][name]) if evidence.task != "regression" else 0.0
    falls = fall([row["loss"] for row in tail])
    if not steady or (falls <= STILL_FALLING and (rise <= max(STILL, noise) or falls <= STILL)):
        return
    yield Verdict(
        code="still_improving",
        level="hint",
        what=f"the validation loss fell by {falls:.0%} in the last {len(tail) - 1} evaluations, to its least",
        meaning="A longer run is likely to score higher.",
        changes=[f"epochs={evidence.longer(2)}"],
        numbers={"rise": (rise, max(STILL, noise)), "falls": (falls, STILL_FALLING)},
    )


def last_fifth(history: Sequence[Mapping]) -> Sequence[Mapping]:
    """Return the evaluations of a run's last fifth, at least two, with the one before them."""
    return history[-max(len(history) // 5, 2) - 1 :]
