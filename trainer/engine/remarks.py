"""Remarks before a run: settings that cannot act in it, and figures that mean something else than they seem to."""

import math
from collections.abc import Callable, Iterator, Mapping

from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from trainer.base.clock import Clock
from trainer.base.cores import cores
from trainer.base.device import emulates_bf16
from trainer.base.text import as_typed, counted, rounded_up
from trainer.config import schema
from trainer.engine.setup import Setup

DROPS = ("step", "multistep", "inverse_sqrt")  # schedules whose length must end before the run does
MIXED_TARGETS = ("mixup", "cutmix")
NEWEST_BATCH = 0.5  # weight of the newest batch above which norm.momentum may be meant as Keras means it
REMAINDER = 0.05  # fraction of its initial value that an average may hold at the end of a run


def remarks(setup: Setup) -> list[str]:
    """Return the remarks on a built run."""
    return [line for rule in RULES for line in rule(setup)]


def lengths_beyond(cfg: DictConfig, choices: Mapping[str, str | None], clock: Clock) -> Iterator[str]:
    """Yield a line on each length that begins or ends when the run is over, and so has no effect."""
    for path, key in schema.rules(cfg, choices).items():
        group, _, own = path.partition(".")
        if not own or group == "pretrain" or key.rule is None or not key.rule.length:
            continue  # a pretraining comes before the run, and is as long as it says
        value = OmegaConf.select(cfg, path)
        given = [*value] if isinstance(value, ListConfig) else [value] if value is not None else []
        late = [length for length in given if is_beyond(clock.steps(length), clock, choices.get(group))]
        if late:
            epochs = f"{clock.total_epochs:g} epoch{'' if clock.total_epochs == 1 else 's'}"
            end = f"the run ends after {clock.total_steps:,} steps ({epochs})"
            subject = f"{path}={as_typed([*given] if isinstance(value, ListConfig) else value)}"
            longest = max(map(clock.steps, late))
            fixes = [f"{path}={as_typed(key.default)}"] if "%" in as_typed(key.default) else []
            fixes.append(f"epochs={longest // clock.steps_per_epoch + 1}")
            never = f"{', '.join(late)} never come{'s' if len(late) == 1 else ''}"
            effect = "the learning rate never reaches optimizer.lr" if group == "warmup" else never
            yield f"{subject}: {end}, and {effect}; try {', '.join(fixes)}"


def is_beyond(steps: int, clock: Clock, option: str | None) -> bool:
    """Return whether a length lies behind the end of the run; a drop of the learning rate must lie before it."""
    return steps > clock.total_steps or (steps == clock.total_steps and option in DROPS)


def lengths(setup: Setup) -> Iterator[str]:
    yield from lengths_beyond(setup.cfg, setup.invocation.choices, setup.run.clock)


def patience(setup: Setup) -> Iterator[str]:
    run = setup.run
    evaluations = math.ceil(run.clock.total_steps / run.eval_steps)
    for key in ("reg.stop.early_stopping.patience", "sched.patience"):
        value = OmegaConf.select(setup.cfg, key)
        if value is not None and value >= evaluations:
            never = f"the run has {evaluations} evaluations, so that its patience never ends"
            yield f"{key}={value}: {never}; try {key}={max(evaluations // 4, 1)}"


def stochastic_gradient_descent(setup: Setup) -> Iterator[str]:
    run, samples = setup.run, setup.run.batch_size * setup.run.accumulate
    if setup.chosen["optimizer"] == "gd" and samples < len(run.train):
        what = f"gradients of {samples} of {len(run.train):,} samples make it stochastic (SGD)"
        yield f"optimizer=gd with batch_size={setup.cfg.batch_size}: {what}; try batch_size=full, or optimizer=sgd"


def full_batches(setup: Setup) -> Iterator[str]:
    if setup.run.clock.steps_per_epoch == 1 and len(setup.run.val):
        losses = "a line's training loss is that before its step, its validation loss that after it"
        yield f"batch_size={setup.cfg.batch_size}: an epoch is one step; {losses}"


