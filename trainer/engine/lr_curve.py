"""Learning-rate curve of a run, from its configuration alone: as values, as text for a terminal and as PNG."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from trainer.base.atomic import write_figure
from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.base.layers import common_rate
from trainer.base.protocols import ObservesLoss
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.engine import robbins_monro
from trainer.engine.build import make_optimizer
from trainer.engine.lengths import make_clock, samples_per_batch

GROUPS = ("optimizer", "sched", "warmup")  # whose options decide the learning rate
HEIGHT = 18  # lines of the chart in the terminal


@dataclass(frozen=True, kw_only=True)
class LrCurve:
    """Learning rate of every step of a run.

    Args:
        clock: the run's time.
        rates: of steps 1, 2, ..., one each: the rate that the loop gives the optimizer's first parameter group.
        warmup_steps: steps at the start that the warm-up holds below the schedule.
        observes_loss: True if the schedule depends on the validation loss; the rates are then those of a loss that
            falls at every evaluation.
        title: the options that decide the rate, as they are typed.
        sums: what becomes of the sums of the rates and of their squares in a run without an end; empty if not known.
    """

    clock: Clock
    rates: list[float]
    warmup_steps: int
    observes_loss: bool
    title: str
    sums: str = ""

    def epoch(self, step: int) -> float:
        """Return the time of a step in epochs."""
        return self.clock.at(step).epochs

    @property
    def peak(self) -> int:
        """The first step at the highest rate."""
        return self.rates.index(max(self.rates)) + 1


def make_lr_curve(cfg: DictConfig, samples: int, invocation: Invocation) -> LrCurve:
    """Return the learning-rate curve of a run over so many training samples. Errors: ConfigError."""
    clock = make_clock(cfg, samples, invocation)
    if not clock.total_steps:
        raise ConfigError("epochs=0: there is no step to draw a learning rate for; try epochs=20")
    sched = factory(cfg, "sched", invocation)()
    warmed = factory(cfg, "warmup", invocation)()(sched)
    # Some optimizers have other rates for hidden than for last layers.
    any_net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = make_optimizer(cfg, any_net, samples_per_batch(cfg, samples, invocation) * cfg.accumulate, invocation)
    base = common_rate(optimizer, "base_lr")
    multipliers = [warmed(clock.at(step)) for step in range(clock.total_steps)]
    below = takewhile(lambda step: multipliers[step] < sched(clock.at(step)), range(clock.total_steps))
    return LrCurve(
        clock=clock,
        rates=[base * multiplier for multiplier in multipliers],
        warmup_steps=len(list(below)),
        observes_loss=isinstance(sched, ObservesLoss),
        title=" ".join(invocation.describe(group) for group in GROUPS if invocation.choice(group)),
        sums=sums_of(sched, clock.steps_per_epoch),
    )


def sums_of(sched: Callable[[Clock], float], steps_per_epoch: int) -> str:
    """Return the line on the conditions of Robbins and Monro; empty for a schedule that has no such times."""
    try:
        return robbins_monro.describe(robbins_monro.rate_sums(sched, steps_per_epoch))
    except (ArithmeticError, LookupError, TypeError, ValueError):  # of the user's own
        return ""


def describe(curve: LrCurve) -> list[str]:
    """Return the main values of a curve in sentences."""
    peak = f"{max(curve.rates):.4g} at step {curve.peak:,} (epoch {curve.epoch(curve.peak):.4g})"
    lines = [
        f"first {curve.rates[0]:.4g}, peak {peak}, last {curve.rates[-1]:.4g}",
        f"{len(curve.rates):,} steps, {curve.clock.steps_per_epoch:,} per epoch",
    ]
    if curve.warmup_steps == len(curve.rates):
        lines.append("shaded: warm-up, which is longer than the run")
    elif curve.warmup_steps:
        full = curve.warmup_steps + 1
        lines.append(
            f"shaded: warm-up, until step {full:,} (epoch {curve.epoch(full):.4g}) reaches the schedule's rate"
        )
    if curve.observes_loss:
        lines.append("the schedule depends on the validation loss; this is its curve while the loss keeps falling")
    return lines


def chart(curve: LrCurve, width: int) -> str:
    """Return the curve in block characters and terminal colours, `width` wide: steps below, epochs above.

    Errors: ImportError where plotext cannot be loaded.
    """
    import plotext  # 0.1 s

    width, total = max(width, 40), len(curve.rates)  # narrower shows nothing
    steps = list(range(1, total + 1, math.ceil(total / (8 * width))))  # a character is two points wide
    rates = [curve.rates[step - 1] for step in steps]
    shaded = sum([step <= curve.warmup_steps + 1 for step in steps]) if curve.warmup_steps else 0
    plotext.terminal.limit(False, False)  # the width is given, whatever plotext takes the terminal's to be
    figure = plotext.figure
    figure.clear()
    figure.theme("simple").plot_size(width, HEIGHT)
    if curve.warmup_steps:
        figure.draw(figure.signal(steps[:shaded], rates[:shaded], marker="\u2591").lines().fillx())
    figure.draw(figure.signal(steps, rates, marker="braille").lines())
    highest = max(curve.rates)
    marks = ticks(highest, 5)
    figure.ruler("y", "left").lim(0, highest).ticks(marks, [f"{mark:.4g}" for mark in marks])
    for side, unit in (("lower", 1), ("upper", curve.clock.steps_per_epoch)):
        marks = ticks(total / unit, width // 15, whole=True)
        figure.ruler("x", side).lim(0, total).ticks([mark * unit for mark in marks], [f"{mark:,.0f}" for mark in marks])
    figure.label("step", axis="x", side="lower").label("epoch", axis="x", side="upper")
    return figure.build().string()


def ticks(end: float, most: int, whole: bool = False) -> list[float]:
    """Return numbers from 0 up to `end`, spaced by 1, 2 or 5 times a power of ten, at most `most` after the 0."""
    power = 0 if whole else math.floor(math.log10(end / most))
    spacings = (digit * 10.0**exponent for exponent in count(power) for digit in (1, 2, 5))
    spacing = next(spacing for spacing in spacings if end / spacing <= most)
    return [index * spacing for index in range(math.floor(end / spacing) + 1)]


def draw(curve: LrCurve, path: Path) -> None:
    """Write the curve as PNG. Errors: OSError."""
    from matplotlib.figure import Figure  # 0.6 s
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    per_epoch, last = curve.clock.steps_per_epoch, len(curve.rates)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    if curve.warmup_steps:
        end = min(curve.warmup_steps + 1, last)
        axes.axvspan(0, end, color="tab:orange", alpha=0.15, linewidth=0, label="warm-up")
    axes.plot(range(1, last + 1), curve.rates, color="tab:blue", marker="." if last <= 60 else None)
    for step, name, color in ((1, "first", "green"), (curve.peak, "peak", "red"), (last, "last", "purple")):
        rate = curve.rates[step - 1]
        label = f"{name} {rate:.4g}"
        axes.plot(step, rate, "o", color=f"tab:{color}", markersize=6, label=label, clip_on=False, zorder=5)
    note = "\n(while the validation loss keeps falling)" if curve.observes_loss else ""
    axes.set(xlim=(0, last), ylim=(0, max(curve.rates) * 1.05), xlabel="step", ylabel="learning rate")
    axes.set_title(curve.title + note)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(alpha=0.3)
    axes.legend()
    above = axes.secondary_xaxis("top", functions=(lambda step: step / per_epoch, lambda epoch: epoch * per_epoch))
    above.set_xlabel("epoch")
    write_figure(figure, path)
