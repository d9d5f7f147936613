"""Time a checkpoint of every epoch, and the start of a resumed run up to its first step against that of a new run.

    python scripts/bench/checkpoint.py [--rounds 3] [--pairs 5] [--epochs 6] [--steps 60] [--threads 1] [--folder DIR]
        [OVERRIDE ...]

The first part trains on random images of CIFAR's shape, without a validation split, so that only save_every writes
checkpoints: in turn with one at the end of each epoch and with none. It prints the fraction of an epoch that saving
takes (an epoch lasts from the end of one checkpoint to the end of the next; the median over all of them), and the ratio
of the whole trainings. --steps makes the epochs long enough: 5 s or more.

The second part starts whole processes in turn, each of which ends after its first step: `train OVERRIDE ...`, and
`train resume=` of a run with the same overrides whose process exited without notice after its second step.

Both parts use the overrides. By default the first part has model=resnet20 norm=batch, and the second is done twice:
without overrides, and with model=resnet20 on 60,000 random images in MNIST's file format. --folder is where the runs
are written; the speed of its disk is part of the result.
"""

import argparse
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from turns import on_random_images

from trainer.base.clock import Clock
from trainer.engine.loop import fit
from trainer.engine.state import capture
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.status import Status

EXIT_CODE = 77  # of a process that has done all its steps
EXIT_EARLY = f"""
import os

class ExitEarly:
    \"\"\"A constant learning rate; the process exits when it asks for the rate of one step more than STEPS.\"\"\"
    left = int(os.environ["STEPS"])
    def __call__(self, now):
        if not self.left:
            os._exit({EXIT_CODE})
        self.left -= 1
        return 1.0
"""


def train(
    overrides: Sequence[str], steps: int, epochs: int, saving: bool, folder: Path
) -> tuple[float, list[float], list[float]]:
    """Return the seconds of the training, of each checkpoint, and of each epoch up to the end of its checkpoint."""
    run = on_random_images((3, 32, 32), steps, epochs, 64, *overrides)
    run = replace(run, save_steps=steps if saving else None, save_seconds=float("inf"))
    recorder, checkpoints = Recorder(folder, run.data.task), Checkpoints(folder)
    save_times, epoch_times = [], []
    begun = last = time.perf_counter()

    def save(now: Clock, weights: dict | None, best: bool) -> None:
        nonlocal last
        start = time.perf_counter()
        checkpoints.save(capture(run, recorder, now, weights), best)
        end = time.perf_counter()
        save_times.append(end - start)
        epoch_times.append(end - last)
        last = end

    if fit(run, recorder, Console(silent=True), save).status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - begun
    recorder.close()
    return seconds, save_times, epoch_times


def time_checkpoints(overrides: Sequence[str], steps: int, epochs: int, rounds: int, folder: Path | None) -> None:
    """Print the time of a checkpoint, as a fraction of the epoch and in the ratio of whole trainings."""
    save_times, epoch_times, ratios, size = [], [], [], 0
    for number in range(rounds):
        seconds = {}
        for saving in (number % 2 == 0, number % 2 == 1):
            with tempfile.TemporaryDirectory(dir=folder) as name:
                seconds[saving], saves, epoch_seconds = train(overrides, steps, epochs, saving, Path(name))
                sizes = [file.stat().st_size for file in Path(name).glob("checkpoints/*.pt")]
            save_times += saves
            epoch_times += epoch_seconds
            size = max([size, *sizes])
        ratios.append(seconds[True] / seconds[False])
    fractions = [save / epoch for save, epoch in zip(save_times, epoch_times)]
    epoch, save = statistics.median(epoch_times), statistics.median(save_times)
    print(f"{' '.join(overrides)}: an epoch {epoch:.2f} s, a checkpoint {save * 1e3:.1f} ms ({size / 2**20:.1f} MiB)")
    print(
        f"  fraction of the epoch: median {statistics.median(fractions):.2%}, "
        f"largest of {len(fractions)} {max(fractions):.2%}"
    )
    print(f"  training with / without checkpoints: ratio {describe(ratios)}", flush=True)


def random_mnist(root: Path, counts: tuple[int, int] = (60_000, 10_000)) -> None:
    """Write random images and labels in MNIST's file format: big-endian sizes, then the bytes."""
    random, folder = np.random.default_rng(0), root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in zip(("train", "t10k"), counts):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        labels = random.integers(0, 10, count, dtype=np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels)


def time_process(steps: int, overrides: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of a process that exits after so many steps."""
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "STEPS": str(steps), "PYTHONPATH": path}
    command = [sys.executable, "-m", "trainer", *overrides, "allow=[exit_early]"]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != EXIT_CODE:
        sys.exit(f"{' '.join(overrides)}: {process.stderr or process.stdout}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def time_first_step(overrides: Sequence[str], pairs: int, folder: Path) -> None:
    """Print the time up to the end of the first step, of a new run and of a resumed one."""
    settings = [*overrides, "sched=constant", "sched._target_=exit_early.ExitEarly", "epochs=2"]
    output = tempfile.mkdtemp(dir=folder)
    time_process(2, [*settings, "save_every=1st", f"output={output}/killed"], folder)
    (killed,) = Path(output).glob("killed/*/*")
    commands = {"new": [*settings, f"output={output}/new"], "resumed": [f"resume={killed}", "save_every=1min"]}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(pairs + 1):
        for name in sorted(commands, reverse=number % 2 == 0):
            measured = time_process(1, commands[name], folder)
            if number:  # the first pair warms up
                times[name].append(measured)
    print(f"to the first step, {' '.join(override for override in overrides if not override.startswith('data.root='))}")
    for place, kind in enumerate(("wall-clock", "CPU")):
        new, resumed = ([pair[place] for pair in times[name]] for name in ("new", "resumed"))
        print(
            f"  {kind}: new run {statistics.median(new):.2f} s, resumed run {statistics.median(resumed):.2f} s, "
            f"ratio {describe([b / a for a, b in zip(new, resumed)])}",
            flush=True,
        )


def describe(ratios: Sequence[float]) -> str:
    """Return the median of the ratios and their range."""
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} pairs)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of the first part; 0 leaves it out")
    parser.add_argument("--pairs", type=int, default=5, help="of the second part; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60, help="steps an epoch in the first part")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.rounds:
        overrides = arguments.overrides or ["model=resnet20", "norm=batch"]
        time_checkpoints(overrides, arguments.steps, arguments.epochs, arguments.rounds, arguments.folder)
    if arguments.pairs:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            folder = Path(name).resolve()
            (folder / "exit_early.py").write_text(EXIT_EARLY)
            random_mnist(folder)
            defaults = [[], ["model=resnet20", "data=mnist", f"data.root={folder}"]]
            for overrides in [arguments.overrides] if arguments.overrides else defaults:
                machine = ["device=cpu", f"threads={arguments.threads}"]
                time_first_step([*overrides, *machine], arguments.pairs, folder)


if __name__ == "__main__":
    main()
