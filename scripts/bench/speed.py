"""Microseconds a step of every optimizer and regulariser on an MLP of MNIST's shape, as the table docs/speed.md.

    python scripts/bench/speed.py [--samples 9] [--options optimizer=adam ...] [--output docs/speed.md]

The net is 784-128-128-10 with batch norms, the batch 64. Every option is timed in turn with the naive loop, its net and
its optimizer as most people write them: Linear, BatchNorm1d, ReLU, torch.optim.SGD(model.parameters(), lr,
momentum=0.9); for adam torch.optim.Adam. A regulariser is timed with the momentum default and told against the same run
without it. A sample is an epoch of 64 steps.
"""

import argparse
import platform
import tempfile
from collections.abc import Callable
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

SHAPE = (1, 28, 28)
NAIVE = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.9),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=0.001),
}


def by_hand() -> nn.Module:
    hidden = [nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))


def row(word: str, samples: int) -> str:
    """One line of the table: option, microseconds a step, share of the naive loop's."""
    group, _, option = word.partition("=")
    decision = f"{group}=[{option}]" if group == "reg" else word
    words = ["model=mlp", "norm=batch", *([] if group == "optimizer" else ["optimizer=momentum"]), decision]
    try:
        run = on_random_images(SHAPE, 64, samples + 2, 64, *words)
    except ConfigError as error:
        return f"| {word} | | {str(error).partition('; ')[0].partition(': ')[2]} |"
    naive = "Adam" if word == "optimizer=adam" else "SGD"
    model = by_hand()
    peers = {f"naive {naive}": plain_loop(run, model, NAIVE[naive](model.parameters()))}
    if group == "reg":
        plain = on_random_images(SHAPE, 64, 1, 64, "model=mlp", "norm=batch", "optimizer=momentum")
        peers = {"the same run without it": endless(plain)}
    (name,) = peers
    results = race(run, peers, group=1)
    own, peer = results["runner"][0] * 1e6, results[name][0] * 1e6
    return f"| {word} | {own:.0f} | {results[name][1]:.2f} of {name} ({peer:.0f}) |"


def endless(run: Run) -> Callable[[], None]:
    """An epoch of the runner's own loop, each time it is called."""

    def epoch() -> None:
        run.progress.step = 0
        with tempfile.TemporaryDirectory() as folder:
            curves = Recorder(Path(folder), run.data.task)
            fit(run, curves, Console())
            curves.close()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--options", nargs="*")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    words = arguments.options or [
        f"{group}={option}" for group in ("optimizer", "reg") for option in catalog.options(group)
    ]
    lines = ["| option | us a step | against the naive loop (us a step) |", "| --- | ---: | --- |"]
    print("\n".join(lines))
    for word in words:
        lines.append(row(word, arguments.samples))
        print(lines[-1], flush=True)
    if arguments.output:
        about = f"torch {torch.__version__.partition('+')[0]}, {platform.machine()}, {torch.get_num_threads()} threads"
        how = " ".join(__doc__.split("    python")[1].split("]")[-1].split())
        head = f"# Cost of a step\n\nMade by scripts/bench/speed.py ({about}): {how}\n\n"
        arguments.output.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
