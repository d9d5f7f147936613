"""Verdicts on the steps: a learning rate that is too high or too low, and what else makes steps too large or small."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from statistics import median

from trainer.diagnosis.departures import FAR, departure, rate_departure
from trainer.diagnosis.evidence import FEW_STEPS, Evidence, fall, is_positive
from trainer.diagnosis.start import DEAD, activations, amplifying, initial_loss, nth, unscaled_inputs
from trainer.diagnosis.verdict import Verdict

BLOWN, SPOILT = 3.0, 0.8  # times the initial loss; training score
SLOW = 5e-5  # update over weight, and over the schedule's multiplier; healthy medians are 1.1e-4 to 4e-3
FAST = 0.05  # the same
DIED = 0.99  # fraction of a layer's units
WORSE = 0.98  # times the loss of knowing nothing
RISEN = 2.0  # times the least loss of training
HEAVY, MEMORY = 50.0, 0.25  # 1 / (1 - momentum), in steps and in parts of the run
KEPT = 0.05  # fraction of the gradient that clipping leaves
WARMING = 0.5  # largest multiplier of a run that ends within its warm-up
FALLEN, EARLY = 0.01, 0.6  # multiplier, and fraction of the run that it stays below
BEGUN, POOR = 0.2, 0.9  # fraction of the run, and training score
IMPROVING = 0.05  # of the loss, an evaluation
BEHIND = 0.1  # training score below that of nearest neighbours
UNFINISHED = 0.1  # fall of the loss over the second half of few steps
OUTSET, CLIMB, SMALL = 8, 0.01, 0.01  # steps, rise of the loss between two points of them, update over weight
TOO_LONG = "Steps this long jump over the valley that they aim at, and land higher."
DEPARTURES = (".eps", ".betas", ".momentum", ".alpha", ".rho")  # keys of optimizers that change the size of steps


def blown_up(evidence: Evidence) -> Iterator[Verdict]:
    """A loss that is not finite, or far above its first value, or all units dead that lived before."""
    reason, numbers = why_blown(evidence)
    if not reason:
        return
    others = [unscaled_inputs, amplifying, initial_loss, long_momentum]
    least = math.exp(rate_departure(evidence.values, evidence.usual))
    for found in (*(rule(evidence) for rule in others), departure(evidence, max(FAR, least)), climbing(evidence)):
        if verdict := next(iter(found), None):
            yield replace(verdict, what=f"{reason}; {verdict.what}", numbers={**numbers, **verdict.numbers})
            return
    yield Verdict(
        code="rate_too_high",
        what=with_rate(reason, evidence),
        meaning=TOO_LONG,
        changes=other_rate(evidence, 0.1),
        numbers=numbers,
    )


def climbing(evidence: Evidence) -> Iterator[Verdict]:
    """A loss that rises from the first step on, each time by more, with steps that are too small to jump anywhere."""
    rows, rise, largest = outset(evidence)
    if rise is not None and rise > CLIMB and largest < SMALL:
        first, last = rows[0]["loss"], rows[-1]["loss"]
        yield Verdict(
            code="uphill",
            what=f"it rose in each of the first steps, from {first:.4g} to {last:.4g} in {rows[-1]['step']}, "
            f"with updates of at most {largest:.2g} of the weights' norm",
            meaning="Steps this small lower the loss where they go against its gradient; these go along it.",
            other="look at the sign of the update in the optimizer, and of the loss",
            numbers={"rise": (rise, CLIMB), "update_ratio": (largest, SMALL)},
        )


def outset(evidence: Evidence) -> tuple[list[Mapping], float | None, float]:
    """Return the points of the first steps, the least rise of the loss from one to the next, and the largest update.

    The rise is None where there are too few points.
    """
    rows = [row for row in evidence.training if 0 < row["step"] <= OUTSET and row["loss"] is not None]
    ratios = [row.get("update_ratio") for row in rows]
    if len(rows) < 4 or None in ratios:
        return rows, None, math.inf
    return rows, min(-fall([before["loss"], later["loss"]]) for before, later in pairwise(rows)), max(ratios)


def long_momentum(evidence: Evidence) -> Iterator[Verdict]:
    """A velocity that is made of more gradients than a large part of the run has."""
    if evidence.grows >= HEAVY and evidence.grows > MEMORY * evidence.total_steps:
        momentum = evidence.values.get("optimizer.momentum")
        yield Verdict(
            code="momentum_too_high",
            what=f"optimizer.momentum={momentum} adds up {evidence.grows:,.0f} gradients, and the run has "
            f"{evidence.total_steps:,} steps",
            meaning="A velocity with so long a memory cannot turn or brake within the run.",
            changes=["optimizer.momentum=0.9"],
            numbers={"gradients": (evidence.grows, max(HEAVY, MEMORY * evidence.total_steps))},
        )


def why_blown(evidence: Evidence) -> tuple[str, dict]:
    """Return how a run has blown up, in words, with its numbers; empty for one that has not."""
    if evidence.nonfinite_step:
        where = f", {evidence.layer}" if evidence.layer else ""
        return f"the loss is not finite (NaN or Inf) at step {evidence.nonfinite_step:,}{where}", {}
    first, known = evidence.initial_loss, evidence.ignorance
    losses = [row["loss"] for row in evidence.rows if row["step"]]
    if first is None or not losses or None in losses:
        return "", {}
    highest, last = max(losses), evidence.training[-1]["loss"] if evidence.training else losses[-1]
    level = max(first, known or first)
    spoilt = not evidence.has_learnt or last > 0.9 * level or evidence.fit_score(0.0) < SPOILT
    if highest > BLOWN * level and spoilt:
        when = next(row["step"] for row in evidence.rows if row["step"] and row["loss"] == highest)
        what = f"the training loss rises from {first:.4g} to {highest:.4g} (step {when:,})"
        return what, {"loss": (highest / level, BLOWN)}
    before, after = activations(evidence.first), activations(evidence.last)
    for place, (old, new) in enumerate(() if evidence.has_learnt else zip(before, after)):
        if old["dead"] < DEAD and new["dead"] > DIED:
            return f"all units of {nth(place, new)} are dead, which lived at the start", {"dead": (new["dead"], DIED)}
    return "", {}


def rate_too_high(evidence: Evidence) -> Iterator[Verdict]:
    """Steps that are large beside the weights, or a loss that has risen again, in a run that is no better for it."""
    losses = [row["loss"] for row in evidence.training if row["loss"] is not None]
    if not losses or evidence.rate is None:
        return
    risen = losses[-1] / min(losses) if min(losses) > 0 else 1.0
    level = evidence.ignorance or evidence.constant.get("loss") or losses[0]
    fast = evidence.rate > FAST and not evidence.has_learnt and losses[-1] > WORSE * level
    if not fast and not (risen > RISEN and losses[-1] > 0.5 * level):
        return
    numbers = {"update_ratio": (evidence.rate, FAST), "risen": (risen, RISEN)}
    what = with_rate(f"a step changes the weights by {evidence.rate:.2g} of their size", evidence)
    what += f"; the training loss has risen to {risen:.3g} times its least" if risen > RISEN else ""
    yield Verdict(code="rate_too_high", what=what, meaning=TOO_LONG, changes=other_rate(evidence, 0.1), numbers=numbers)


def with_rate(what: str, evidence: Evidence, sign: str = ", ") -> str:
    """Return a finding with the learning rate, if there is one, beside its default where it is far from that."""
    lr, far = evidence.values.get("optimizer.lr"), evidence.far(["optimizer.lr"])
    return what if lr is None else f"{what}{sign}with optimizer.lr={lr:g}{f' (default {far[2]:g})' if far else ''}"


def other_rate(evidence: Evidence, factor: float) -> list[str]:
    """Return the change of the learning rate by a factor, or to the default where that is as far in its direction."""
    lr, usual = evidence.values.get("optimizer.lr"), evidence.usual.get("optimizer.lr")
    if not is_positive(lr):
        return []
    known = is_positive(usual) and (usual <= lr / 5 if factor < 1 else usual >= 5 * lr)
    return [f"optimizer.lr={usual if known else factor * lr:g}"]


def warm_up_never_ends(evidence: Evidence) -> Iterator[Verdict]:
    """A run that ends within its warm-up."""
    found = sorted(evidence.multipliers.items())
    if not found or evidence.options.get("warmup") in (None, "none"):
        return
    largest = max(times for _, times in found)
    if largest < WARMING:
        length = evidence.values.get("warmup.length")
        yield Verdict(
            code="warmup_never_ends",
            what=f"warmup.length={length}: the learning rate reaches {largest:.2g} of optimizer.lr",
            meaning="The run ends before its warm-up does, so that it never trains at the learning rate you chose.",
            changes=["warmup.length=5%"],
            numbers={"multiplier": (largest, WARMING)},
        )


def rate_too_low(evidence: Evidence) -> Iterator[Verdict]:
    """Steps that are small beside the weights, in a run that still improves, or has not begun to."""
    if evidence.rate is None or evidence.rate >= SLOW:
        return
    latest = not evidence.history or evidence.best is None or evidence.best["step"] >= 0.8 * evidence.steps
    if not latest and evidence.has_learnt:
        return
    numbers = {"update_ratio": (evidence.rate, SLOW)}
    kept = [row["grad_kept"] for row in evidence.training if row.get("grad_kept") is not None]
    size = f"a step changes the weights by {evidence.rate:.2g} of their size"
    if kept and median(kept) < KEPT:
        key = "reg.gradient.grad_clip.limit"
        limit = evidence.values.get(key)
        yield Verdict(
            code="clipping_most_steps",
            what=f"{key}={limit:g} leaves {median(kept):.1g} of the gradient; {size}" if limit else size,
            meaning="Clipping is meant for rare steps; where it cuts most of them, it is a smaller learning rate.",
            changes=[f"{key}={percentile_of_norms(evidence):.2g}"],
            numbers={**numbers, "grad_kept": (median(kept), KEPT)},
        )
        return
    departures = [key for key in evidence.values if key.startswith("optimizer.") and key.endswith(DEPARTURES)]
    far = evidence.far(departures)
    rate = evidence.far(["optimizer.lr"])
    if far and not (rate and rate[1] < rate[2]):
        key, value, usual = far
        what, changes = f"{size}: {key}={value:g} (default {usual:g})", [f"{key}={usual:g}"]
    else:
        what, changes = with_rate(size, evidence, " "), other_rate(evidence, 10.0)
    yield Verdict(
        code="rate_too_low",
        what=what,
        meaning="At this pace the weights hardly leave the place where they were drawn.",
        changes=changes,
        numbers=numbers,
    )


def percentile_of_norms(evidence: Evidence) -> float:
    """Return the 90th percentile of the gradient norms, the limit that the tuning playbook suggests."""
    norms = sorted(row["grad_norm"] for row in evidence.training if row.get("grad_norm") is not None)
    return norms[int(0.9 * (len(norms) - 1))] if norms else 1.0


def decayed_too_early(evidence: Evidence) -> Iterator[Verdict]:
    """A schedule that was near 0 for most of the run, while the loss was still falling."""
    since = fallen_since(evidence)
    if since is None or evidence.fit_score(1.0) > 0.98:
        return
    if since / evidence.total_steps > EARLY or len(evidence.history) < 3:
        return
    before = [row for row in evidence.history if row["step"] < since]
    after = [row for row in evidence.history if row["step"] >= since]
    if not after:
        return
    first = evidence.initial_loss or after[0]["loss"]
    falling = fall([row["loss"] for row in before[-2:]] if len(before) > 1 else [first, after[0]["loss"]])
    moved = abs(after[0]["loss"] - after[-1]["loss"]) / max(after[0]["loss"], 1e-9)
    never_began = since / evidence.total_steps < BEGUN and evidence.fit_score(1.0) < POOR
    if never_began or (falling > IMPROVING and moved < falling):
        option = evidence.options.get("sched")
        yield Verdict(
            code="decayed_too_early",
            what=f"sched={option} is below {FALLEN:.0%} of optimizer.lr after {since:,} of {evidence.total_steps:,} "
            f"steps, and training {evidence.metric.name} is {evidence.fit_score(0.0):.3g}",
            meaning="A learning rate near 0 freezes the run: what it had not learnt by then it never learns.",
            changes=["sched=cosine"],
            numbers={"falling": (falling, IMPROVING), "multiplier_since": (since / evidence.total_steps, EARLY)},
        )


def fallen_since(evidence: Evidence) -> int | None:
    """Return the step since which the multiplier of the schedule is near 0; None where it is not at the end."""
    warm = max((step for step, times in evidence.multipliers.items() if times >= FALLEN), default=0)
    return min((step for step, times in evidence.multipliers.items() if times < FALLEN and step > warm), default=None)


def too_few_steps(evidence: Evidence) -> Iterator[Verdict]:
    """A run of few steps that was still improving when it ended."""
    if evidence.total_steps >= FEW_STEPS or evidence.best is None or len(evidence.history) < 2:
        return
    falls = fall_of_second_half(evidence)
    poor = evidence.fit_score(1.0) < 0.95
    full = evidence.batch >= evidence.samples["train"] and evidence.samples["train"] > 64
    behind = full and (evidence.neighbours or 0.0) - evidence.fit_score(1.0) > BEHIND
    if evidence.best["step"] >= 0.9 * evidence.steps and poor and (falls > UNFINISHED or behind):
        what = (
            f"the run has {evidence.total_steps:,} steps, and its loss fell by {falls:.0%} in the second half of them"
        )
        yield Verdict(
            code="too_few_steps",
            level="problem" if full else "hint",
            what=f"{what}: a step takes all {evidence.samples['train']:,} samples" if full else what,
            meaning="A network learns by steps, not by epochs.",
            changes=["batch_size=64"] if full else [f"epochs={evidence.longer(3)}"],
            numbers={"steps": (evidence.total_steps, FEW_STEPS), "falling": (falls, UNFINISHED)},
        )


def fall_of_second_half(evidence: Evidence) -> float:
    """Return by which fraction the validation loss fell in the second half of a run's evaluations."""
    half = evidence.history[len(evidence.history) // 2]["loss"]
    return 1 - evidence.history[-1]["loss"] / max(half, 1e-9)
