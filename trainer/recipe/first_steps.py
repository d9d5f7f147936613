"""The first three steps of a recipe, before anything is trained for good: loss, small sample, learning rate."""

from dataclasses import asdict, dataclass, fields

from trainer.base.text import as_typed, counted
from trainer.config import auto_rate
from trainer.inspection.check import CheckFunction, Subject
from trainer.inspection.check_learning import overfit_small_sample
from trainer.inspection.check_start import initial_loss
from trainer.inspection.checks import checked
from trainer.inspection.lr_finder import Finding, find_rate

TITLES = {
    1: "initial loss",
    2: "overfit a small sample",
    3: "find the learning rate",
    4: "coarse search",
    5: "refine",
    6: "curves and verdicts",
    7: "again",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """Result of a step.

    Args:
        number: from 1.
        passed: False where the recipe ends here.
        text: its number, and what it says.
        advice: what to do where it has not passed.
    """

    number: int
    passed: bool
    text: str
    advice: str = ""

    @property
    def title(self) -> str:
        """The name of the step."""
        return TITLES[self.number]

    def as_dict(self) -> dict:
        """Return the step as recipe.json holds it."""
        return asdict(self)


def step_from(saved: object) -> Step | None:
    """Return the step that recipe.json holds; None where it holds anything else."""
    names = {field.name for field in fields(Step)}
    if not isinstance(saved, dict) or {*saved} != names or saved["number"] not in TITLES:
        return None
    return Step(**saved)


def check_step(number: int, function: CheckFunction, subject: Subject) -> Step:
    """Return the step that a check is."""
    found = checked(function, subject)
    value = "" if found.value is None else f"{found.value:.4g}"
    if found.passed is None:
        return Step(number=number, passed=True, text=f"not applicable: {found.meaning}")
    if found.passed:
        return Step(number=number, passed=True, text=f"passed with {value} ({found.detail})")
    text = f"failed with {value}, not {found.threshold} ({found.detail}). {found.meaning}"
    return Step(number=number, passed=False, text=text, advice=found.advice)


def initial_loss_step(subject: Subject) -> Step:
    """Check the loss of the fresh network against that of a guess."""
    return check_step(1, initial_loss, subject)


def small_sample_step(subject: Subject) -> Step:
    """Check that the network learns a few batches by heart."""
    return check_step(2, overfit_small_sample, subject)


def rate_step(subject: Subject, key: str) -> tuple[Step, Finding]:
    """Find the learning rate by a range test, and return the step with what was found."""
    finding = find_rate(subject.cfg, subject.run, subject.invocation, key)
    if finding.rate is None and key in subject.invocation.typed_keys and not auto_rate.auto_key(subject.cfg):
        own = as_typed(dict(auto_rate.rates_in(subject.cfg.optimizer))[key])
        return Step(number=3, passed=True, text=f"{key}={own} as typed; none to suggest: {finding.reason}"), finding
    if finding.rate is None:
        usual = as_typed(auto_rate.default_rate(subject.cfg, key, subject.invocation.choices))
        advice = f"see train task=lr_find; type a rate near the usual one, as {key}={usual}"
        return Step(number=3, passed=False, text=f"no rate to suggest: {finding.reason}", advice=advice), finding
    last = finding.checked
    fall = f"{counted('step', last.steps)} bring the loss from {last.losses[0]:.3g} to {last.end:.3g}"
    return Step(number=3, passed=True, text=f"{key}={as_typed(finding.rate)}, {finding.reason}; {fall}"), finding
