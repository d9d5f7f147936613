"""task=train: train a model and score its best weights."""

import copy
import json
import statistics
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from trainer import build, checkpoint, figure, launch, lints, report, resume, rundir
from trainer.checkpoint import Checkpoints
from trainer.clock import Clock
from trainer.console import Console
from trainer.curves import Curves
from trainer.device import describe
from trainer.errors import DataError, Diverged, Interrupted, UserError
from trainer.layers import decayed
from trainer.loop import Outcome, Run, fit
from trainer.state import capture, restore
from trainer.tally import SCORE


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
        console.decisions(report.decisions(cfg), report.facts(run))
        for line in (*skipped, *run.data.notes, *lints.advice(cfg, run)):
            console.say(f"note: {line}")
        curves = Curves(directory, run.data.task)
        checkpoints = Checkpoints(directory, run.monitor, state["best"] if state else None)
        if state:
            restore(run, curves, state, set(changed))
            console.say(report.resumed(run, changed))
        rundir.describe(directory, cfg, typed)
        console.record(report.weights(run.model))
        if not state:
            curves.decisions(OmegaConf.to_yaml(cfg), typed, first_batch(run))

        def save(now: Clock, scored: dict | None, best: bool) -> None:
            checkpoints.save(capture(run, curves, checkpoints, now, scored), best)

        summary = {"status": "failed", "seed": cfg.seed, "device": describe(run.device), "versions": rundir.versions()}
        try:
            outcome = fit(run, curves, checkpoints, console, save)
            summary |= {"status": outcome.status, **results(run, outcome, curves, checkpoints, save)}
            curves.hparams(report.settings(cfg, run), report.measures(summary))
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
        report.farewell(console, summary, run, directory)
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
        test = run.score(best, run.test, run.tta)
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
        "parameters": report.parameters(run.model),
        "zeros": sum(int((weight == 0).sum()) for weight in decayed(run.model)),
        "verdicts": [],
        "weights_sha256": checkpoint.digest(run.model),
    }


def first_batch(run: Run) -> torch.Tensor | None:
    """Images of the training split as the preprocessing leaves them, for TensorBoard; None for tables."""
    images, _ = run.train.batch(torch.arange(min(32, len(run.train)), device=run.device))
    return images if images.dim() == 4 else None
