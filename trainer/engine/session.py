"""One run in its directory, from what was built to what is left of it."""

import copy
import statistics
import traceback
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from trainer.base import device as machine
from trainer.base.clock import Clock
from trainer.base.device import out_of_memory
from trainer.base.errors import ConfigError, Diverged, Interrupted, MachineError, UserError
from trainer.base.layers import decay_parameters
from trainer.base.text import printable
from trainer.config import hydra_context
from trainer.engine import advice, recovery
from trainer.engine import summary as report
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.run import Outcome, Run
from trainer.engine.state import capture, restore
from trainer.rundir import checkpoint, curves_plot, resume
from trainer.rundir import directory as rundir
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

ROLLBACKS = 3  # a run that diverges again after so many has diverged
SLOWER = 0.5  # the learning rate after a rollback, of the one before


class Training:
    """One run in a directory that is this process's alone.

    Args:
        changed: keys of the configuration that are others than the run had, with both values, where it goes on.
    """

    def __init__(self, cfg: DictConfig, run: Run, directory: Path, typed: list[str], changed: dict) -> None:
        self.cfg, self.run, self.directory = cfg, run, directory
        self.digest = resume.digest(cfg)
        self.verdicts: list[str] = []
        self.warned = False
        self.best: nn.Module | None = None
        if not cfg.resume.run:
            describe(directory, cfg, typed)
        state, skipped = recovery.newest(directory, run.device) if cfg.resume.run else (None, [])
        begun = (directory / "run.log").exists()
        self.console = Console(directory / "run.log", silent=hydra_context.sweep() is not None)
        self.console.decisions(report.decisions(cfg), report.facts(run))
        for line in (*skipped, *run.data.notes, *advice.advice(cfg, run)):
            self.console.say(f"note: {line}")
        self.curves = Recorder(directory, run.data.task, self.console.say)
        self.checkpoints = Checkpoints(directory, run.monitor, state["best"] if state else None)
        if state:
            if state["step"] > run.clock.total_steps:
                raise ConfigError(
                    f"epochs={cfg.epochs}: the run has done more already, {state['step'] / run.clock.steps_per_epoch:g}; epochs=+N adds some"
                )
            restore(run, self.curves, state, set(changed))
            self.console.say(report.resumed(run, changed))
        elif begun:
            self.curves.begin_anew()
            self.console.say(f"note: {directory}: no checkpoint to go on from; it begins anew")
        if begun:
            describe(directory, cfg, typed)
        self.console.record(report.weights(run.model))
        if not state:
            self.curves.decisions(OmegaConf.to_yaml(cfg), typed, first_batch(run))
            if cfg.on_nan == "rollback" or cfg.on_oom == "halve":
                self.save(run.clock.at(0), None, False)  # so that there is a state to go back to

    def do(self) -> float | None:
        """Train and score. Errors: UserError."""
        summary = {
            "status": "failed",
            "seed": self.cfg.seed,
            "device": machine.describe(self.run.device),
            "versions": rundir.versions(),
        }
        try:
            outcome = self.fit()
            said = [stop.verdict for stop in self.run.slots.stop if getattr(stop, "verdict", "")]
            summary |= {"status": outcome.status, **self.results(outcome), "verdicts": [*self.verdicts, *said]}
            self.curves.hparams(report.settings(self.cfg, self.run), report.measures(summary))
        except (KeyboardInterrupt, Interrupted):
            summary["status"] = "interrupted"
            raise
        except Exception:
            self.console.record(traceback.format_exc())
            raise
        finally:
            unwritten = self.conclude(summary)
        report.farewell(self.console, summary, self.run, self.directory)
        if problem := self.complaint(outcome) or unwritten:
            self.console.record(str(problem))
            raise problem
        return (summary["best"] or {}).get(self.run.monitor)

    def save(self, now: Clock, scored: dict | None, best: bool) -> None:
        """Write a checkpoint, or say once that the disk does not take it."""
        try:
            self.checkpoints.save(
                capture(self.run, self.curves, self.checkpoints, now, scored) | {"config": self.digest}, best
            )
        except OSError as error:
            if not self.warned:
                newest = self.checkpoints.newest()
                left = f"that of update {newest.stem.removeprefix('step-')} stands" if newest else "there is none yet"
                why = f"the checkpoint of update {now.step} could not be written ({error.strerror}); {left}; training goes on"
                self.console.say(f"warning: {printable(self.directory)}: {why}")
            self.warned = True

    def conclude(self, summary: dict) -> MachineError | None:
        """Write summary.json, curves.png and the best weights, however the run ended, as far as the disk takes them. Returns what to tell where it is not the summary."""
        self.curves.close()
        self.console.flush()
        summary["incomplete"] = [
            *(["checkpoints"] if self.checkpoints.failed else []),
            *self.curves.incomplete,
            *self.console.incomplete,
        ]
        try:
            rundir.write_summary(self.directory, summary)
            files = (
                {}
                if hydra_context.sweep()
                else {"curves.png": lambda path: curves_plot.draw(self.curves.rows, path, resume.shortcoming(summary))}
            )  # a sweep draws those of its jobs
            if self.best:
                files["weights.safetensors"] = lambda path: checkpoint.export(self.best, path)
            for name, make in files.items():
                try:
                    make(self.directory / name)
                except OSError as error:
                    self.console.say(
                        f"warning: {printable(self.directory)}/{name}: could not be written ({error.strerror})"
                    )
                    summary["incomplete"].append(name)
                    rundir.write_summary(self.directory, summary)
        except OSError as error:
            place = printable(self.directory)
            return MachineError(
                f"{place}/summary.json: could not be written ({error.strerror}); make room, then train resume={place} writes it"
            )
        return None

    def fit(self) -> Outcome:
        """Train, and where the configuration asks for it try again what diverged or found no memory. Errors: MachineError."""
        rollbacks, before = 0, None
        while True:
            outcome = None
            try:
                outcome = fit(self.run, self.curves, self.checkpoints, self.console, self.save)
            except Exception as error:
                if not out_of_memory(error):
                    raise
            if outcome is None:
                self.halve()
            elif outcome.status == "diverged" and self.cfg.on_nan == "rollback" and rollbacks < ROLLBACKS:
                rollbacks += 1
                before = self.roll_back(outcome.bad, min(outcome.bad, before or outcome.bad))
                if before is None:
                    break
            else:
                break
        if outcome.skipped:
            self.tell(f"{outcome.skipped:,} updates were skipped: their loss or gradient was no number")
        return outcome

    def halve(self) -> None:
        """Go on with smaller batches. Errors: MachineError where nobody asked for that."""
        if self.cfg.on_oom != "halve":
            raise recovery.does_not_fit(self.run)
        before, self.cfg = self.run.batch_size, recovery.halved(self.cfg, self.run)
        self.run = None  # its memory is needed
        self.run = build_run(self.cfg)
        state, _ = recovery.newest(self.directory, self.run.device)
        restore(self.run, self.curves, state)
        self.tell(
            f"batch_size={before} does not fit into memory; going on after update {state['step']:,} with "
            f"batch_size={self.cfg.batch_size} accumulate={self.cfg.accumulate}, which are the same updates"
        )

    def roll_back(self, bad: int, before: int) -> int | None:
        """Go back to a state older than the update `before`, with a lower rate; returns its update, None where there is none."""
        state, _ = recovery.newest(self.directory, self.run.device, before=before)
        if state is None:
            return None
        rates = [group["base_lr"] * SLOWER for group in self.run.optimizer.param_groups]
        restore(self.run, self.curves, state)
        for group, rate in zip(self.run.optimizer.param_groups, rates):
            group["base_lr"] = rate
        self.tell(
            f"the loss stopped being a number in update {bad:,}; rolled back to after update {state['step']:,}, on with optimizer.lr={rates[0]:.4g}"
        )
        return state["step"]

    def tell(self, line: str) -> None:
        self.verdicts.append(line)
        self.console.say(f"note: {line}")

    def complaint(self, outcome: Outcome) -> UserError | None:
        """What to tell of a run that did not end as it should."""
        if outcome.status == "diverged":
            more = ", on_nan=skip" if self.cfg.on_nan == "stop" else ""
            where = recovery.began(self.cfg, self.directory, outcome.bad)
            return Diverged(
                f"the loss stopped being a number in update {outcome.bad:,}: {where}; try a smaller optimizer.lr, reg=grad_clip, warmup=linear{more}"
            )
        if outcome.status == "interrupted":
            return Interrupted(
                f"interrupted after {outcome.now.step} updates; go on with: train resume={printable(self.directory)}",
                outcome.signal,
            )
        return None

    def results(self, outcome: Outcome) -> dict:
        """Keep the last weights, score the best ones on the test split, and say what the run came to."""
        run = self.run
        with run.evaluated() as scored:
            last = {name: value.clone() for name, value in scored.state_dict().items()}
        test = None
        if outcome.status in resume.ENDED:
            self.save(outcome.now, last, False)
            self.best = copy.deepcopy(run.model)
            self.best.load_state_dict(self.checkpoints.best_weights(run.device) if self.checkpoints.best else last)
            test = run.score(self.best, run.test, run.tta)
            self.curves.scored("test", outcome.now, test)
            if remark := report.guessing(run, self.checkpoints.best):
                self.tell(remark)
        rates = [row["throughput"] for row in self.curves.rows if row["split"] == "train"]
        return {
            "best": self.checkpoints.best,
            "final": {split: self.curves.last(split) for split in ("train", "val")},
            "test": test,
            "steps": outcome.now.step,
            **({"diverged_in": outcome.bad} if outcome.bad else {}),
            "epochs": outcome.now.step / outcome.now.steps_per_epoch,
            "seconds": round(self.curves.seconds, 3),
            "images_per_second": round(statistics.median(rates), 1) if rates else None,
            "parameters": report.parameters(run.model),
            "zeros": sum(int((weight == 0).sum()) for weight in decay_parameters(run.model)),
            "weights_sha256": checkpoint.digest(run.model),
        }


def describe(directory: Path, cfg: DictConfig, typed: list[str]) -> None:
    """Errors: MachineError where the disk does not even take what the run is."""
    try:
        rundir.write_config(directory, cfg, typed)
    except OSError as error:
        raise MachineError(
            f"output={printable(directory)}: the run cannot be begun there ({error.strerror}); make room, or output=DIR names another place"
        ) from None


def first_batch(run: Run) -> torch.Tensor | None:
    """Images of the training split as the preprocessing leaves them, for TensorBoard; None for tables."""
    images, _ = run.train.batch(torch.arange(min(32, len(run.train)), device=run.device))
    return images if images.dim() == 4 else None
