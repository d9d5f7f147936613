"""Time epochs of trainer and of hand-written loops alternately in one process, so that they share the machine's noise.

Also builds the runs to time, from any overrides, on random images of any shape.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
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
from trainer.engine import build, build_model
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.progress import Progress
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder


class Turns:
    """Sampler that runs and times one epoch of every peer whenever the loop asks for the order of an epoch."""

    def __init__(self, peers: dict[str, Callable[[], None]]) -> None:
        self.peers = peers
        self.times: dict[str, list[float]] = {name: [] for name in ("trainer", *peers)}
        self._epoch_start = None

    def __call__(self, epoch: int, targets: Tensor, losses: Tensor, rng: torch.Generator) -> Tensor:
        if self._epoch_start is not None:
            self.times["trainer"].append(time.perf_counter() - self._epoch_start)
        for name, peer in self.peers.items():
            start = time.perf_counter()
            peer()
            self.times[name].append(time.perf_counter() - start)
        self._epoch_start = time.perf_counter()
        return torch.randperm(len(losses), generator=rng)


def on_random_images(shape: tuple[int, ...], steps: int, epochs: int, batch_size: int, *overrides: str) -> Run:
    """Build a run on random images of `shape`, with `steps` steps an epoch and no validation split.

    The overrides choose the model with its parts, optimizer, regularisers, preprocessing and averaging; everything
    else, such as loss and schedule, keeps its default.
    """
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (steps * batch_size, *shape), generator=random, dtype=torch.uint8)
    split = Split(images, F.one_hot(torch.randint(0, 10, (len(images),), generator=random), 10).float())
    data = Splits(train=split, val=Split(images[:0], split.targets[:0]), test=split, task="classification")
    common = ["data.val_fraction=0", "device=cpu"]
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        cfg = compose("config", [*common, *overrides, f"epochs={epochs}", f"batch_size={batch_size}"])
        digits = build_run(compose("config", [*common, "model=linear", f"epochs={epochs}"]))
    invocation, cpu = Invocation(), torch.device("cpu")
    slots = build.make_slots(cfg, data.task, digits.criterion, invocation)
    train, val, test = (
        Loader(part, factory(cfg, "preprocess", invocation)().fit(images), cpu)
        for part in (data.train, data.val, data.test)
    )
    sample = build.sample_batch(train, cfg.seed)
    model = build_model.make_model(cfg, data, sample, slots, cpu, invocation)
    build_model.initialize(cfg, model, sample, train.targets, digits.criterion, invocation)
    return replace(
        digits,
        data=data, train=train, val=val, test=test, model=model, forward=model, slots=slots, batch_size=batch_size,
        optimizer=build.make_optimizer(cfg, model, batch_size, invocation),
        averaging=factory(cfg, "averaging", invocation)(model),
        clock=Clock(total_steps=steps * epochs, steps_per_epoch=steps), eval_steps=steps,
        progress=Progress(losses=torch.zeros(len(train))),
    )  # fmt: skip


def random_images(folder: Path, samples: int) -> list[str]:
    """Write random images of CIFAR's shape, and return the overrides that train on them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (samples, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, samples)
    np.savez(folder / "random.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=np.arange(20) % 10)
    return ["data=npz", f"data.path={folder / 'random.npz'}", "data.val_fraction=0"]


def plain_loop(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Return a function that trains one epoch by a hand-written loop on the run's data.

    The loop has hard labels, no metric and no logging.
    """
    images, labels = run.train.images, run.train.targets.argmax(1)

    def epoch() -> None:
        for indices in torch.randperm(len(images)).split(run.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[indices]), labels[indices])
            loss.backward()
            optimizer.step()

    return epoch


def race(run: Run, peers: dict[str, Callable[[], None]], group: int) -> dict[str, tuple[float, float]]:
    """Time the run and its peers in turn, `group` epochs a sample; the first sample is a warm-up and is left out.

    Returns for `trainer` and each peer the median seconds a step, and the median ratio of trainer's time to it.
    """
    turns = Turns(peers)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), run.data.task)
        with redirect_stdout(io.StringIO()):  # lines of epochs cost their time, and are not shown
            fit(replace(run, sampler=turns), recorder, Console())
        recorder.close()
    steps = group * run.clock.steps_per_epoch
    samples = {
        name: [sum(times[at : at + group]) / steps for at in range(group, len(times) - group + 1, group)]
        for name, times in turns.times.items()
    }
    return {
        name: (statistics.median(times), statistics.median(a / b for a, b in zip(samples["trainer"], times)))
        for name, times in samples.items()
    }


def print_results(title: str, results: dict[str, tuple[float, float]]) -> None:
    """Print the results of `race`, one line each."""
    for name, (seconds, ratio) in results.items():
        compared = "" if name == "trainer" else f"   trainer / {name} = {ratio:.3f}"
        print(f"{title:9s} {name:18s} {seconds * 1e6:8.0f} us per step{compared}")
