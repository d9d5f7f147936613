"""task=preview: look at a run's decisions before training."""

import math
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from omegaconf import DictConfig
from rich.text import Text
from torch import nn

from trainer.base.clock import Clock
from trainer.config import hydra_context
from trainer.config.instantiate import node
from trainer.data.splits import Splits
from trainer.engine import build, image_grid
from trainer.engine.dry_run import as_config_error
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console

SHOWN = ("optimizer", "sched", "warmup")  # the decisions behind the learning rate
HEIGHT = 18  # lines of the chart in the terminal


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Draw what a run would do in a directory of its own; no model is built and nothing trained.

    The learning rate at every update, in the terminal and as PNG; training images with draws of the augmentations and their labels,
    as PNG and for TensorBoard, where the data are images.
    """

    def run(self, cfg: DictConfig) -> None:
        """Errors: UserError, before anything is written."""
        with as_config_error("data"):
            data: Splits = node(cfg, "data")().load()
        plan, pictures = plan_of(cfg, len(data.train)), image_grid.sheet_of(cfg, data)
        directory = rundir.create(
            Path(cfg.output), hydra_context.overrides(), hydra_context.sweep(), hydra_context.requested_directory()
        )
        rundir.write_config(directory, cfg, hydra_context.overrides())
        console = Console()
        picture = directory / "preview-learning-rate.png"
        draw(plan, picture)
        show(plan, console)
        drawn = [picture]
        if pictures:
            drawn.append(image_grid.draw(pictures, [*cfg.aug, *cfg.reg.get("batch", {})], directory))
        console.print()
        for path in drawn:
            console.print(f"Look at it: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The learning rate of a run.

    Args:
        clock: the run's time.
        rates: of updates 1, 2, ..., one each: what the loop would give the optimizer's first group of weights.
        warming: updates at the start that a warm-up holds below the schedule.
        observes: whether the schedule goes by the validation loss, so that the rates are those of a loss that always falls.
        title: the decisions, as they are typed.
    """

    clock: Clock
    rates: list[float]
    warming: int
    observes: bool
    title: str

    def epoch(self, update: int) -> float:
        return update / self.clock.steps_per_epoch

    @property
    def peak(self) -> int:
        """The first update at the highest rate."""
        return self.rates.index(max(self.rates)) + 1


def plan_of(cfg: DictConfig, samples: int) -> Plan:
    """The learning rate that the decisions give a run over so many training samples. Errors: ConfigError."""
    batch_size = samples if cfg.batch_size == "full" else cfg.batch_size
    clock = build.make_clock(cfg, samples, batch_size)
    sched = node(cfg, "sched")()
    warmed = node(cfg, "warmup")()(sched)
    any_net = nn.Sequential(
        nn.Linear(2, 2), nn.Linear(2, 2)
    )  # of hidden and last weights, which some optimizers give different rates
    optimizer = build.make_optimizer(cfg, any_net, batch_size * cfg.accumulate)
    base = optimizer.param_groups[0]["base_lr"]
    multipliers = [warmed(clock.at(step)) for step in range(clock.total_steps)]
    below = takewhile(lambda step: multipliers[step] < sched(clock.at(step)), range(clock.total_steps))
    return Plan(
        clock=clock,
        rates=[base * multiplier for multiplier in multipliers],
        warming=len(list(below)),
        observes=hasattr(sched, "observe"),
        title=" ".join(f"{group}={hydra_context.choice(group)}" for group in SHOWN if hydra_context.choice(group)),
    )


def show(plan: Plan, console: Console) -> None:
    """The curve as text, as wide as the terminal, and its main values in words."""
    console.print(f"The learning rate of {plan.title}")
    try:
        drawing = chart(plan, console.terminal.width)
        drawing.encode(console.terminal.encoding)
        console.print(Text.from_ansi(drawing))  # its colours reach a terminal, its characters also a file
    except (ImportError, UnicodeEncodeError):
        console.print("(no chart here: plotext does not load, or the terminal has no block characters)")
    where = f"update {plan.peak:,} (epoch {plan.epoch(plan.peak):.4g})"
    console.print(f"first {plan.rates[0]:.4g}, peak {max(plan.rates):.4g} at {where}, last {plan.rates[-1]:.4g}")
    console.print(f"{len(plan.rates):,} updates, {plan.clock.steps_per_epoch:,} an epoch")
    if plan.warming:
        console.print(f"shaded: the warm-up, {warm_up_ends(plan)}")
    if plan.observes:
        console.print(
            "the schedule goes by the validation loss, which only training shows: drawn is the rate while that keeps falling"
        )


