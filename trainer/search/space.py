"""Search spaces, from overrides in Hydra's own grammar."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

WIDE = 100  # a ratio of bounds from which an interval is mostly meant by its powers of ten


def spaces(overrides: Sequence[Override]) -> "dict[str, BaseDistribution]":
    """Return the space of every key that is searched, in the order typed.

    Errors: ConfigError where there is none, or one is empty.
    """
    found = {override.get_key_element(): space(override) for override in overrides if override.is_sweep_override()}
    if not found:
        examples = "'optimizer.lr=tag(log,interval(1e-4,1e-1))' or model=mlp,cnn"
        raise ConfigError(f"hydra/sweeper=optuna: nothing to search over; write a space, as {examples}")
    return found


def space(override: Override) -> "BaseDistribution":
    """Return the space of an override: numbers of an interval or a range, evenly or (log) by their powers; or choices.

    Errors: ConfigError.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep, line = override.value(), override.input_line
    if not isinstance(sweep, IntervalSweep | RangeSweep):
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    if unknown := sweep.tags - {"log"}:
        raise ConfigError(f"{line}: no such tag as {', '.join(sorted(unknown))}; the only one is log")
    if isinstance(sweep, IntervalSweep):
        low, high, step = sweep.start, sweep.end, None
    else:
        numbers = sorted(sweep.range()) or [sweep.start, sweep.stop]
        low, high, step = numbers[0], numbers[-1], abs(sweep.step)
    if low >= high:
        bounds = f"{as_typed(low)} to {as_typed(high)}"
        raise ConfigError(f"{line}: the space from {bounds} is empty; write the smaller bound first")
    if "log" in sweep.tags and low <= 0:
        raise ConfigError(f"{line}: a logarithmic scale needs bounds > 0, got {as_typed(low)}")
    if "log" in sweep.tags and step not in (None, 1):
        raise ConfigError(f"{line}: a logarithmic scale has no steps of {step}; write an interval")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, step=step or 1, log="log" in sweep.tags)
    return FloatDistribution(low, high, step=None if "log" in sweep.tags else step, log="log" in sweep.tags)


def propose(trial: "Trial", spaces: "Mapping[str, BaseDistribution]") -> None:
    """Let the study's sampler choose a value in each space."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    for key, wide in spaces.items():
        if isinstance(wide, CategoricalDistribution):
            trial.suggest_categorical(key, wide.choices)
        else:
            suggest = trial.suggest_int if isinstance(wide, IntDistribution) else trial.suggest_float
            suggest(key, wide.low, wide.high, step=wide.step, log=wide.log)


def advice(spaces: Mapping[str, "BaseDistribution"]) -> Iterator[str]:
    """Yield a line for each even interval that is mostly meant by its powers of ten."""
    for key, wide in spaces.items():
        if not getattr(wide, "log", True) and 0 < wide.low * WIDE <= wide.high:
            evenly = f"{key} is searched evenly, so that 9 of 10 values are above {as_typed(wide.high / 10)}"
            bounds = f"{as_typed(wide.low)},{as_typed(wide.high)}"
            yield f"note: {evenly}; to search by powers of ten, write '{key}=tag(log,interval({bounds}))'"
