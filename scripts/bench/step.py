"""One training step of the runner, logging on at its defaults, against hand-written loops, in turn within one process.

    python scripts/bench/step.py [--epochs 300] [OVERRIDE ...]

The peer is the loop an expert writes without a library: tensors resident on the device, a permutation an epoch, hard labels, no
metric, no logging. It is timed with torch's default optimizer (as most people write it) and with the fused one (as the runner's).
The loops take turns every epoch, so that all meet the same moods of the machine; a sample is ten epochs of each.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from trainer import build, conf
from trainer.checkpoint import Checkpoints
from trainer.console import Console
from trainer.curves import Curves
from trainer.loop import Run, fit

DEFAULTS = ["model=mlp", "device=cpu", "data.val_share=0"]
OPTIMIZERS = {
    "momentum": lambda weights, fused: torch.optim.SGD(weights, lr=0.05, momentum=0.9, fused=fused),
    "adam": lambda weights, fused: torch.optim.Adam(weights, lr=0.001, fused=fused),
}
GROUP = 10  # epochs a sample


class Turns:
    """Stands in for the sampler: the runner asks it for the order of each epoch, and meanwhile the peers run one of their own."""

    def __init__(self, peers: dict[str, Callable[[], None]]) -> None:
        self.peers = peers
        self.times: dict[str, list[float]] = {name: [] for name in ("runner", *peers)}
        self._left = None

    def __call__(self, epoch: int, losses: Tensor, rng: torch.Generator) -> Tensor:
        if self._left is not None:
            self.times["runner"].append(time.perf_counter() - self._left)
        for name, peer in self.peers.items():
            start = time.perf_counter()
            peer()
            self.times[name].append(time.perf_counter() - start)
        self._left = time.perf_counter()
        return torch.randperm(len(losses), generator=rng)


def bare(run: Run, optimizer_name: str, fused: bool | None) -> Callable[[], None]:
    """An epoch of the hand-written loop on the runner's own data."""
    images, labels = run.train.images.flatten(1), run.train.targets.argmax(1)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = OPTIMIZERS[optimizer_name](model.parameters(), fused)

    def epoch() -> None:
        for indices in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[indices]), labels[indices])
            loss.backward()
            optimizer.step()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    for name in OPTIMIZERS:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf.folder())):
            run = build.run(compose("config", [*DEFAULTS, f"optimizer={name}", f"epochs={arguments.epochs}", *arguments.overrides]))
        turns = Turns({"bare loop": bare(run, name, None), "bare loop, fused": bare(run, name, True)})
        with tempfile.TemporaryDirectory() as folder:
            curves = Curves(Path(folder), run.data.task)
            fit(replace(run, sampler=turns), curves, Checkpoints(Path(folder), run.monitor), Console())
            curves.close()
        steps = GROUP * run.clock.steps_per_epoch
        samples = {peer: [sum(times[at : at + GROUP]) / steps for at in range(GROUP, len(times) - GROUP, GROUP)] for peer, times in turns.times.items()}
        for peer, times in samples.items():
            ratio = statistics.median(a / b for a, b in zip(samples["runner"], times))
            print(f"{name:9s} {peer:18s} {statistics.median(times) * 1e6:6.0f} us a step   runner / this = {ratio:.3f}")


if __name__ == "__main__":
    main()
