"""Distances of healthy and broken runs from the thresholds of verdicts: the table of `diagnosis.py --margins`.

A threshold is read from where its rule has it, and a figure is what the rule compares with it, for every run.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from trainer.diagnosis import data, departures, evidence, fit, rate, regularization, speed, start
from trainer.diagnosis.decide import judge
from trainer.diagnosis.evidence import Evidence, fall
from trainer.diagnosis.verdict import Verdict
from trainer.rundir.status import Status

Figure = Callable[[Evidence], float | None]


def of_first(take: Callable[[dict], float | None]) -> Figure:
    """Return a figure of the probe of the fresh network."""
    return lambda e: take(e.first) if e.first else None


def of_last(take: Callable[[dict], float | None]) -> Figure:
    """Return a figure of the newest probe."""
    return lambda e: take(e.last) if e.last else None


def ratio(values: Sequence[float | None]) -> float | None:
    """Return the last of some values over the first."""
    return values[-1] / values[0] if len(values) > 1 and None not in values and values[0] else None


def hidden(probe: dict) -> float | None:
    """Return the deviation of the last hidden layer over that of the first."""
    return ratio([row["std"] for row in start.activations(probe) or start.hidden_layers(probe)])


def gradients(probe: dict) -> float | None:
    """Return the norm of the first layer's gradient over that of the last."""
    return ratio([row["grad_norm"] for row in reversed(probe["layers"])])


def largest(key: str, of: Callable = of_first) -> Figure:
    """Return the largest figure of that name over the activations of a probe."""
    return of(lambda probe: max((row[key] for row in start.activations(probe) if row[key] is not None), default=None))


def off_centre(probe: dict) -> float | None:
    """Return the mean of the inputs over their deviation, before activations that flatten out on both sides."""
    found = probe["input"]
    bounded = any(row["kind"] in data.BOUNDED for row in start.activations(probe))
    return abs(found["mean"]) / found["std"] if bounded and found["std"] else None


def young(probe: dict) -> float | None:
    """Return the loss with running averages over that with the statistics of a batch."""
    quiet, running = probe["loss"], probe.get("loss_in_evaluation")
    return running / quiet if quiet and running is not None else None


def penalties(probe: dict) -> float | None:
    """Return the penalties over the whole loss; None without penalties."""
    return regularization.share_of_penalty(probe) if probe["penalty"] else None


def memory(e: Evidence) -> float | None:
    """Return the gradients that a velocity adds up over the steps of the run."""
    return e.grows / e.total_steps if e.total_steps else None


def shrunk(e: Evidence) -> float | None:
    """Return the norm of all weights at the end over that at the start."""
    before = regularization.norm_of(e.first) if e.first else 0.0
    return regularization.norm_of(e.last) / before if before and e.last else None


def lost(cause: str) -> Figure:
    """Return by how much the training score is lower for a cause."""
    return lambda e: regularization.score_lost(e.noisy, cause) if "score_plain" in e.noisy else None


def above_constant(e: Evidence) -> float | None:
    """Return by how many standard errors the best validation score is above that of the constant answer."""
    constant = e.constant.get(e.metric.name)
    if e.task == "regression" or e.score is None or constant is None:
        return None
    return (e.score - constant) / e.error_at(constant)


def fitted(e: Evidence) -> float | None:
    """Return by how many standard errors the training score is above always the same class, where nothing is learnt."""
    if e.task == "regression" or e.has_learnt or not e.fit:
        return None
    return data.errors_above(max(e.constant.get(e.metric.name, 0.0), e.largest_share or 0.0), e)


def patience(e: Evidence) -> float | None:
    """Return the patience of early stopping."""
    return next((value for key, value in e.values.items() if key.endswith(".patience")), None)


def largest_step(e: Evidence) -> float | None:
    """Return the largest update ratio of the first steps."""
    _, rise, found = rate.outset(e)
    return found if rise is not None else None


def best_at(e: Evidence) -> float | None:
    """Return the fraction of the run in which its best score is, where it has evaluations enough."""
    return e.best["step"] / e.steps if e.best and e.steps and len(e.history) >= fit.FEW else None


def falls_late(e: Evidence) -> float | None:
    """Return by which fraction the validation loss fell in the last fifth of the run."""
    return fall([row["loss"] for row in fit.last_fifth(e.history)]) if len(e.history) >= 5 else None


