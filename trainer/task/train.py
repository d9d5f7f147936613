"""task=train: train a model and score its best weights."""

import copy
import json
import statistics
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from trainer import build, checkpoint, conf, figure, launch, lints, resume, rundir
from trainer.checkpoint import Checkpoints
from trainer.clock import Clock
from trainer.console import Console, figures
from trainer.curves import Curves
from trainer.device import describe
from trainer.errors import DataError, Diverged, Interrupted, UserError
from trainer.layers import decayed
from trainer.loop import Outcome, Run, fit
from trainer.state import capture, restore
from trainer.tally import SCORE

SHOWN = ("data", "preprocess", "model", "act", "init", "loss", "optimizer", "sched")  # the others only when they differ


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train for `epochs`, score the validation split every `eval_every`, and the best weights on the test split at the end."""

    def run(self, cfg: DictConfig) -> float | None:
        """Returns the best validation score, which is what a search goes by. Errors: UserError."""
        directory = Path(cfg.resume.run) if cfg.resume.run else None
        changed = resume.changes(directory, cfg) if directory else {}
        resume.require_allowed(changed, cfg.resume.allow)
        if directory and resume.status(directory) in resume.ENDED and "epochs" not in changed:
            return nothing_left(directory, cfg.monitor)
        run = build.run(cfg)
        typed = launch.overrides()
        directory = directory or rundir.create(Path(cfg.output), typed, launch.sweep(), launch.exact_directory())
        with rundir.claimed(directory):
            return self._train(cfg, run, directory, typed, changed)

    def _train(self, cfg: DictConfig, run: Run, directory: Path, typed: list[str], changed: dict) -> float | None:
        """In a directory that is this process's alone."""
        state, skipped = newest(directory, run.device) if cfg.resume.run else (None, [])
        console = Console(directory / "run.log")
        console.decisions(decisions(cfg), facts(run))
        for line in (*skipped, *lints.advice(cfg, run)):
            console.say(f"note: {line}")
        curves = Curves(directory, run.data.task)
        checkpoints = Checkpoints(directory, run.monitor, state["best"] if state else None)
        if state:
            restore(run, curves, state, set(changed))
            console.say(resumed(run, changed))
        rundir.describe(directory, cfg, typed)
        console.record(weights(run.model))
        if not state:
            curves.decisions(OmegaConf.to_yaml(cfg), typed, first_batch(run))

        def save(now: Clock, scored: dict | None, best: bool) -> None:
            checkpoints.save(capture(run, curves, checkpoints, now, scored), best)

        summary = {"status": "failed", "seed": cfg.seed, "device": describe(run.device), "versions": rundir.versions()}
        try:
            outcome = fit(run, curves, checkpoints, console, save)
            summary |= {"status": outcome.status, **results(run, outcome, curves, checkpoints, save)}
            curves.hparams(settings(cfg, run), measures(summary))
        except KeyboardInterrupt:
            summary["status"] = "interrupted"
            raise
        except Exception:
            console.record(traceback.format_exc())
            raise
        finally:
            rundir.summarize(directory, summary)
            curves.close()
            figure.draw(curves.rows, SCORE[run.data.task], directory / "curves.png", "" if summary["status"] in resume.ENDED else summary["status"])
        farewell(console, summary, run, directory)
        if problem := complaint(outcome):
            console.record(str(problem))
            raise problem
        return (summary["best"] or {}).get(run.monitor)


def newest(directory: Path, device: torch.device) -> tuple[dict | None, list[str]]:
    """The state of the newest checkpoint that is whole, None where there is none, and what was passed over, with why."""
    skipped = []
    for path in checkpoint.newest_first(directory / "checkpoints"):
        try:
            return checkpoint.load(path, device), skipped
        except DataError as error:
            skipped.append(f"passed over: {error}")
    return None, [*skipped, f"{directory}: no checkpoint to go on from; it begins anew"]


def resumed(run: Run, changed: dict) -> str:
    """What to tell of a run that goes on."""
    at = f"resumed after update {run.memory.step:,} of {run.clock.total_steps:,}"
    told = [f"{path} was {conf.short(before)}, is {conf.short(now)}" for path, (before, now) in changed.items()]
    if "epochs" in changed:
        told.append("the schedule now spans the new length, so that its rates differ from the first part's")
    return "; ".join([at, *told])


def nothing_left(directory: Path, monitor: str) -> float | None:
    """A finished run has nothing to resume."""
    summary = json.loads((directory / "summary.json").read_text())
    Console().say(f"{directory}: {summary['status']} already after {summary['steps']:,} updates; nothing to do. epochs=+N adds N epochs.")
    best = summary["best"] or {}
    return best.get("accuracy" if monitor == "auto" and "accuracy" in best else "r2" if monitor == "auto" else monitor)


def complaint(outcome: Outcome) -> UserError | None:
    """What to tell of a run that did not end as it should."""
    if outcome.status == "diverged":
        return Diverged(f"the loss stopped being a number before update {outcome.now.step}; nearest: a smaller optimizer.lr, reg=grad_clip, warmup=linear")
    if outcome.status == "interrupted":
        return Interrupted(f"interrupted after {outcome.now.step} updates", outcome.signal)
    return None


