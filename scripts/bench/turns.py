"""Epochs of the runner and of hand-written loops in turn within one process, so that all share the machine's noise.

Also the runs to time: any words on random images of any shape.
"""

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

from trainer.base.clock import Clock
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.data.loader import Loader
from trainer.data.splits import Split, Splits
from trainer.engine import build
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.run import Progress, Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder


class Turns:
    """Sampler that lets the peers run an epoch of their own whenever the runner asks for the order of one."""

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


def on_random_images(shape: tuple[int, ...], steps: int, epochs: int, batch_size: int, *words: str) -> Run:
    """Return a run of the overrides on random bytes, so many steps an epoch, without a validation split."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (steps * batch_size, *shape), generator=random, dtype=torch.uint8)
    split = Split(images, F.one_hot(torch.randint(0, 10, (len(images),), generator=random), 10).float())
    data = Splits(train=split, val=Split(images[:0], split.targets[:0]), test=split, task="classification")
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        cfg = compose(
            "config", ["data.val_fraction=0", "device=cpu", *words, f"epochs={epochs}", f"batch_size={batch_size}"]
        )
        digits = build_run(compose("config", ["data.val_fraction=0", "device=cpu", "model=linear", f"epochs={epochs}"]))
    invocation, cpu = Invocation(), torch.device("cpu")
    chosen = build.make_slots(cfg, data.task, invocation)
    train, val, test = (
        Loader(part, factory(cfg, "preprocess", invocation)().fit(images), cpu)
        for part in (data.train, data.val, data.test)
    )
    model = build.make_model(cfg, data, train, build.sample_batch(train, cfg.seed), chosen, cpu, invocation)
    return replace(
        digits,
        data=data, train=train, val=val, test=test, model=model, forward=model, slots=chosen, batch_size=batch_size,
        optimizer=build.make_optimizer(cfg, model, batch_size, invocation),
        averaging=factory(cfg, "averaging", invocation)(model),
        clock=Clock(total_steps=steps * epochs, steps_per_epoch=steps), eval_steps=steps,
        progress=Progress(losses=torch.zeros(len(train))),
    )  # fmt: skip


def plain_loop(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Return an epoch of a hand-written loop on the run's data: hard labels, no metric, no logging."""
    images, labels = run.train.images, run.train.targets.argmax(1)

    def epoch() -> None:
        for indices in torch.randperm(len(images)).split(run.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[indices]), labels[indices])
            loss.backward()
            optimizer.step()

    return epoch


def race(run: Run, peers: dict[str, Callable[[], None]], group: int) -> dict[str, tuple[float, float]]:
    """Median seconds a step of each, `group` epochs a sample, and the median of the runner's ratio to it."""
    turns = Turns(peers)
    with tempfile.TemporaryDirectory() as folder:
        curves = Recorder(Path(folder), run.data.task)
        fit(replace(run, sampler=turns), curves, Console())
        curves.close()
    steps = group * run.clock.steps_per_epoch
    samples = {
        peer: [sum(times[at : at + group]) / steps for at in range(group, len(times) - group + 1, group)]
        for peer, times in turns.times.items()
    }
    return {
        peer: (statistics.median(times), statistics.median(a / b for a, b in zip(samples["runner"], times)))
        for peer, times in samples.items()
    }


def tell(title: str, results: dict[str, tuple[float, float]]) -> None:
    for peer, (seconds, ratio) in results.items():
        print(f"{title:9s} {peer:18s} {seconds * 1e6:8.0f} us a step   runner / this = {ratio:.3f}")
