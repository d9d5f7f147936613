"""What a run says of itself: its decisions, facts and figures, on the console and in TensorBoard's table."""

from collections.abc import Iterator
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from trainer.base.device import describe
from trainer.base.layers import decay_parameters
from trainer.base.metrics import SCORE
from trainer.config import catalog, hydra_context
from trainer.engine.run import Run
from trainer.rundir.console import Console, figures

SHOWN = ("data", "preprocess", "model", "act", "init", "loss", "optimizer", "sched")  # the others only when they differ


def resumed(run: Run, changed: dict) -> str:
    """What to tell of a run that goes on."""
    at = f"resumed after update {run.memory.step:,} of {run.clock.total_steps:,}"
    told = [
        f"{path} was {catalog.as_typed(before)}, is {catalog.as_typed(now)}" for path, (before, now) in changed.items()
    ]
    if (
        "epochs" in changed
        and len({run.sched(run.clock.at(run.clock.total_steps * tenth // 10)) for tenth in range(10)}) > 1
    ):
        told.append("the schedule now spans the new length, so that its rates differ from the first part's")
    return "; ".join([at, *told])


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def weights(model: torch.nn.Module) -> str:
    """Which weights penalties and decay act on, and which they leave alone."""
    decays = {id(weight) for weight in decay_parameters(model)}
    names = [(name, id(weight) in decays) for name, weight in model.named_parameters() if weight.requires_grad]
    lists = (", ".join(name for name, decay in names if decay is wanted) or "none" for wanted in (True, False))
    return "weights that decay, where something does: {}\nand those that never do: {}".format(*lists)


def decisions(cfg: DictConfig) -> Iterator[tuple[str, str, str, bool]]:
    """Group, option, its keys, and whether any of it differs from what the defaults say; groups left at nothing are left out."""
    choices = hydra_context.choices() | {
        "reg": ", ".join(name for slot in cfg.reg.values() for name in slot),
        "aug": ", ".join(cfg.aug),
    }
    usual, keys, common = (
        catalog.defaults() | {"reg": "", "aug": ""},
        catalog.rules(cfg, hydra_context.choices()),
        catalog.keys(catalog.folder() / "config.yaml"),
    )
    for group in sorted(choices, key=place):
        own = {path: OmegaConf.select(cfg, path) for path in keys if owner(path, choices) == group}
        own = {path: value for path, value in own.items() if path not in common or value != keys[path].default}
        differs = choices[group] != usual.get(group) or any(value != keys[path].default for path, value in own.items())
        if choices[group] and (group in SHOWN or differs):
            yield group, choices[group], shown(own, group), differs
    own = {path: OmegaConf.select(cfg, path) for path in keys if "." not in path}
    changed = {path: value for path, value in own.items() if value != keys[path].default}
    brief = {path: own[path] for path in ("epochs", "batch_size", "seed")} | changed
    yield "run", "", shown(brief, ""), bool(changed)


def place(group: str) -> tuple[int, str]:
    """Where a row stands: the groups that are always shown first, what one of them holds behind it."""
    first = group.partition(".")[0]
    return SHOWN.index(first) if first in SHOWN else len(SHOWN), group


def owner(path: str, choices: dict[str, str | None]) -> str | None:
    """The group, or the key that holds an option, which a key belongs to: the longest of the names that it starts with."""
    return max((place for place in choices if path.startswith(f"{place}.")), key=len, default=None)


def shown(values: dict[str, object], group: str) -> str:
    return "  ".join(
        f"{path.removeprefix(f'{group}.')}={catalog.as_typed(value)}"
        for path, value in values.items()
        if not path.endswith(".fused")
    )


def facts(run: Run) -> Iterator[tuple[str, str]]:
    sizes = ", ".join(
        f"{len(loader):,} {name}" for name, loader in (("train", run.train), ("val", run.val), ("test", run.test))
    )
    kind = f"{run.data.outputs} classes" if run.data.task == "classification" else run.data.task
    yield "samples", f"{sizes}; {'x'.join(map(str, run.data.input_shape))}, {kind}"
    yield "model", f"{parameters(run.model):,} parameters"
    yield "updates", f"{run.clock.total_steps:,} ({run.clock.steps_per_epoch:,} an epoch)"
    yield "device", describe(run.device)


def settings(cfg: DictConfig, run: Run) -> dict[str, str | float]:
    """The HParams row: the same keys in every run, never None."""
    chosen = {
        group: hydra_context.choice(group) or "none" for group in catalog.groups() if group not in catalog.MULTI_SELECT
    }
    chosen |= {
        "reg": "+".join(name for slot in cfg.reg.values() for name in slot) or "none",
        "aug": "+".join(cfg.aug) or "none",
    }
    numbers = {
        path: OmegaConf.select(cfg, path)
        for path in catalog.keys(catalog.folder() / "config.yaml")
        if not path.startswith(("output", "runs", "allow", "threads", "resume"))
    }
    typed = (
        " ".join(text for text in hydra_context.overrides() if not text.startswith(("hydra.", "output=")))
        or "(defaults)"
    )
    numbers = {
        path: catalog.as_typed(value) if isinstance(value, bool) else value for path, value in numbers.items()
    }  # else TensorBoard shows 0.0000
    return {
        **chosen,
        **numbers,
        "batch_size": str(cfg.batch_size),
        "lr": run.optimizer.param_groups[0]["base_lr"],
        "overrides": typed,
    }


def measures(summary: dict) -> dict[str, float]:
    """Metrics of the HParams tab: final and best of validation, and test, where there are any."""
    named = {"final": summary["final"]["val"], "best": summary["best"], "test": summary["test"]}
    keys = ("loss", "accuracy", "r2")
    return {
        f"hparams/{when}_{key}": scores[key]
        for when, scores in named.items()
        if scores
        for key in keys
        if scores.get(key) is not None
    }


def guessing(run: Run, best: dict | None) -> str | None:
    """A line on a run that has learnt nothing: its best scoring is that of one answer for all."""
    if best and run.data.task == "classification":
        share = run.val.targets.mean(0).max().item()  # of the commonest class
        if best["accuracy"] <= share:
            return f"val accuracy {best['accuracy']:.4f} is no better than always the same class ({share:.4f}): it has learnt nothing; try another optimizer.lr, more epochs"
    if best and run.data.task == "regression" and best["r2"] <= 0:
        return f"val r2 {best['r2']:.4f} is no better than always the mean (0): it has learnt nothing; try another optimizer.lr, more epochs"
    return None


def farewell(console: Console, summary: dict, run: Run, directory: Path) -> None:
    """The last lines: figures, where the run is, how to look at it."""
    rate = f" ({summary['images_per_second']:,.0f} samples/s)" if summary["images_per_second"] else ""
    console.say()
    when = f"in update {summary['diverged_in']:,}, seen after" if "diverged_in" in summary else "after"
    console.say(f"{summary['status']} {when} {summary['steps']:,} updates in {summary['seconds']:.1f} s{rate}")
    final = {
        key: value for key, value in (summary["final"]["val"] or {}).items() if key in ("loss", SCORE[run.data.task])
    }
    if final:
        console.say(f"  final  val   {figures(final)}")
    if best := summary["best"]:
        scores = {key: best[key] for key in ("loss", SCORE[run.data.task])}
        console.say(f"  best   val   {figures(scores)}  (epoch {best['epoch']})")
    if summary["test"]:
        console.say(f"  {'best' if best else 'last'}   test  {figures(summary['test'])}")
    if summary["zeros"] > 0.001 * summary["parameters"]:
        console.say(f"  {summary['zeros']:,} of {summary['parameters']:,} parameters are exactly 0")
    if summary["incomplete"]:
        console.say(f"  the disk did not take all: {', '.join(summary['incomplete'])}")
    shown = directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory
    console.say(f"\nThe run is in {shown}")
    console.say(f"Look at it:   {shown / 'curves.png'}")
    console.say(f"              tensorboard --logdir {top(shown)}")
    console.flush()


def top(directory: Path) -> Path:
    """The folder above all runs: outputs/DATE/RUN and outputs/sweeps/DATE/TIME/RUN both lie in outputs."""
    return next((parent for parent in directory.parents if parent.name == "outputs"), directory.parent)