def results(run: Run, outcome: Outcome, curves: Curves, checkpoints: Checkpoints, save: Callable[..., None]) -> dict:
    """Keep the last weights, score the best ones on the test split, and say what the run came to."""
    with run.evaluated() as scored:
        last = {name: value.clone() for name, value in scored.state_dict().items()}
    test = None
    if outcome.status in resume.ENDED:
        save(outcome.now, last, False)
        best = copy.deepcopy(run.model)
        best.load_state_dict(checkpoint.load(checkpoint.pointed(checkpoints.folder, "best", "last"), run.device)["weights"])
        test = run.score(best, run.test)
        curves.scored("test", outcome.now, test)
    rates = [row["throughput"] for row in curves.rows if row["split"] == "train"]
    return {
        "best": checkpoints.best,
        "final": {split: curves.last(split) for split in ("train", "val")},
        "test": test,
        "steps": outcome.now.step,
        "epochs": outcome.now.step / outcome.now.steps_per_epoch,
        "seconds": round(curves.seconds, 3),
        "images_per_second": round(statistics.median(rates), 1) if rates else None,
        "parameters": parameters(run.model),
        "verdicts": [],
        "weights_sha256": checkpoint.digest(run.model),
    }


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def weights(model: torch.nn.Module) -> str:
    """Which weights penalties and decay act on, and which they leave alone."""
    decays = {id(weight) for weight in decayed(model)}
    names = [(name, id(weight) in decays) for name, weight in model.named_parameters() if weight.requires_grad]
    lists = (", ".join(name for name, decay in names if decay is wanted) or "none" for wanted in (True, False))
    return "weights that decay, where something does: {}\nand those that never do: {}".format(*lists)


def first_batch(run: Run) -> torch.Tensor | None:
    """Images of the training split as the preprocessing leaves them, for TensorBoard; None for tables."""
    images, _ = run.train.batch(torch.arange(min(32, len(run.train)), device=run.device))
    return images if images.dim() == 4 else None


def decisions(cfg: DictConfig) -> Iterator[tuple[str, str, str, bool]]:
    """Group, option, its keys, and whether any of it differs from what the defaults say; groups left at nothing are left out."""
    choices = launch.choices() | {"reg": ", ".join(name for slot in cfg.reg.values() for name in slot), "aug": ", ".join(cfg.aug)}
    usual, keys, common = conf.defaults() | {"reg": "", "aug": ""}, conf.rules(cfg, launch.choices()), conf.keys(conf.folder() / "config.yaml")
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
    return "  ".join(f"{path.removeprefix(f'{group}.')}={conf.short(value)}" for path, value in values.items() if not path.endswith(".fused"))


def facts(run: Run) -> Iterator[tuple[str, str]]:
    sizes = ", ".join(f"{len(loader):,} {name}" for name, loader in (("train", run.train), ("val", run.val), ("test", run.test)))
    kind = f"{run.data.outputs} classes" if run.data.task == "classification" else run.data.task
    yield "samples", f"{sizes}; {'x'.join(map(str, run.data.input_shape))}, {kind}"
    yield "model", f"{parameters(run.model):,} parameters"
    yield "updates", f"{run.clock.total_steps:,} ({run.clock.steps_per_epoch:,} an epoch)"
    yield "device", describe(run.device)


def settings(cfg: DictConfig, run: Run) -> dict[str, str | float | bool]:
    """The HParams row: the same keys in every run, never None."""
    chosen = {group: launch.choice(group) or "none" for group in conf.groups() if group not in ("reg", "aug")}
    chosen |= {"reg": "+".join(name for slot in cfg.reg.values() for name in slot) or "none", "aug": "+".join(cfg.aug) or "none"}
    numbers = {path: OmegaConf.select(cfg, path) for path in conf.keys(conf.folder() / "config.yaml") if not path.startswith(("output", "runs", "allow", "threads", "resume"))}
    typed = " ".join(text for text in launch.overrides() if not text.startswith(("hydra.", "output="))) or "(defaults)"
    return {**chosen, **numbers, "batch_size": str(cfg.batch_size), "lr": run.optimizer.param_groups[0]["base_lr"], "overrides": typed}


def measures(summary: dict) -> dict[str, float]:
    """Metrics of the HParams tab: final and best of validation, and test, where there are any."""
    named = {"final": summary["final"]["val"], "best": summary["best"], "test": summary["test"]}
    keys = ("loss", "accuracy", "r2")
    return {f"hparams/{when}_{key}": scores[key] for when, scores in named.items() if scores for key in keys if scores.get(key) is not None}


def farewell(console: Console, summary: dict, run: Run, directory: Path) -> None:
    """The last lines: figures, where the run is, how to look at it."""
    console.say()
    console.say(f"{summary['status']} after {summary['steps']:,} updates in {summary['seconds']:.1f} s ({summary['images_per_second'] or 0:,.0f} samples/s)")
    final = {key: value for key, value in (summary["final"]["val"] or {}).items() if key in ("loss", SCORE[run.data.task])}
    if final:
        console.say(f"  final  val   {figures(final)}")
    if best := summary["best"]:
        scores = {key: best[key] for key in ("loss", SCORE[run.data.task])}
        console.say(f"  best   val   {figures(scores)}  (epoch {best['epoch']})")
    if summary["test"]:
        console.say(f"  {'best' if best else 'last'}   test  {figures(summary['test'])}")
    shown = directory.relative_to(Path.cwd()) if directory.is_relative_to(Path.cwd()) else directory
    console.say(f"\nThe run is in {shown}")
    console.say(f"Look at it:   {shown / 'curves.png'}")
    console.say(f"              tensorboard --logdir {top(shown)}")
    console.flush()


def top(directory: Path) -> Path:
    """The folder above all runs: outputs/DATE/RUN and outputs/sweeps/DATE/TIME/RUN both lie in outputs."""
    return next((parent for parent in directory.parents if parent.name == "outputs"), directory.parent)
