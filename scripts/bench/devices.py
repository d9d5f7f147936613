"""Time the steps of ResNet-20 on random images of CIFAR's shape: by two ranks with a thread each, and by one process.

    python scripts/bench/devices.py [--rounds 5] [--steps 8] [--batch-size 128] [OVERRIDE ...]

The program starts itself in two processes with torchrun. In each round one process takes some steps with one thread,
then with two, then both processes take them together. The first two steps of each are not counted. The curves are
compared.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from trainer.base import ranks
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.followers import follow, leading
from trainer.engine.loop import fit, never
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

WARM = 2  # steps
RANKS = 2
WAYS = {"one process, 1 thread": (1, False), "one process, 2 threads": (2, False), "2 ranks, 1 thread each": (1, True)}


def data(folder: Path, samples: int) -> str:
    """Write random images, and return the override of their path."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (samples, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, samples)
    np.savez(folder / "random.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=np.arange(20) % 10)
    return f"data.path={folder / 'random.npz'}"


def steps(words: list[str], threads: int, together: bool) -> tuple[list[float], list[float]]:
    """Return the seconds of each step behind the first ones, and the losses of all."""
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        cfg = compose("config", [*words, f"threads={threads}"])
    run, invocation = build_run(cfg), Invocation()
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), run.data.task)
        train = leading(cfg, invocation) if together else fit
        train(run, recorder, Console(silent=True), never)
        recorder.close()
    rows = [row for row in recorder.rows if row["split"] == "train" and row["step"]]
    ends = [row["seconds"] for row in rows]
    return [after - before for before, after in zip(ends[WARM - 1 :], ends[WARM:])], [row["loss"] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    if not ranks.is_launched():
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
        os.execv(sys.executable, [*launcher, *sys.argv])
    ranks.begin()
    if ranks.place.rank:
        follow()
        return
    with ranks.dismissed(), tempfile.TemporaryDirectory() as folder:
        words = ["data=npz", data(Path(folder), 2 * arguments.batch_size), "data.val_fraction=0", "model=resnet20"]
        words += ["norm=batch", "log_every=1", "device=cpu", f"epochs={arguments.steps}st"]
        words += [f"batch_size={arguments.batch_size}", *arguments.overrides]
        times, losses = {name: [] for name in WAYS}, {}
        for _ in range(arguments.rounds):
            for name, way in WAYS.items():
                seconds, losses[name] = steps(words, *way)
                times[name] += seconds
        print(f"torch {torch.__version__}, batch_size={arguments.batch_size}, {arguments.rounds} rounds")
        for name, seconds in times.items():
            base, fastest = times["2 ranks, 1 thread each"], min(seconds)
            ratio = statistics.median(seconds) / statistics.median(base)
            print(
                f"{name:24} {statistics.median(seconds) * 1e3:8.1f} ms a step (fastest {fastest * 1e3:.1f}),"
                f" {ratio:.2f} of the ranks' (fastest {fastest / min(base):.2f})"
            )
        worst = max(abs(a - b) for a, b in zip(losses["one process, 1 thread"], losses["2 ranks, 1 thread each"]))
        print(f"largest difference of the training losses: {worst:.1e}")


if __name__ == "__main__":
    main()
