"""Verdicts on what holds a network back: penalties, dropping, augmentation, soft labels, young averages."""

import math
from collections.abc import Iterator, Mapping

from trainer.base.text import rounded_up
from trainer.diagnosis.departures import FAR, distance
from trainer.diagnosis.evidence import Evidence
from trainer.diagnosis.start import without_keys
from trainer.diagnosis.verdict import Verdict

PENALTY = 1.0  # gradient norm of the penalties over that of the data, late in the run
SHARE = 0.5  # penalties over the whole loss, late in the run
HARMFUL = 1.5  # loss of what training sees over that of the same samples without it
POOR = 0.25  # loss of the score that goes with it
BLANK = 0.05  # deviation between augmented samples over that between samples
PEAK = 0.5  # mean largest target
YOUNG = 1.5  # loss with the running averages over that with the batch's own statistics
DECAYED, WEAK = 0.5, 0.8  # norm of the weights over their first, and training score, beside a strong decay
SHRUNK = 0.1  # norm of the weights over their first
FROZEN_LEAST = 8  # steps from which a weight that has not moved stands still


def penalty_outweighs(evidence: Evidence) -> Iterator[Verdict]:
    """Penalties whose gradient is larger than that of the data, in a run that does not fit its training split."""
    probe = evidence.last
    if not probe or not probe.get("penalty_grad_norm") or fits(evidence):
        return
    ratio = probe["penalty_grad_norm"] / max(probe["grad_norm"] or 0.0, 1e-12)
    share = share_of_penalty(probe)
    begun = evidence.first or {}
    early = (begun.get("penalty_grad_norm") or 0.0) / max(begun.get("grad_norm") or 0.0, 1e-12)
    shrunk = norm_of(probe) / max(norm_of(begun), 1e-12) if begun else 1.0
    if share <= SHARE and not (early > PENALTY and shrunk < 0.5) and not (ratio > PENALTY and shrunk < SHRUNK):
        return
    keys = [key for key in evidence.values if key.startswith("reg.loss.") and key.endswith("strength")]
    key = max(keys, key=lambda each: evidence.values[each] or 0.0, default=None)
    usual = evidence.usual.get(key) if key else None
    value = evidence.values.get(key) if key else None
    better = usual if usual is not None and value and usual < value / 2 else (value or 1.0) / 100
    subject = f"{key}={value:g}" if key else "the penalty"
    yield Verdict(
        code="penalty_outweighs",
        what=f"{subject}: its gradient is {max(ratio, early):.2g} times that of the data, "
        f"and the weights have shrunk to {shrunk:.2g} of their norm",
        meaning="The network is trained to have small weights rather than to fit the data.",
        changes=[f"{key}={better:g}"] if key else [],
        numbers={"ratio": (max(ratio, early), PENALTY), "share": (share, SHARE)},
    )


def share_of_penalty(probe: Mapping) -> float:
    """Return the penalties over the whole loss."""
    loss, penalty = probe["loss"], probe["penalty"]
    return penalty / (penalty + loss) if loss is not None and penalty + loss > 0 else 0.0


def decay_outweighs(evidence: Evidence) -> Iterator[Verdict]:
    """Weights that decay has taken most of their norm from, in a run that does not fit its training split."""
    first, last = evidence.first, evidence.last
    if not first or not last or evidence.fit_score(1.0) > WEAK:
        return
    found = [(distance(value, evidence.usual.get(key)), key) for key, value in evidence.values.items() if is_decay(key)]
    far, key = max(found, default=(0.0, ""))
    shrunk = norm_of(last) / max(norm_of(first), 1e-12)
    if not key or shrunk > DECAYED or far < math.log(FAR):
        return
    value, usual = evidence.values[key], evidence.usual[key]
    yield Verdict(
        code="penalty_outweighs",
        what=f"{key}={value:g} (default {usual:g}): the weights have shrunk to {shrunk:.2g} of their norm",
        meaning="The network is trained to have small weights rather than to fit the data.",
        changes=[f"{key}={usual:g}"],
        numbers={"shrunk": (shrunk, DECAYED)},
    )


def is_decay(key: str) -> bool:
    """Return whether a key is the strength of a weight decay, of an optimizer or a regulariser."""
    return key.endswith((".weight_decay", "weight_decay.strength"))


def norm_of(probe: dict) -> float:
    """Return the L2 norm over all parameters."""
    return sum((row["norm"] or 0.0) ** 2 for row in probe.get("parameters", {}).values()) ** 0.5


def fits(evidence: Evidence) -> bool:
    """Return whether a run fits its training split nearly perfectly."""
    return evidence.fit_score(0.0) > 0.95


def soft_labels(evidence: Evidence) -> Iterator[Verdict]:
    """Targets in which the right class has less than half of the weight."""
    if evidence.peak is not None and evidence.peak < PEAK:
        key = next((key for key in evidence.values if key.endswith("label_smoothing.alpha")), None)
        value, usual = evidence.values.get(key), evidence.usual.get(key)
        yield Verdict(
            code="soft_labels",
            what=f"the right class has {evidence.peak:.2g} of the weight of a target"
            + (f": {key}={value:g} (default {usual:g})" if key and value != usual else ""),
            meaning="Targets this flat say little about the class, so that the network learns to be unsure.",
            changes=[f"{key}={usual:g}"] if key and value != usual else ["~reg", "~aug"],
            numbers={"peak": (evidence.peak, PEAK)},
        )


