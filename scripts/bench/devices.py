"""Time the steps of ResNet-20 on random images of CIFAR's shape: by two ranks with a thread each, and by one process.

    python scripts/bench/devices.py [--rounds 5] [--steps 8] [--batch-size 128] [OVERRIDE ...]

The program starts itself in two processes with torchrun. In each round one process takes some steps with one thread,
then with two, then both processes take them together. The first two steps of each are not counted. In brackets:
relative to the ranks. Processor time is that of the process, or of rank 0. The curves are compared.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from turns import random_images

from trainer.base import ranks
from trainer.base.clock import Clock
from trainer.base.memory import keep_freed
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.followers import follow, leading
from trainer.engine.loop import fit
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

WARM = 2  # steps
RANKS = 2
WAYS = {"one process, 1 thread": (1, False), "one process, 2 threads": (2, False), "2 ranks, 1 thread each": (1, True)}


def steps(words: list[str], threads: int, together: bool) -> tuple[list[float], list[float], list[float]]:
    """Return wall-clock and processor seconds of each step behind the first ones, and the losses of all."""
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        cfg = compose("config", [*words, f"threads={threads}"])
    run, invocation, ends = build_run(cfg), Invocation(), []
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), run.data.task)

        def save(now: Clock, weights: dict | None, best: bool) -> None:
            recorder.state_dict()
            ends.append((time.perf_counter(), time.process_time()))

        train = leading(cfg, invocation) if together else fit
        train(run, recorder, Console(silent=True), save)
        recorder.close()
    wall, processor = (
        [after - before for before, after in itertools.pairwise(times[WARM - 1 :])] for times in zip(*ends)
    )
    return wall, processor, [row["loss"] for row in recorder.rows if row["split"] == "train"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    if not ranks.is_launched():
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as train does: threads that wait leave the cores to others
        os.execv(sys.executable, [*launcher, *sys.argv])
    keep_freed()  # as train does
    ranks.begin()
    if ranks.place.rank:
        follow()
        return
    with ranks.dismissed(), tempfile.TemporaryDirectory() as folder:
        words = [*random_images(Path(folder), 2 * arguments.batch_size), "model=resnet20", "norm=batch"]
        words += ["log_every=1", "save_every=1st", "device=cpu", f"epochs={arguments.steps}st"]
        words += [f"batch_size={arguments.batch_size}", *arguments.overrides]
        wall, processor, losses = {name: [] for name in WAYS}, {name: [] for name in WAYS}, {}
        for _ in range(arguments.rounds):
            for name, way in WAYS.items():
                more, work, losses[name] = steps(words, *way)
                wall[name] += more
                processor[name] += work
        print(f"torch {torch.__version__}, batch_size={arguments.batch_size}, {arguments.rounds} rounds")
        for name in WAYS:
            figures = []
            for times, measure in ((wall, statistics.median), (wall, min), (processor, statistics.median)):
                value, base = measure(times[name]), measure(times["2 ranks, 1 thread each"])
                figures.append(f"{value * 1e3:7.1f} ms ({value / base:.2f})")
            print(f"{name:24} median {figures[0]}  fastest {figures[1]}  processor {figures[2]}")
        worst = max(abs(a - b) for a, b in zip(losses["one process, 1 thread"], losses["2 ranks, 1 thread each"]))
        print(f"largest difference of the training losses: {worst:.1e}")


if __name__ == "__main__":
    main()
