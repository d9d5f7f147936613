"""Result of a check, and the run that is checked."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from trainer.base.checks import satisfies
from trainer.base.layers import stop_dropping
from trainer.config.hydra_context import Invocation
from trainer.engine.probe import probe
from trainer.engine.run import Run

Batch = tuple[Tensor, Tensor]  # images and targets
SAMPLES = 256  # that a measurement takes, at most


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of a check.

    Args:
        name: of the property that is checked.
        passed: None where the check does not apply to the run.
        value: the number that decides; None where there is none.
        threshold: rule that the value must keep, as `<= 0.2`.
        detail: what the number is, and others beside it.
        meaning: of a failed check, what it means; of one that does not apply, why; empty otherwise.
        advice: of a failed check, what to type or to look at.
    """

    name: str = ""
    passed: bool | None
    value: float | None = None
    threshold: str = ""
    detail: str = ""
    meaning: str = ""
    advice: str = ""

    @property
    def status(self) -> str:
        """`pass`, `FAIL`, or `n/a` where the check does not apply."""
        return {True: "pass", False: "FAIL", None: "n/a"}[self.passed]


def judge(value: float, threshold: str, detail: str, meaning: str, advice: str) -> Check:
    """Return the check of a value, which fails where it breaks the rule or is NaN.

    Args:
        meaning, advice: of the check where it fails.
    """
    if satisfies(threshold, value):
        return Check(passed=True, value=value, threshold=threshold, detail=detail)
    return Check(passed=False, value=value, threshold=threshold, detail=detail, meaning=meaning, advice=advice)


def not_applicable(why: str) -> Check:
    """Return the result of a check that does not apply to the run."""
    return Check(passed=None, meaning=why)


@dataclass(frozen=True)
class Subject:
    """A freshly built run that is checked; everything that is measured on it is measured on copies of its model.

    Args:
        run, cfg, invocation: the run, and what it was built from.
        steps: of the longest of the short trainings.
        cache: what one check has measured and others use.
    """

    run: Run
    cfg: DictConfig
    invocation: Invocation
    steps: int
    cache: dict = field(default_factory=dict)

    def copy_model(self) -> nn.Module:
        """Return a copy of the fresh model, in training mode, that drops nothing."""
        model = copy.deepcopy(self.run.model).train()
        stop_dropping(model)
        return model

    def some(self, count: int, purpose: str = "check") -> Tensor:
        """Return the indices of so many training samples, drawn at random for a purpose, without repetition."""
        return self.run.random_samples(purpose, count)

    @cached_property
    def batch(self) -> Batch:
        """Up to 256 training samples, preprocessed."""
        return self.run.train.batch(self.some(SAMPLES))

    @cached_property
    def probe(self) -> dict | None:
        """The statistics of the fresh model's layers; None where they do not fit into memory."""
        return probe(self.run, 0)

    @property
    def standardize(self) -> str:
        """The preprocessing that standardises this kind of data."""
        return "preprocess=channel_standardize" if self.batch[0].dim() == 4 else "preprocess=standardize"

    def first_layer(self) -> str | None:
        """Return the name of the first layer with a weight matrix that the input meets; None where there is none."""
        layers = self.probe["layers"] if self.probe else []
        return layers[0]["name"] if layers else None

    def words(self, *options: str) -> str:
        """Return `try A, B` of those options that the run has not chosen already; empty where there is none."""
        others = [option for option in options if not self._chosen(option)]
        return f"try {', '.join(others)}" if others else ""

    def _chosen(self, option: str) -> bool:
        group, _, name = option.partition("=")
        return self.invocation.choice(group) == name


def scaled(values: Tensor) -> Tensor:
    """Return samples standardised by channel, of a table by feature; a constant is only centred."""
    dims = (0, *range(2, values.dim()))
    deviation, mean = torch.std_mean(values.double(), dims, correction=0, keepdim=True)
    return ((values - mean) / torch.where(deviation > 1e-12, deviation, 1.0)).to(values.dtype)


CheckFunction = Callable[[Subject], Check]
