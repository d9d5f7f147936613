"""Time a step of every optimizer and regulariser on an MLP of MNIST's shape.

    python scripts/bench/speed.py [--samples 9] [--options optimizer=adam ...]

The net is 784-128-128-10 with batch norms, the batch size 64. An optimizer is timed in turn with the naive loop, the
same net and optimizer as most people write them: Linear, BatchNorm1d, ReLU, torch.optim.SGD(model.parameters(), lr,
momentum=0.9); for adam torch.optim.Adam. A regulariser is timed with the momentum default, in turn with the same run
without it. A sample is an epoch of 64 steps.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from turns import on_random_images, plain_loop, race

from trainer.base.errors import ConfigError
from trainer.config import catalog
from trainer.engine.loop import fit
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

SHAPE, STEPS, BATCH_SIZE = (1, 28, 28), 64, 64
MLP = ("model=mlp", "norm=batch")
NAIVE = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.9),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=0.001),
}
HEADER = ["| option | us per step | relative to (us per step) |", "| --- | ---: | --- |"]


def by_hand() -> nn.Module:
    """Return the MLP as one writes it by hand."""
    hidden = [nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))


def row(choice: str, samples: int) -> str:
    """Time an option such as `reg=dropout`; return its line of the table."""
    group, _, option = choice.partition("=")
    override = f"reg=[{option}]" if group == "reg" else choice
    overrides = [override] if group == "optimizer" else ["optimizer=momentum", override]
    try:
        run = on_random_images(SHAPE, STEPS, samples + 2, BATCH_SIZE, *MLP, *overrides)
    except ConfigError as error:
        return f"| {choice} | | {str(error).partition('; ')[0].partition(': ')[2]} |"
    if group == "reg":
        name, plain = "the same run without it", ["optimizer=momentum"]
        own, other, ratio = in_turn(run, on_random_images(SHAPE, STEPS, samples + 2, BATCH_SIZE, *MLP, *plain))
    else:
        naive, model = "Adam" if choice == "optimizer=adam" else "SGD", by_hand()
        name = f"naive {naive}"
        results = race(run, {name: plain_loop(run, model, NAIVE[naive](model.parameters()))}, group=1)
        own, (other, ratio) = results["trainer"][0], results[name]
    return f"| {choice} | {own * 1e6:.0f} | {ratio:.2f} of {name} ({other * 1e6:.0f}) |"


def in_turn(*runs: Run) -> tuple[float, float, float]:
    """Return the median seconds a step of two runs that train an epoch in turn, and the median ratio of the times."""
    with tempfile.TemporaryDirectory() as folder:
        recorders, rounds = [], []
        for number, run in enumerate(runs):
            (directory := Path(folder) / str(number)).mkdir()
            recorders.append(Recorder(directory, run.data.task))
        for until in range(STEPS, runs[0].clock.total_steps, STEPS):
            rounds.append([])
            for run, recorder in zip(runs, recorders):
                start = time.perf_counter()
                fit(run, recorder, Console(silent=True), until=until)
                rounds[-1].append((time.perf_counter() - start) / STEPS)
        for recorder in recorders:
            recorder.close()
    own, other = (statistics.median(times) for times in zip(*rounds[1:]))  # the first one warms up
    return own, other, statistics.median(one / two for one, two in rounds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--options", nargs="*", help="optimizers and regularisers to time (default: all)")
    arguments = parser.parse_args()
    choices = arguments.options or [
        f"{group}={option}" for group in ("optimizer", "reg") for option in catalog.options(group)
    ]
    print("\n".join(HEADER))
    for choice in choices:
        print(row(choice, arguments.samples), flush=True)


if __name__ == "__main__":
    main()
