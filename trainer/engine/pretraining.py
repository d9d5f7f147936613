"""Pretraining of a run: its stages, one after the other, each with curves and checkpoints of its own.

A stage trains a copy of the run's network in RUN/pretrain/NUMBER-NAME/, and hands its best weights on. One that is
complete is not trained again when the run is resumed; an interrupted one resumes.
"""

import re
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from trainer.base.errors import DataError, Diverged
from trainer.base.metrics import score_of
from trainer.base.text import counted, epochs, figures, printable
from trainer.config.hydra_context import Invocation
from trainer.engine import recovery
from trainer.engine.ending import error_for
from trainer.engine.run import Outcome, Run
from trainer.engine.stage_run import stage_run
from trainer.engine.state import restore
from trainer.engine.training import Training
from trainer.pretrain.stage import Stage
from trainer.pretrain.truncated import Truncated
from trainer.rundir import curves_plot, reader
from trainer.rundir import directory as rundir
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.status import COMPLETE
from trainer.rundir.title import title_of_description

FOLDER = "pretrain"  # in the run's directory
FIGURES = ("stage", "status", "steps", "seconds", "best")  # of a stage, in the run's summary


def has_stages(directory: Path) -> bool:
    """Return whether stages of a run were begun."""
    return (directory / FOLDER).is_dir()


def stages_of(directory: Path) -> list[dict]:
    """Return the figures of a run's complete stages, in their order, for its summary."""
    folders = [folder for folder in (directory / FOLDER).glob("*") if folder.name.partition("-")[0].isdecimal()]
    found = map(reader.completed_summary, sorted(folders, key=lambda folder: int(folder.name.partition("-")[0])))
    return [{key: summary.get(key) for key in FIGURES} for summary in found if summary]


def pretrain(training: Training, invocation: Invocation) -> None:
    """Train the network of a fresh run through its stages. Errors: UserError of a stage that is not complete."""
    stages = training.run.stages
    for number, stage in enumerate(stages, start=1):
        place = f"pretrain {number} of {len(stages)}, {stage.name}"
        folder = training.directory / FOLDER / f"{number}-{re.sub(r'[^a-z0-9]+', '-', stage.name)}"
        train_stage(stage, number, folder, place, training, invocation)


def train_stage(
    stage: Stage, number: int, folder: Path, place: str, training: Training, invocation: Invocation
) -> None:
    """Train one stage, or take the best weights of a complete one, into the run's network.

    Errors: Diverged, Interrupted.
    """
    run, console = training.run, training.console

    def build(cfg: DictConfig) -> Run:
        return stage_run(run, stage, number, cfg, invocation)

    made = build(training.cfg)
    folder.mkdir(parents=True, exist_ok=True)
    own = Training(training.cfg, build, made, folder, console, [], training.saved, training.texts)
    summary = take_complete(own)
    if summary is not None:
        place = f"{place}: complete before"
    else:
        begin(own, place)
        outcome = own.fit_with_recovery()
        if outcome.status in COMPLETE:
            own.run.model.load_state_dict(own.finish(outcome))
        summary = write_files(own, stage, outcome)
        error = error_for(outcome, own.nonfinite_layer(outcome), "", training.cfg.on_nan)
        if error:
            raise Diverged(f"{place}: {error}") if isinstance(error, Diverged) else error
    own.recorder.close()
    console.print(f"{place}: {said(summary, own.run)}")
    run.model.load_state_dict(network_of(own.run.model).state_dict())


def network_of(model: nn.Module) -> nn.Module:
    """Return the network in what a stage trains."""
    return model.network if isinstance(model, Truncated) else model


def take_complete(own: Training) -> dict | None:
    """Load the best weights of a complete stage, and return its summary; None where it is not complete, or damaged."""
    summary, run = reader.completed_summary(own.directory), own.run
    if summary is None or "stage" not in summary:
        return None
    try:
        if summary["best"]:
            weights = Checkpoints(own.directory).weights_of(summary["best"]["step"], run.device)
        else:
            state, _ = recovery.newest_state(own.directory, run.device)
            weights = state["weights"]
        run.model.load_state_dict(weights)
    except (DataError, TypeError, KeyError, RuntimeError):
        own.console.print(f"note: {printable(own.directory)}: damaged, and made again")
        return None
    return summary


def begin(own: Training, place: str) -> None:
    """Restore a stage that was interrupted, or begin its record; print what trains."""
    run, console = own.run, own.console
    state, _ = recovery.newest_state(own.directory, run.device)
    trained = sum(weight.numel() for weight in run.model.parameters() if weight.requires_grad)
    console.print(f"{place}: {counted('step', run.clock.total_steps)}, {counted('parameter', trained)} to train")
    if state and not reader.completed_summary(own.directory):
        restore(run, own.recorder, own.checkpoints, state)
        console.print(f"{place}: resumed after step {run.progress.step:,}")
        return
    own.recorder.restart()
    own.recorder.record_config(*own.texts, step=0)
    own.save(run.clock.at(0), None, False)  # a state to return to


def write_files(own: Training, stage: Stage, outcome: Outcome) -> dict:
    """Write the curves of a stage and its summary, which is returned."""
    run, directory = own.run, own.directory
    summary = {
        "stage": stage.name,
        "status": outcome.status,
        "best": run.progress.best,
        "final": {split: own.recorder.last(split) for split in ("train", "val")},
        "steps": outcome.now.step,
        "epochs": outcome.now.epochs,
        "seconds": round(own.recorder.seconds, 3),
        "notes": own.notes,
    }
    try:
        title = f"pretraining, {stage.name}: {title_of_description(own.saved['description'])}"
        curves_plot.draw_run(directory, own.recorder.rows, summary, title)
        rundir.write_summary(directory, summary)
    except OSError as error:
        what = f"{printable(directory)}: curves and summary could not be written ({error.strerror})"
        own.console.print(f"warning: {what}")
    return summary


def said(summary: dict, run: Run) -> str:
    """Return the best evaluation of a stage in words."""
    best = summary["best"]
    if not best:
        return f"{summary['status']} after {counted('step', summary['steps'])}"
    scores = {key: best[key] for key in ("loss", score_of(run.data.task).name)}
    return f"best val {figures(scores)}  (epoch {epochs(run.clock.at(best['step']).epochs)})"
