"""Verdicts on the fresh network: its initialisation, its inputs, its units and its gradients."""

from collections.abc import Iterator, Mapping

from trainer.base.text import counted
from trainer.diagnosis.evidence import Evidence
from trainer.diagnosis.verdict import Verdict

DEAD = 0.5  # fraction of a layer's units (SageMaker's DeadRelu)
SATURATED = 0.5  # fraction of a layer's outputs (DeepDiagnosis)
INITIAL_LOSS = 2.0  # times the loss of knowing nothing (TheDeepChecker)
SHRINKING, GROWING = 0.05, 20.0  # deviation of the last hidden layer over that of the first
FAINT = 0.02  # the same over that of the inputs
EXPLODING = 70.0  # gradient norm of the first layer over that of the last (AutoTrainer)
VANISHING = 1e-3  # the same (AutoTrainer)
VANISHED = 1e-7  # mean absolute gradient of a layer (SageMaker)
STEEP = 1.3  # mean |f'| of an activation; that of SELU is below 1.2
INPUT = 30.0  # mean or deviation of the inputs as the network sees them
OFF_CENTRE = 0.5  # mean over deviation of the inputs, beside units that saturate


def symmetric(evidence: Evidence) -> Iterator[Verdict]:
    """Units of a hidden layer that are still the same after some steps."""
    alike = alike_layers(probe := evidence.last or evidence.first)
    if alike:
        yield Verdict(
            code="symmetric_init",
            what=f"all units of {layers_named(alike, probe)} have the same weights and the same gradients",
            meaning="Units that begin alike stay alike: a layer of them is worth one unit.",
            changes=without_keys(evidence, "init", "bias") or ["init=auto"],
            numbers={"identical_layers": (len(alike), 0)},
        )


def dead_from_the_start(evidence: Evidence) -> Iterator[Verdict]:
    """Layers whose units are off for every sample before the first step, and still at the end."""
    before, after = activations(evidence.first), activations(evidence.last)
    dead = [(place, row) for place, row in enumerate(before) if above(row["dead"], DEAD)]
    if not dead or (after and evidence.has_learnt and not any(above(row["dead"], DEAD) for row in after)):
        return
    place, row = dead[0]
    yield Verdict(
        code="dead_units",
        what=f"{row['dead']:.0%} of the units of {nth(place, row)} are off for every sample, before the first step",
        meaning="No gradient passes a unit that is off for every sample, so that it never learns.",
        changes=without_keys(evidence, "bias", "init") or ["act=leaky_relu"],
        numbers={"dead": (row["dead"], DEAD)},
    )


def unscaled_inputs(evidence: Evidence) -> Iterator[Verdict]:
    """Inputs of a size that no initialisation is made for."""
    found = (evidence.first or {}).get("input", {})
    size = max((abs(found[name]) for name in ("mean", "std") if found.get(name) is not None), default=0.0)
    if size > INPUT:
        yield Verdict(
            code="unscaled_inputs",
            what=f"the inputs have mean {found['mean']:.4g} and deviation {found['std']:.4g}",
            meaning="Initialisations and learning rates are made for inputs with a deviation near 1.",
            changes=["preprocess=standardize"],
            numbers={"input": (size, INPUT)},
        )


def amplifying(evidence: Evidence) -> Iterator[Verdict]:
    """Activations that enlarge what they are given, where there are several of them."""
    rows = activations(evidence.first)
    steep = max(rows, key=lambda row: row["slope"] or 0.0, default=None)
    if steep and len(rows) > 1 and above(steep["slope"], STEEP):
        yield Verdict(
            code="exploding_activations",
            what=f"{steep['kind']} has a mean slope of {steep['slope']:.3g}, in {counted('layer', len(rows))}",
            meaning="An activation that enlarges its input makes signals explode from layer to layer.",
            changes=["act=relu"],
            numbers={"slope": (steep["slope"], STEEP)},
        )


def initial_loss(evidence: Evidence) -> Iterator[Verdict]:
    """A fresh network that is sure of wrong answers, or whose signals or gradients explode."""
    probe, reasons = evidence.first or {}, {}
    loss, known = evidence.initial_loss, evidence.ignorance
    hidden = [row["std"] for row in activations(probe)] or [row["std"] for row in hidden_layers(probe)]
    gradients = [row["grad_norm"] for row in probe.get("layers", ())]
    saturated = max((row["saturated"] or 0.0 for row in activations(probe)), default=0.0)
    if len(hidden) > 1 and all(hidden) and hidden[-1] / hidden[0] > GROWING:
        reasons["growth"] = hidden[-1] / hidden[0], GROWING
    if len(gradients) > 1 and all(gradients) and gradients[0] / gradients[-1] > EXPLODING:
        reasons["gradients"] = gradients[0] / gradients[-1], EXPLODING
    if saturated > SATURATED:
        reasons["saturated"] = saturated, SATURATED
    if loss is not None and known and loss > INITIAL_LOSS * known:
        reasons["initial_loss"] = loss, INITIAL_LOSS * known
    if not reasons or (set(reasons) <= {"saturated", "gradients"} and evidence.has_learnt):
        return
    yield Verdict(
        code="init_too_large",
        what=f"the fresh network is too sure: {'; '.join(said(name, *pair) for name, pair in reasons.items())}",
        meaning="Large weights saturate units or blow up signals and gradients, so that the first steps are wasted.",
        changes=better_start(evidence),
        numbers=reasons,
    )


