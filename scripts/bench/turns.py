"""Epochs of the runner and of hand-written loops in turn within one process, so that all meet the same moods of the machine."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.checkpoint import Checkpoints
from trainer.console import Console
from trainer.curves import Curves
from trainer.loop import Run, fit


class Turns:
    """Stands in for the sampler: the runner asks it for the order of each epoch, and meanwhile the peers run one of their own."""

    def __init__(self, peers: dict[str, Callable[[], None]]) -> None:
        self.peers = peers
        self.times: dict[str, list[float]] = {name: [] for name in ("runner", *peers)}
        self._left = None

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        if self._left is not None:
            self.times["runner"].append(time.perf_counter() - self._left)
        for name, peer in self.peers.items():
            start = time.perf_counter()
            peer()
            self.times[name].append(time.perf_counter() - start)
        self._left = time.perf_counter()
        return torch.randperm(len(losses), generator=rng)


def race(title: str, run: Run, peers: dict[str, Callable[[], None]], group: int) -> None:
    """Print the median seconds a step of each, `group` epochs a sample, and the median of the runner's ratio to it."""
    turns = Turns(peers)
    with tempfile.TemporaryDirectory() as folder:
        curves = Curves(Path(folder), run.data.task)
        fit(replace(run, sampler=turns), curves, Checkpoints(Path(folder), run.monitor), Console())
        curves.close()
    steps = group * run.clock.steps_per_epoch
    samples = {peer: [sum(times[at : at + group]) / steps for at in range(group, len(times) - group + 1, group)] for peer, times in turns.times.items()}
    for peer, times in samples.items():
        ratio = statistics.median(a / b for a, b in zip(samples["runner"], times))
        print(f"{title:9s} {peer:18s} {statistics.median(times) * 1e6:8.0f} us a step   runner / this = {ratio:.3f}")
