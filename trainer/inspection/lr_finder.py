"""The learning rate for a run that is built: a range test, its suggestion, and a check of that by a short training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from omegaconf import DictConfig

from trainer.base.device import out_of_memory
from trainer.base.errors import ConfigError
from trainer.base.text import as_typed
from trainer.config import auto_rate
from trainer.config.hydra_context import Invocation
from trainer.engine.build import learning_rates
from trainer.engine.recovery import does_not_fit, smaller_batches
from trainer.engine.run import Run
from trainer.inspection.loss_by_rate import LossByRate, loss_by_rate
from trainer.inspection.lr_check import Check, check
from trainer.inspection.lr_range import GroupRates, LrRange, range_test
from trainer.inspection.lr_suggestion import Suggestion, suggest, two_digits

FIRST, LAST, STEPS = 1e-6, 100.0, 200  # of the range test
CHECK_STEPS = 100
NEARLY = 0.1  # fraction of the fall
LOWER, TRIES = 10**-0.5, 3  # factor to the next rate where one does not train, and rates that are tried


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A learning rate with what it was found by.

    Args:
        rate: None where there is none.
        reason: how it was found, or a sentence on why there is none.
        test: the range test, and `suggestion` what it says.
        checks: trainings at the rates that were tried.
        group_rates: the learning rates of the parameter groups at a rate.
        run: the run, with smaller batches where its own do not fit into memory.
    """

    rate: float | None
    reason: str
    test: LrRange
    suggestion: Suggestion
    checks: Sequence[Check]
    group_rates: GroupRates
    run: Run

    @property
    def checked(self) -> Check:
        """The training at the rate."""
        return next(each for each in self.checks if each.rate == self.rate)


def find_rate(
    cfg: DictConfig,
    run: Run,
    invocation: Invocation,
    key: str,
    *,
    first: float = FIRST,
    last: float = LAST,
    steps: int = STEPS,
    check_steps: int = CHECK_STEPS,
) -> Finding:
    """Return the learning rate for a run, which is afterwards as it was.

    Args:
        key: the key of the learning rate.
        first, last: smallest and largest rate of the range test, and `steps` its steps.
        check_steps: steps of a training at the suggested rate. Where it does not learn, smaller rates are tried.
    Errors: ConfigError where no weight goes by the key; MachineError where a batch does not fit into memory.
    """
    group_rates = GroupRates(cfg, run, invocation, key)
    if not group_rates.follow:
        why = f"none of the model's weights are trained at this rate by {invocation.describe('optimizer')}"
        raise ConfigError(f"{key}: {why}, so that it cannot be measured; leave it out")
    while (finding := measure(run, group_rates, first, last, steps, check_steps)) is None:
        if cfg.on_oom != "halve" or run.batch_size == 1:
            raise does_not_fit(run)
        run = replace(run, **smaller_batches(run))  # the same steps, as they will be in training
    return finding


def measure(
    run: Run, group_rates: GroupRates, first: float, last: float, steps: int, check_steps: int
) -> Finding | None:
    """Return what the range test and its checks find; None where a batch does not fit into memory."""
    try:
        test = range_test(run, group_rates, first, last, steps)
        suggestion = suggest(test.rates, test.losses)
        checks = tried(run, group_rates, test, suggestion.rate, check_steps) if suggestion.rate else []
    except Exception as error:
        if not out_of_memory(error):
            raise
        return None
    rate, reason = chosen(suggestion, test, checks)
    return Finding(
        rate=rate,
        reason=reason,
        test=test,
        suggestion=suggestion,
        checks=checks,
        group_rates=group_rates,
        run=run,
    )


def tried(run: Run, group_rates: GroupRates, test: LrRange, rate: float, steps: int) -> list[Check]:
    """Return trainings at a rate, and at lower ones until one learns and is stable."""
    curve, checks = loss_by_rate(test.rates, test.losses), []
    for power in range(TRIES):
        checks.append(check(run, group_rates, two_digits(rate * LOWER**power), steps))
        if checks[-1].passes(curve):
            break
    return checks


def chosen(suggestion: Suggestion, test: LrRange, checks: Sequence[Check]) -> tuple[float | None, str]:
    """Return the rate of the check that ends lowest, or that passes and ends nearly as low; and how it was found."""
    if not checks:
        return None, suggestion.reason
    curve, first = loss_by_rate(test.rates, test.losses), checks[0]
    best = min(checks, key=lambda each: each.end)
    if best.end >= curve.level:
        rates = ", ".join(as_typed(each.rate) for each in checks)
        return None, f"{suggestion.reason}; but {best.steps} steps at {rates} do not lower the loss"
    best = next((each for each in checks if each.passes(curve) and each.end <= best.end + NEARLY * curve.fall), best)
    if best is first:
        return best.rate, suggestion.reason
    return (
        best.rate,
        f"{suggestion.reason}; lowered, as {first.steps} steps at {as_typed(first.rate)} {fault(first, curve)}",
    )


def fault(failed: Check, curve: LossByRate) -> str:
    """Return what a check that does not pass has shown."""
    if not failed.finite:
        return "end in a loss that is not finite"
    if not failed.learns(curve):
        return f"end at a loss of {failed.end:.3g}"
    return f"are unstable (the loss rises by {failed.rise[0]:.2g})"


def choose_rate(cfg: DictConfig, run: Run, invocation: Invocation) -> DictConfig:
    """Return the configuration with a learning rate that is `auto` measured, and give it to the run's optimizer.

    Errors: ConfigError where there is none to suggest, which names one to type.
    """
    if (key := auto_rate.auto_key(cfg)) is None:
        return cfg
    finding = find_rate(cfg, run, invocation, key)
    if finding.rate is None:
        usual = auto_rate.default_rate(cfg, key, invocation.choices)
        raise ConfigError(f"{key}=auto: {finding.reason}; type a number, as {key}={as_typed(usual)}")
    cfg = auto_rate.with_rate(cfg, key, finding.rate)
    for group, rate in zip(run.optimizer.param_groups, learning_rates(cfg, run, invocation)):
        group["base_lr"] = group["lr"] = rate
    return cfg