def weight_of_newest_batch(setup: Setup) -> Iterator[str]:
    momentum = OmegaConf.select(setup.cfg, "norm.momentum")
    if momentum is not None and momentum > NEWEST_BATCH:
        here = f"{momentum:.4g} here is the weight of the newest batch in the running averages"
        if momentum < 1:
            yield f"norm.momentum={momentum:g}: {here}; Keras's {momentum:g} is norm.momentum={1 - momentum:.4g}"
        else:
            yield f"norm.momentum={momentum:g}: {here}: nothing is averaged"


def young_averages(setup: Setup) -> Iterator[str]:
    steps, cfg = setup.run.clock.total_steps, setup.cfg
    averaging, momentum = setup.chosen["averaging"], OmegaConf.select(cfg, "norm.momentum")
    fresh = setup.run.progress.start is None  # averages that come with weights are those of their data
    if averaging == "none" and momentum is not None and fresh and setup.has_layer("norm"):
        left = (1 - momentum) ** steps
        if left > REMAINDER:
            held = f"after the run's {steps} steps its running averages hold {left:.0%} of their initial values"
            better = rounded_up(1 - REMAINDER ** (1 / max(steps, 1)))  # to no more than that, and not the run's own
            yield f"norm={setup.chosen['norm']}: {held}, in each layer; try norm.momentum={better}, or more epochs"
    if averaging == "ema" and not cfg.averaging.warmup:
        left = cfg.averaging.decay**steps
        if left > REMAINDER:
            held = f"after the run's {steps} steps the average holds {left:.0%} of the initial weights"
            yield f"averaging=ema without averaging.warmup: {held}; try averaging.warmup=true, averaging.decay=0.99"


def snapshots_without_cycles(setup: Setup) -> Iterator[str]:
    sched = setup.chosen["sched"]
    if setup.chosen["averaging"] == "snapshot" and setup.cfg.averaging.every is None and sched != "cosine_restarts":
        better = "sched=cosine_restarts sched.length=20% sched.growth=1"
        yield f"averaging=snapshot: sched={sched} has no cycles, so it keeps only the last weights; try {better}"


def unlike_losses(setup: Setup) -> Iterator[str]:
    """Name what makes the losses of training, validation and test different quantities."""
    changed = [f"aug={name}" for name in MIXED_TARGETS if name in setup.cfg.aug]
    changed += ["reg=label_smoothing"] if "label_smoothing" in setup.chosen["reg"] else []
    if changed and len(setup.run.val):
        kind = "smoothed" if changed == ["reg=label_smoothing"] else "mixed"
        losses = f"the training loss is that of {kind} labels, the validation loss that of plain ones"
        yield f"{', '.join(changed)}: {losses}; the two cannot be compared"
    if setup.chosen["tta"] != "none":
        yield f"tta={setup.chosen['tta']}: acts on the test split alone; test and validation cannot be compared"


def emulated_precision(setup: Setup) -> Iterator[str]:
    if setup.cfg.precision == "bf16" and emulates_bf16(setup.run.device):
        reason = "this CPU has neither AVX512-BF16 nor AMX, so that bf16 is 10 to 20 times slower than fp32"
        yield f"precision=bf16: {reason}; try precision=fp32"


def speed(setup: Setup) -> Iterator[str]:
    """Name settings of the machine that cannot make this run faster."""
    cfg, own = setup.cfg, cores()
    if isinstance(cfg.threads, int) and cfg.threads > own:
        cost = f"this process has {counted('core', own)}, on which more threads wait for one another"
        yield f"threads={cfg.threads}: {cost}; try threads=auto"
    if cfg.compile == "off" and cfg.compile_mode != "default":
        yield f"compile_mode={cfg.compile_mode}: nothing is compiled; try compile=step, or leave it out"
    if cfg.channels_last == "on" and not any(isinstance(module, nn.Conv2d) for module in setup.run.model.modules()):
        yield "channels_last=on: the model convolves no images; leave it out"


RULES: tuple[Callable[[Setup], Iterator[str]], ...] = (
    emulated_precision,
    speed,
    lengths,
    patience,
    stochastic_gradient_descent,
    full_batches,
    weight_of_newest_batch,
    young_averages,
    snapshots_without_cycles,
    unlike_losses,
)