def said(name: str, value: float, threshold: float) -> str:
    """Return a reason for `init_too_large` in words."""
    texts = {
        "growth": f"signals grow {value:.3g} times from the first to the last hidden layer",
        "gradients": f"the gradient of the first layer is {value:.3g} times that of the last",
        "saturated": f"{value:.0%} of a layer's outputs are saturated",
        "initial_loss": f"its loss is {value:.4g}, that of knowing nothing {threshold / INITIAL_LOSS:.4g}",
    }
    return texts[name]


def vanishing(evidence: Evidence) -> Iterator[Verdict]:
    """Signals or gradients that fade from layer to layer, in a run that has learnt nothing.

    It is at chance, or its training loss is still that of knowing nothing, though its score is above chance.
    """
    if evidence.has_learnt and (evidence.has_lowered_loss or not evidence.fit or evidence.ignorance is None):
        return
    probe = evidence.first or {}
    hidden = [row["std"] or 0.0 for row in activations(probe)] or [row["std"] or 0.0 for row in hidden_layers(probe)]
    layers = probe.get("layers", ())
    ratio = hidden[-1] / hidden[0] if len(hidden) > 1 and hidden[0] else 1.0
    left = 1.0 if (found := of_inputs(probe)) is None else found
    first, last = (layers[0]["grad_norm"] or 0.0, layers[-1]["grad_norm"] or 0.0) if len(layers) > 1 else (1.0, 1.0)
    mean = (layers[0]["grad_mean"] or 0.0) if len(layers) > 1 else 1.0
    fading = first / last if last else 0.0
    if ratio >= SHRINKING and left >= FAINT and fading >= VANISHING and mean >= VANISHED:
        return
    slopes = [row["slope"] or 0.0 for row in activations(probe)]
    flat = max(slopes, default=1.0) < 0.3
    what = (
        f"signals fade to {ratio:.2g} of the first hidden layer's by the last one"
        if ratio < SHRINKING
        else f"signals fade to {left:.2g} of the inputs' deviation by the last hidden layer"
        if left < FAINT
        else ""
    )
    fades = f"the gradient of the first layer is {fading:.2g} of the last layer's (mean {mean:.2g})"
    small = bool(what) and not flat
    yield Verdict(
        code="init_too_small" if small else "vanishing_gradients",
        what=what if small else "; ".join(filter(None, [what, fades])),
        meaning="Signals this small carry nothing of the input to the output, and the gradients are as small."
        if small
        else "The first layers get no gradient, so that they stay as they were drawn.",
        changes=["act=relu", *without_keys(evidence, "init")] if flat else better_start(evidence),
        numbers={
            "signals": (ratio, SHRINKING),
            "signals_of_inputs": (left, FAINT),
            "gradients": (fading, VANISHING),
            "gradient": (mean, VANISHED),
        },
    )


def of_inputs(probe: Mapping) -> float | None:
    """Return the deviation of the last hidden layer over that of the inputs; None where either is not known."""
    deviation, rows = probe.get("input", {}).get("std"), activations(probe) or hidden_layers(probe)
    return rows[-1]["std"] / deviation if rows and deviation and rows[-1]["std"] is not None else None


def better_start(evidence: Evidence) -> list[str]:
    """Return the changes that give signals of a steady size."""
    changes = without_keys(evidence, "init", "bias")
    act = evidence.options.get("act")
    if not changes and act not in ("relu", None):
        return ["act=relu"]
    return changes or ["norm=batch"]


def without_keys(evidence: Evidence, *groups: str) -> list[str]:
    """Return what leaves out those of some groups that were typed."""
    typed = {word.partition("=")[0] for word in evidence.words}
    return [f"~{key}" for key in sorted(typed) if key.partition(".")[0] in groups]


def activations(probe: Mapping | None) -> list[Mapping]:
    """Return the rows of a probe's activations; those of a curve that bends nowhere are none."""
    return [row for row in (probe or {}).get("activations", ()) if row["dead"] is not None]


def hidden_layers(probe: Mapping | None) -> list[Mapping]:
    """Return the rows of a probe's layers but the last one."""
    return [*(probe or {}).get("layers", ())][:-1]


def above(value: float | None, threshold: float) -> bool:
    """Return whether a figure is above a threshold; a non-finite one is not."""
    return value is not None and value > threshold


def nth(place: int, row: Mapping) -> str:
    """Return a layer as `activation 1 (ReLU)`."""
    return f"activation {place + 1} ({row['kind']})"


def alike_layers(probe: Mapping | None) -> list[str]:
    """Return the names of the hidden layers whose units all have the same weights and gradients."""
    return [row["name"] for row in hidden_layers(probe) if row["identical"]]


def layers_named(names: list[str], probe: Mapping) -> str:
    """Return hidden layers as `all 3 hidden layers`, or by their names."""
    count = len({row["name"] for row in hidden_layers(probe)})
    if len(set(names)) == count:
        return {1: "the hidden layer", 2: "both hidden layers"}.get(count, f"all {count} hidden layers")
    return f"layer {', '.join(dict.fromkeys(names))}"