def falls_stopped(e: Evidence) -> float | None:
    """Return by which fraction the training loss fell in the last third of a run that a rule has ended."""
    losses = fit.training_losses(e)
    return fall(fit.last_third(losses)) if e.status == Status.STOPPED and losses else None


def of_steps(figure: Figure) -> Figure:
    """Return a figure for runs with too few steps."""
    return lambda e: figure(e) if e.total_steps < rate.FEW_STEPS and len(e.history) > 1 else None


def throughput(e: Evidence) -> float | None:
    """Return the throughput of the last fifth of the steps over that of the second fifth."""
    found = speed.speed_of(e)
    return found.late / found.early if found else None


FIGURES: dict[str, tuple[str, float, Figure]] = {  # name -> code of the verdict, threshold, figure
    "loss of a sample in a batch / in half of it": (
        "loss_depends_on_batch",
        1 + data.OTHER_LOSS,
        lambda e: e.loss_in_batch,
    ),
    "highest training loss / initial loss": (
        "rate_too_high",
        rate.BLOWN,
        lambda e: (
            max((row["loss"] or math.inf for row in e.training), default=0) / e.initial_loss if e.initial_loss else None
        ),
    ),
    "update ratio / multiplier, first half (high)": ("rate_too_high", rate.FAST, lambda e: e.rate),
    "least rise of the loss in the first steps": ("uphill", rate.CLIMB, lambda e: rate.outset(e)[1]),
    "largest update ratio in the first steps": ("uphill", rate.SMALL, largest_step),
    "mean slope of an activation": ("exploding_activations", start.STEEP, largest("slope")),
    "mean or deviation of the inputs": (
        "unscaled_inputs",
        start.INPUT,
        of_first(lambda probe: max(abs(probe["input"]["mean"]), probe["input"]["std"])),
    ),
    "dead units of a layer, at the start": ("dead_units", start.DEAD, largest("dead")),
    "saturated outputs of a layer, at the start": ("init_too_large", start.SATURATED, largest("saturated")),
    "initial loss / log C": (
        "init_too_large",
        start.INITIAL_LOSS,
        lambda e: e.initial_loss / e.ignorance if e.initial_loss and e.ignorance else None,
    ),
    "deviation, last / first hidden layer (high)": ("init_too_large", start.GROWING, of_first(hidden)),
    "gradient, first / last layer (high)": ("init_too_large", start.EXPLODING, of_first(gradients)),
    "variety of the labels of a batch": ("not_shuffled", data.MIXED, lambda e: e.mixing),
    "largest target": ("soft_labels", regularization.PEAK, lambda e: e.peak),
    "penalties / loss, at the end": ("penalty_outweighs", regularization.SHARE, of_last(penalties)),
    "norm of the weights, end / start": ("penalty_outweighs", regularization.DECAYED, shrunk),
    "largest multiplier": ("warmup_never_ends", rate.WARMING, lambda e: max(e.multipliers.values(), default=None)),
    "gradients in a velocity": ("momentum_too_high", rate.HEAVY, lambda e: e.grows),
    "gradients in a velocity / steps of the run": ("momentum_too_high", rate.MEMORY, memory),
    "mean / deviation of the inputs": ("uncentred_inputs", start.OFF_CENTRE, of_first(off_centre)),
    "deviation, last / first hidden layer (low)": ("init_too_small", start.SHRINKING, of_first(hidden)),
    "deviation, last hidden layer / inputs": ("init_too_small", start.FAINT, of_first(start.of_inputs)),
    "gradient, first / last layer (low)": ("vanishing_gradients", start.VANISHING, of_first(gradients)),
    "mean gradient of the first layer": (
        "vanishing_gradients",
        start.VANISHED,
        of_first(lambda probe: probe["layers"][0]["grad_mean"] if len(probe["layers"]) > 1 else None),
    ),
    "loss, running averages / a batch's": ("young_averages", regularization.YOUNG, of_last(young)),
    "farthest setting / its default": (
        "dropping_too_much",
        departures.FAR,
        lambda e: math.exp(departures.farthest(e)[0]),
    ),
    "training score lost by dropping": ("dropping_too_much", regularization.POOR, lost("dropping")),
    "training score lost by augmentation": ("augmentation_too_strong", regularization.POOR, lost("augmented")),
    "deviation that augmentation leaves": (
        "augmentation_too_strong",
        regularization.BLANK,
        lambda e: e.noisy.get("contrast"),
    ),
    "update ratio / multiplier, first half (low)": ("rate_too_low", rate.SLOW, lambda e: e.rate),
    "fraction of the gradient that edits leave": (
        "clipping_most_steps",
        rate.KEPT,
        lambda e: median(kept) if (kept := [row["grad_kept"] for row in e.training if row.get("grad_kept")]) else None,
    ),
    "fraction of the run before the rate is near 0": (
        "decayed_too_early",
        rate.EARLY,
        lambda e: since / e.total_steps if (since := rate.fallen_since(e)) is not None else None,
    ),
    "steps of the run": ("too_few_steps", rate.FEW_STEPS, lambda e: e.total_steps),
    "fall of the loss, second half, of few steps": (
        "too_few_steps",
        rate.UNFINISHED,
        of_steps(rate.fall_of_second_half),
    ),
    "training score of what is not learnt, in errors": ("labels_without_signal", data.SIGNIFICANT, fitted),
    "largest / smallest class": (
        "class_imbalance",
        data.IMBALANCE,
        lambda e: max(e.counts) / min(e.counts) if e.counts and min(e.counts) else None,
    ),
    "fraction of the smallest class that is missed": (
        "class_imbalance",
        data.MISSED,
        lambda e: data.smallest_class(e)[1] if e.counts else None,
    ),
    "fraction of two classes taken for one another": (
        "confused_classes",
        data.CONFUSED,
        lambda e: max((min(wrong) for _, _, wrong in data.confusions(e)), default=None),
    ),
    "score beside a class that is never predicted": (
        "class_never_predicted",
        data.KNOWN,
        lambda e: max((right for _, _, right in data.unpredicted(e)), default=None),
    ),
    "fraction of the most common answer": ("one_class_predicted", data.ONE_ANSWER, of_last(lambda p: p.get("common"))),
    "nearest neighbours' score - training score": (
        "underfitting",
        fit.GAP,
        lambda e: e.neighbours - e.fit[e.metric.name] if e.neighbours is not None else None,
    ),
    "gap of the scores, in standard errors": ("overfitting", fit.SIGNIFICANT, lambda e: fit.gap_of(e)[1]),
    "gap of the scores": ("overfitting", fit.GAP, lambda e: fit.gap_of(e)[0]),
    "best score - constant answer's, in errors": ("no_better_than_constant", evidence.LEARNT, above_constant),
    "fraction of the run before its best score": ("long_without_progress", fit.BEST_EARLY, best_at),
    "patience of early stopping": ("stopped_too_early", fit.EAGER, patience),
    "fall of the training loss before it": ("stopped_too_early", fit.STILL_FALLING, falls_stopped),
    "swing of the validation score at the end": (
        "noisy_validation",
        fit.SWING,
        lambda e: fit.swing_of(e) if len(e.history) >= fit.FEW and e.task != "regression" else None,
    ),
    "fall of the validation loss, last fifth": ("still_improving", fit.STILL_FALLING, falls_late),
    "throughput, last fifth / second fifth": ("throughput_dropped", speed.DROPPED, throughput),
}


def figures_of(found: Evidence) -> dict[str, float | None]:
    """Return every figure of a run; None where it has none."""
    return {name: figure(found) for name, (_, _, figure) in FIGURES.items()}


def keep_figures(found: Evidence) -> list[Verdict]:
    """Judge a run, and write the figures of its evidence into its directory."""
    Path("figures.json").write_text(json.dumps(figures_of(found)))
    return judge(found)


def print_margins(well: list[dict], ill: dict[str, list[dict]]) -> None:
    """Print, for each threshold, the range of the healthy runs, and of the broken ones with its verdict."""
    print(f"\n{'figure':48} {'threshold':>9} {'healthy runs':>20} {'broken runs':>20}  verdict")
    for name, (code, threshold, _) in FIGURES.items():
        ranges = []
        for runs in (well, ill.get(code, [])):
            values = sorted(run[name] for run in runs if run.get(name) is not None)
            ranges.append(f"{values[0]:.3g} to {values[-1]:.3g}" if values else "-")
        print(f"{name:48} {threshold:9.3g} {ranges[0]:>20} {ranges[1]:>20}  {code}")