def warm_up_ends(plan: Plan) -> str:
    if plan.warming == len(plan.rates):
        return "to the end of the run and beyond"
    return f"until update {plan.warming + 1:,} (epoch {plan.epoch(plan.warming + 1):.4g}) is the first at the schedule's full rate"


def chart(plan: Plan, width: int) -> str:
    """The curve in block characters and terminal colours, `width` wide: updates below, epochs above."""
    import plotext  # 0.1 s

    width, total = max(width, 40), len(plan.rates)  # narrower shows nothing
    updates = list(range(1, total + 1, math.ceil(total / (8 * width))))  # a character is two points wide
    rates = [plan.rates[update - 1] for update in updates]
    shaded = sum([update <= plan.warming + 1 for update in updates]) if plan.warming else 0
    plotext.terminal.limit(False, False)  # the width is given, whatever plotext takes the terminal's to be
    figure = plotext.figure
    figure.clear()
    figure.theme("simple").plot_size(width, HEIGHT)
    if plan.warming:
        figure.draw(figure.signal(updates[:shaded], rates[:shaded], marker="\u2591").lines().fillx())
    figure.draw(figure.signal(updates, rates, marker="braille").lines())
    highest = max(plan.rates)
    marks = ticks(highest, 5)
    figure.ruler("y", "left").lim(0, highest).ticks(marks, [f"{mark:.4g}" for mark in marks])
    for side, unit in (("lower", 1), ("upper", plan.clock.steps_per_epoch)):
        marks = ticks(total / unit, width // 15, whole=True)
        figure.ruler("x", side).lim(0, total).ticks([mark * unit for mark in marks], [f"{mark:,.0f}" for mark in marks])
    figure.label("update", axis="x", side="lower").label("epoch", axis="x", side="upper")
    return figure.build().string()


def ticks(end: float, most: int, whole: bool = False) -> list[float]:
    """Numbers from 0 up to `end`, evenly spaced by 1, 2 or 5 times a power of ten, at most so many after the first."""
    power = 0 if whole else math.floor(math.log10(end / most))
    step = next(
        digit * 10.0**power for power in count(power) for digit in (1, 2, 5) if end / (digit * 10.0**power) <= most
    )
    return [index * step for index in range(math.floor(end / step) + 1)]


def draw(plan: Plan, path: Path) -> None:
    """The curve as PNG."""
    from matplotlib.figure import Figure  # 0.6 s
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    per_epoch, last = plan.clock.steps_per_epoch, len(plan.rates)
    sheet = Figure(figsize=(9, 4.5), layout="constrained")
    axes = sheet.subplots()
    if plan.warming:
        axes.axvspan(0, min(plan.warming + 1, last), color="tab:orange", alpha=0.15, linewidth=0, label="warm-up")
    axes.plot(range(1, last + 1), plan.rates, color="tab:blue", marker="." if last <= 60 else None)
    for update, word, color in (
        (1, "first", "tab:green"),
        (plan.peak, "peak", "tab:red"),
        (last, "last", "tab:purple"),
    ):
        rate = plan.rates[update - 1]
        axes.plot(update, rate, "o", color=color, markersize=6, label=f"{word} {rate:.4g}", clip_on=False, zorder=5)
    while_falling = "\n(while the validation loss keeps falling)" if plan.observes else ""
    axes.set(
        xlim=(0, last),
        ylim=(0, max(plan.rates) * 1.05),
        xlabel="update",
        ylabel="learning rate",
        title=plan.title + while_falling,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(alpha=0.3)
    axes.legend()
    above = axes.secondary_xaxis("top", functions=(lambda update: update / per_epoch, lambda epoch: epoch * per_epoch))
    above.set_xlabel("epoch")
    sheet.savefig(path, dpi=110)
