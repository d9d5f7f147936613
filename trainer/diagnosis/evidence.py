"""Evidence for verdicts: the record of a run as plain numbers. No torch here."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median

from trainer.base.metrics import Metric, score_of

LEARNT, LEARNT_R2 = 2.0, 0.1  # standard errors above the score of the constant answer, and r2 above its
LOWERED = 0.95  # training loss over that of knowing nothing, of a network that has fitted anything
FEW_STEPS = 100  # too few to tell a plateau, or what a network cannot learn
HALF = 0.5  # of the run: the part in which its learning rate is judged
LEAST_MULTIPLIER = 1e-9  # of a schedule, below which a step tells nothing of the learning rate


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a verdict is made of.

    Args:
        task: classification, binary or regression.
        status: of Status.
        words: the overrides that were typed.
        options: the option of each group; several of reg and aug are sets.
        values: every key of the configuration with its value.
        usual: its default with these options.
        steps: done; steps_per_epoch; total_steps: planned.
        samples: of train, val and test.
        batch: samples of a step.
        rows: of metrics.jsonl.
        history: evaluations of the validation split.
        best: the best of them; without a validation split, the evaluation of the one that stands for it.
        held_out: the split of `best` and `constant`: val, or test.
        zero_loss: mean loss of outputs of 0 on the training split, that of an answer that knows nothing.
        constant: scores of the best constant answer on the validation split, or on the one that stands for it.
        probes: of the layers, in the order of their steps.
        multipliers: of the schedule, by step.
        fit: scores of the last weights on some of the training split, with `samples`; empty for a diverged run.
        neighbours: score of nearest neighbours on the training split, cross-validated; None where it is not known.
        noisy: those on the same samples as training sees them: augmented, with layers that drop; empty where it changes
            no sample and drops nothing.
        peak: mean largest target of these samples as training sees them; None for regression.
        counts: samples of each class in the training split; empty for regression.
        classes: their names.
        mixing: entropy of the labels within a batch over that of shuffled batches, in the order of an epoch.
        constants: names of features of a table that have one value.
        confusion: by class and prediction, the counts on the validation split.
        layer: the layer where a loss became non-finite, in words.
        nonfinite_step: the first step with a non-finite loss, 0 for none.
        stopped: why a rule has ended the run.
    """

    task: str
    status: str
    words: Sequence[str] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    usual: Mapping[str, object] = field(default_factory=dict)
    steps: int
    steps_per_epoch: int
    total_steps: int
    samples: Mapping[str, int]
    batch: int
    rows: Sequence[Mapping] = ()
    history: Sequence[Mapping] = ()
    best: Mapping | None = None
    held_out: str = "val"
    zero_loss: float | None = None
    constant: Mapping[str, float] = field(default_factory=dict)
    probes: Sequence[Mapping] = ()
    multipliers: Mapping[int, float] = field(default_factory=dict)
    fit: Mapping[str, float] = field(default_factory=dict)
    neighbours: float | None = None
    noisy: Mapping[str, float] = field(default_factory=dict)
    peak: float | None = None
    counts: Sequence[int] = ()
    classes: Sequence[str] = ()
    mixing: float | None = None
    constants: Sequence[str] = ()
    confusion: Sequence[Sequence[int]] = ()
    layer: str = ""
    nonfinite_step: int = 0
    stopped: str = ""

    @property
    def grows(self) -> float:
        """1 / (1 - momentum) of heavy-ball momentum, by which a constant gradient's step exceeds one of SGD."""
        momentum, damped = self.values.get("optimizer.momentum"), self.values.get("optimizer.dampening")
        if not is_positive(momentum) or damped or "optimizer.betas" in self.values:
            return 1.0
        return 1 / (1 - momentum) if momentum < 1 else math.inf

    @cached_property
    def metric(self) -> Metric:
        """The score of this kind of data."""
        return score_of(self.task)

    @property
    def first(self) -> Mapping | None:
        """The probe of the fresh network."""
        return next((probe for probe in self.probes if probe["step"] == 0), None)

    @property
    def last(self) -> Mapping | None:
        """The newest probe after the first step."""
        return next((probe for probe in reversed(self.probes) if probe["step"]), None)

    @property
    def loss_in_batch(self) -> float | None:
        """Loss of a sample within a batch over that within half of it: 1 where it does not depend on the batch."""
        return next((value for probe in self.probes if (value := probe.get("loss_in_batch")) is not None), None)

    @cached_property
    def initial_loss(self) -> float | None:
        """Loss of the fresh network on held-out data, else on the probe."""
        row = next((row for row in self.rows if row["split"] == "val" and row["step"] == 0), None)
        return row["loss"] if row else (self.first or {}).get("loss")

    @property
    def ignorance(self) -> float | None:
        """Loss of an answer that knows nothing: log C for cross-entropy; None for values, which may be of any size."""
        return None if self.task == "regression" else self.zero_loss

    @property
    def score(self) -> float | None:
        """The best score on the validation split."""
        return self.best[self.metric.name] if self.best else None

    def error_at(self, p: float, samples: int | None = None) -> float:
        """Return the standard error of an accuracy p on as many samples, those of the validation split by default.

        One right and one wrong answer are added (Wilson, 1927; Agresti & Coull, 1998 add two of each): 0 of 2 is not
        certain to be 0.
        """
        count = max(samples or self.samples[self.held_out], 1)
        p = (p * count + 1) / (count + 2)
        return math.sqrt(p * (1 - p) / count)

    @cached_property
    def has_learnt(self) -> bool:
        """True if the best score is more than two standard errors above that of the constant answer."""
        if self.score is None or self.constant.get(self.metric.name) is None:
            return False
        constant = self.constant[self.metric.name]
        margin = LEARNT_R2 if self.task == "regression" else LEARNT * self.error_at(constant)
        return self.score > constant + margin

    @property
    def has_lowered_loss(self) -> bool:
        """True if the training loss is clearly below that of knowing nothing, whatever the score says of it."""
        loss, known = self.fit.get("loss"), self.ignorance
        return loss is not None and known is not None and loss < LOWERED * known

    def has(self, change: str) -> bool:
        """Return whether an override asks for what the run has already; one that leaves a key out does not."""
        key, _, wanted = change.partition("=")
        if change in self.words or key not in {**self.options, **self.values}:
            return change in self.words
        if isinstance(option := self.options.get(key), Collection) and not isinstance(option, str):
            return sorted(names_in(wanted)) == sorted(option)
        return same(wanted, self.options.get(key, self.values.get(key)))

    @cached_property
    def training(self) -> list[Mapping]:
        """The rows of the training curve."""
        return [row for row in self.rows if row["split"] == "train"]

    @cached_property
    def rate(self) -> float | None:
        """Median of the update ratios over the schedule's multipliers in the first half of the run."""
        end = max(HALF * self.steps, 1)
        rows = [row for row in self.training if row.get("update_ratio") is not None and row["step"] <= end]
        pairs = [(row["update_ratio"], self.multipliers.get(row["step"], 1.0)) for row in rows]
        found = [ratio / times for ratio, times in pairs if times > LEAST_MULTIPLIER]
        return median(found) if found else None

    def fit_score(self, unknown: float) -> float:
        """Return the score of the last weights on the training split, or a value where it is not known."""
        return self.fit.get(self.metric.name, unknown)

    @property
    def largest_share(self) -> float | None:
        """Fraction of the most frequent class in the training split; None for regression."""
        return max(self.counts) / max(sum(self.counts), 1) if self.counts else None

    def far(self, keys: Sequence[str], factor: float = 10.0) -> tuple[str, float, float] | None:
        """Return that of some keys whose value is farthest from its default, with both; None within a factor of it."""
        found = [(log_ratio(self.values.get(key), self.usual.get(key)), key) for key in keys]
        distance, key = max(found, default=(0.0, ""))
        return (key, self.values[key], self.usual[key]) if distance >= just_below(factor) else None

    def longer(self, times: int) -> str:
        """Return so many times the length of the run, in the unit that it was typed in."""
        length = self.values.get("epochs")
        return f"{times * self.total_steps}st" if isinstance(length, str) else str(times * int(length or 1))


def same(text: str, value: object) -> bool:
    """Return whether the text behind the = of an override is a value: a number, a list or a word."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return names_in(text) == [str(each) for each in value]
    try:
        return float(text) == float(value)
    except (TypeError, ValueError):
        return text == str(value)


def names_in(text: str) -> list[str]:
    """Return what a list, as `[dropout,l2]`, names."""
    return [part.strip() for part in text.strip("[]").split(",") if part.strip()]


def is_positive(value: object) -> bool:
    """Return whether a value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def log_ratio(value: object, other: object) -> float:
    """Return the size of the logarithm of the ratio of two numbers; 0 where one is none, or not above 0."""
    return abs(math.log(value / other)) if is_positive(value) and is_positive(other) else 0.0


def just_below(factor: float) -> float:
    """Return the logarithm of a factor with room for rounding: a value at exactly that distance counts."""
    return math.log(factor) * 0.999


def fall(values: Sequence[float]) -> float:
    """Return by which fraction the last of some losses is below the first."""
    return 1 - values[-1] / values[0] if values[0] > 0 else 0.0
