"""What a checkpoint an epoch costs, and how long a run that goes on takes to its first update against one that begins.

    python scripts/bench/checkpoint.py [--rounds 3] [--pairs 5] [--epochs 6] [--steps 60] [--threads 1] [--folder DIR]
        [WORD ...]

The first trains on random images of CIFAR's shape, without a validation split, so that nothing but save_every makes
checkpoints: in turn with one at the end of each epoch and with none. Told is what saving takes of an epoch, as the
median over all of them (from the end of one checkpoint to the end of the next), and the ratio of the whole trainings.
--steps makes the epochs long enough: 5 s or more. The second starts whole processes in turn, each of which ends when
its first update is done: `train WORD ...`, and `train resume=` of a run of the same words that ended without a word
after its second update. WORDs (the default is model=resnet20 norm=batch for the first part, and none and model=resnet20
on 60,000 random images in MNIST's files for the second) are used in both. --folder is where the runs are written; the
disk's speed is part of the answer.
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

DONE = 77  # exit code of a process that ended where it was to end
ENDS = f"""
import os

class Ends:
    \"\"\"A constant rate; the process ends when it asks for that of one update more than it is to do.\"\"\"
    left = int(os.environ["UPDATES"])
    def __call__(self, now):
        if not self.left:
            os._exit({DONE})
        self.left -= 1
        return 1.0
"""


def training(
    words: Sequence[str], steps: int, epochs: int, saving: bool, folder: Path
) -> tuple[float, list[float], list[float]]:
    """Seconds of the whole training, of each checkpoint, and of each epoch up to the end of its checkpoint."""
    run = on_random_images((3, 32, 32), steps, epochs, 64, *words)
    run = replace(run, save_steps=steps if saving else None, save_seconds=float("inf"))
    checkpoints, saves, epochs_took = Checkpoints(folder), [], []
    curves, console = Recorder(folder, run.data.task), Console()
    begun = last = time.perf_counter()

    def save(now: Clock, scored: dict | None, best: bool) -> None:
        nonlocal last
        start = time.perf_counter()
        checkpoints.save(capture(run, curves, checkpoints, now, scored), best)
        end = time.perf_counter()
        saves.append(end - start)
        epochs_took.append(end - last)
        last = end

    if fit(run, curves, console, save).status == "interrupted":
        raise KeyboardInterrupt
    took = time.perf_counter() - begun
    curves.close()
    return took, saves, epochs_took


def an_epoch(arguments: argparse.Namespace) -> None:
    """Print what checkpoints cost a training."""
    words = arguments.words or ["model=resnet20", "norm=batch"]
    saves, epochs, ratios, size = [], [], [], 0
    for turn in range(arguments.rounds):
        took = {}
        for saving in (turn % 2 == 0, turn % 2 == 1):
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                took[saving], *times = training(words, arguments.steps, arguments.epochs, saving, Path(folder))
                size = (
                    max((file.stat().st_size for file in Path(folder).glob("checkpoints/*.pt")), default=0)
                    if saving
                    else size
                )
            saves, epochs = saves + times[0], epochs + times[1]
        ratios.append(took[True] / took[False])
    shares = [save / epoch for save, epoch in zip(saves, epochs)]
    typical = [statistics.median(epochs), size / 2**20, statistics.median(saves) * 1e3]
    print(
        "a checkpoint an epoch, {}: an epoch {:.2f} s, a checkpoint of {:.1f} MiB {:.1f} ms".format(
            " ".join(words), *typical
        )
    )
    print(f"  its share of the epoch {statistics.median(shares):.2%} (at most {max(shares):.2%} of {len(shares)})")
    print(f"  trainings with / without {statistics.median(ratios):.3f} ({few(ratios)})", flush=True)


def random_mnist(root: Path, counts: tuple[int, int] = (60_000, 10_000)) -> None:
    """Random bytes in the format of MNIST's files: big-endian sizes, then the bytes."""
    random, folder = np.random.default_rng(0), root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in zip(("train", "t10k"), counts):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        labels = random.integers(0, 10, count, dtype=np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels)


def until(updates: int, words: Sequence[str], folder: Path) -> tuple[float, float]:
    """Seconds of a whole process that ends after so many updates: by the clock, and of computing."""
    environment = {
        **os.environ,
        "UPDATES": str(updates),
        "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words, "allow=[ends_early]"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != DONE:
        sys.exit(f"{' '.join(words)}: {done.stderr or done.stdout}")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_update(words: Sequence[str], pairs: int, folder: Path) -> None:
    """Print what goes by until the first update is done, of a run that begins and of one that goes on."""
    typed, output = [*words, "sched._target_=ends_early.Ends", "epochs=2"], tempfile.mkdtemp(dir=folder)
    until(2, [*typed, "save_every=1st", f"output={output}/killed"], folder)
    (killed,) = Path(output).glob("killed/*/*")
    commands = {"begins": [*typed, f"output={output}/begun"], "goes on": [f"resume={killed}", "save_every=1min"]}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(pairs + 1):  # the first does not count
        for name in sorted(commands, reverse=turn % 2 == 0):
            times[name] += [until(1, commands[name], folder)] * (turn > 0)
    print(f"to the first update, {' '.join(word for word in words if not word.startswith('data.root='))}")
    for clock, name in enumerate(("by the clock", "of computing")):
        begins, on = ([pair[clock] for pair in times[command]] for command in ("begins", "goes on"))
        ratios = [a / b for a, b in zip(on, begins)]
        typical = statistics.median(begins), statistics.median(on), statistics.median(ratios)
        print(
            "  {}: a run that begins {:.2f} s, one that goes on {:.2f} s, ratio {:.3f} ({})".format(
                name, *typical, few(ratios)
            ),
            flush=True,
        )


def few(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} pairs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of the first part; 0 leaves it out")
    parser.add_argument("--pairs", type=int, default=5, help="of the second part; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.rounds:
        an_epoch(arguments)
    if arguments.pairs:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            folder, machine = Path(name).resolve(), ["device=cpu", f"threads={arguments.threads}"]
            (folder / "ends_early.py").write_text(ENDS)
            random_mnist(folder)
            for words in (
                [arguments.words] if arguments.words else [[], ["model=resnet20", "data=mnist", f"data.root={folder}"]]
            ):
                first_update([*words, *machine], arguments.pairs, folder)


if __name__ == "__main__":
    main()
