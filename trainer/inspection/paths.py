"""Paths of the weights in training: snapshots from the start to the end of a run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from trainer.base.clock import Clock
from trainer.base.layers import common_rate
from trainer.engine.loop import fit
from trainer.engine.run import Run
from trainer.inspection.objective import flat
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.status import Status

FEWEST, MOST, NUMBERS = 10, 200, 2e7  # snapshots of a path, and values that all paths keep


@dataclass(frozen=True, kw_only=True)
class WeightPath:
    """The weights of a run from its start to its end.

    Args:
        name: of the optimizer.
        rate: its learning rate, before the schedule.
        steps: of the snapshots.
        weights: (snapshots, P), on the CPU, only finite ones.
        status: how the run ended.
    """

    name: str
    rate: float
    steps: list[int]
    weights: Tensor
    status: Status


def follow(run: Run, name: str, paths: int) -> WeightPath:
    """Train a run to its end, and return its path. The run's model has the last weights then.

    Args:
        name: of the optimizer.
        paths: how many are kept, on which the number of snapshots depends.
    """
    weights = [weight for weight in run.model.parameters() if weight.requires_grad]
    size = sum(weight.numel() for weight in weights)
    most = int(min(max(NUMBERS / size / paths, FEWEST), MOST))
    taken: dict[int, Tensor] = {}

    def take(step: int) -> None:
        now = flat([weight.detach() for weight in weights]).cpu().clone()
        if bool(now.isfinite().all()):
            taken[step] = now

    take(0)
    every = max(-(-run.clock.total_steps // most), 1)
    status = train(replace(run, save_steps=every), lambda done, evaluated, best: take(done.step))
    take(run.progress.step)
    steps = sorted(taken)
    return WeightPath(
        name=name,
        rate=common_rate(run.optimizer, "base_lr"),
        steps=steps,
        weights=torch.stack([taken[step] for step in steps]),
        status=status,
    )


def train(run: Run, save: Callable[[Clock, dict[str, Tensor] | None, bool], None]) -> Status:
    """Train a run without a directory, and return how it ended."""
    with TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), run.data.task)
        outcome = fit(run, recorder, Console(silent=True), save)
        recorder.close()
    return outcome.status