def noise_of_training(evidence: Evidence) -> Iterator[Verdict]:
    """Augmentation or dropping that leaves too little of a sample, in a run that does not fit its training split."""
    noisy = evidence.noisy
    if not noisy or fits(evidence) or evidence.peak is not None and evidence.peak < PEAK:
        return
    for cause, kind in (("dropping", "reg"), ("augmented", "aug")):
        plain, seen = noisy["plain"], noisy[cause]
        drop = score_lost(noisy, cause)
        typed = evidence.options.get(kind)
        guess = evidence.constant.get(evidence.metric.name, 0.0)
        weak = (noisy[f"score_{cause}"] or 0.0) < guess + 0.35 * (1 - guess)
        if not typed or plain is None or seen is None or not weak:
            continue
        if drop < POOR and not (not evidence.has_learnt and seen > HARMFUL * plain):
            continue
        subject = f"{kind}=[{','.join(sorted(typed))}]"
        what = "drops so much" if kind == "reg" else "changes the images so much"
        yield Verdict(
            code="dropping_too_much" if kind == "reg" else "augmentation_too_strong",
            what=f"{subject} {what} that training scores {noisy[f'score_{cause}']:.3g} "
            f"on samples that score {noisy['score_plain']:.3g} without it",
            meaning="A network can only learn what is left of a sample.",
            changes=weaker(evidence, kind),
            numbers={"score_lost": (drop, POOR)},
        )


def score_lost(noisy: Mapping[str, float | None], cause: str) -> float:
    """Return by how much the score is lower as training sees samples, `augmented` or `dropping`, than without it."""
    return (noisy["score_plain"] or 0.0) - (noisy[f"score_{cause}"] or 0.0)


def blank_images(evidence: Evidence) -> Iterator[Verdict]:
    """An augmentation behind which all samples are alike."""
    contrast, typed = evidence.noisy.get("contrast"), evidence.options.get("aug")
    if contrast is None or not typed or contrast >= BLANK or fits(evidence):
        return
    yield Verdict(
        code="augmentation_too_strong",
        what=f"aug=[{','.join(sorted(typed))}] makes all samples alike: it leaves {contrast:.1%} of their deviation",
        meaning="A network can only learn what is left of a sample.",
        changes=weaker(evidence, "aug"),
        numbers={"contrast": (contrast, BLANK)},
    )


def weaker(evidence: Evidence, kind: str) -> list[str]:
    """Return the default of a probability or a strength that is above it; without one, leave the group out."""
    changes = []
    for key, value in evidence.values.items():
        usual = evidence.usual.get(key)
        if key.startswith(f"{kind}.") and value != usual and isinstance(value, int | float) and usual is not None:
            changes.append(f"{key}={usual}")
    return changes or without_keys(evidence, kind)


def young_averages(evidence: Evidence) -> Iterator[Verdict]:
    """Batch norms whose running averages are not those of the data yet."""
    probe = evidence.last or {}
    quiet, running = probe.get("loss"), probe.get("loss_in_evaluation")
    momentum = evidence.values.get("norm.momentum")
    if quiet is None or running is None or running <= YOUNG * quiet or running - quiet < 0.1 or momentum is None:
        return
    left = (1 - momentum) ** evidence.steps
    if left < 0.01:
        return
    better = 1 - 0.02 ** (1 / max(evidence.steps, 1))
    yield Verdict(
        code="young_averages",
        what=f"the loss is {quiet:.4g} with the statistics of a batch and {running:.4g} with the running averages, "
        f"which hold {left:.0%} of their initial values after {evidence.steps:,} steps, in each layer",
        meaning="Evaluation uses the running averages, and they are not those of the data yet.",
        changes=[f"norm.momentum={rounded_up(better)}"],
        numbers={"loss": (running / quiet, YOUNG), "left": (left, 0.01)},
    )


def frozen(evidence: Evidence) -> Iterator[Verdict]:
    """Parameters that have not moved."""
    first, last = evidence.first, evidence.last
    if not first or not last or last["step"] < FROZEN_LEAST:
        return
    before, after = first["parameters"], last["parameters"]
    same = [name for name, row in before.items() if name in after and row == after[name] and row["norm"]]
    whole = [row["name"] for row in last["layers"]]
    layers = [name for name in same if name.rpartition(".")[2] == "weight" or name.rpartition(".")[0] in whole]
    if not layers or len(layers) == len(before):
        return
    yield Verdict(
        code="frozen_layer",
        what=f"{', '.join(layers[:3])}{' and more' if len(layers) > 3 else ''}: not changed in {last['step']:,} steps",
        meaning="A weight that gets no gradient, or that the optimizer does not know, stays as it was drawn.",
        other="see that the layer is used in forward, is not detached, and has requires_grad",
        numbers={"frozen": (len(layers), 0)},
    )
