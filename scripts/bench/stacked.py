"""Time K jobs that train at once against the same jobs one after the other, in turn within one process.

    python scripts/bench/stacked.py [--jobs 16] [--rounds 15] [--steps 69] [--threads 1] [--memory] [--commands]
        [OVERRIDE ...]

The jobs are the rates 0.01, 0.02, 0.05 and 0.1 with as many seeds as it takes, on digits: an MLP of 64-128-128-10 by
momentum and by adam, and a small convolutional network. A round trains every job so many steps, all that a run does
between two validations included. Times are processor time, of several threads the time that passes: medians over the
rounds, and the fastest round of each way, which other programs on the machine have disturbed least. In the end the
weights of both ways are compared. --memory prints the largest memory of a process of its own for each way. With
--commands whole sweeps of 16 jobs are timed, too, from the start of the process to the ranking.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from trainer.base.memory import keep_freed
from trainer.base.signals import Signals
from trainer.config import catalog
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.run import Run
from trainer.engine.training import Training
from trainer.rundir.console import Console
from trainer.stacked.fit import Member, train_together

COMMON = ("device=cpu", "data.val_fraction=0")
RATES = (0.01, 0.02, 0.05, 0.1)
NETS = {
    "digits MLP, momentum": ("model=mlp",),
    "digits MLP, adam": ("model=mlp", "optimizer=adam"),
    "small CNN": ("model=cnn", "model.channels=[8,16]"),
}


def built(jobs: int, words: list[str]) -> list[Run]:
    """Build the runs of a sweep on one data set."""
    runs: list[Run] = []
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        scale = 0.1 if "optimizer=adam" in words else 1.0
        for job in range(jobs):
            own = [f"seed={job // len(RATES)}", f"optimizer.lr={scale * RATES[job % len(RATES)]}"]
            threads = f"threads={torch.get_num_threads()}"
            runs.append(
                build_run(compose("config", [*COMMON, threads, *words, *own]), data=runs[0].data if runs else None)
            )
    return runs


def trainings(runs: list[Run], folder: Path) -> list[Training]:
    """Return the trainings of runs, in folders of their own."""
    made = []
    for job, run in enumerate(runs):
        (directory := folder / str(job)).mkdir(parents=True)
        saved = {"config": {}, "description": {}}
        made.append(Training(None, None, run, directory, Console(silent=True), [], saved, ("", [])))
    return made


def in_turn(parts: list[Training]) -> Callable[[int], None]:
    """Return a function that trains the jobs to a step, one after the other."""

    def train(until: int) -> None:
        for part in parts:
            fit(part.run, part.recorder, part.console, until=until)

    return train


def at_once(parts: list[Training]) -> Callable[[int], None]:
    """Return a function that trains the jobs to a step, all at once."""
    members = [Member(part) for part in parts]

    def train(until: int) -> None:
        with Signals() as signals:
            for member in members:
                member.begin(signals)
            train_together(members, until, signals)

    return train


def spent(train: Callable[[int], None], until: int) -> float:
    """Return the seconds of training to a step."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    train(until)
    return clock() - start


def race(jobs: int, rounds: int, steps: int, words: list[str]) -> tuple[list[list[float]], float]:
    """Return microseconds a step and job, in turn and at once, of each round; and the largest distance of weights."""
    words = [*words, f"epochs={(rounds + 1) * steps}st"]
    with tempfile.TemporaryDirectory() as folder:
        both = [trainings(built(jobs, words), Path(folder) / way) for way in ("turn", "once")]
        ways = in_turn(both[0]), at_once(both[1])
        times = [[spent(way, until * steps) for way in ways] for until in range(1, rounds + 2)][1:]
        far = max(distance(*pair) for pair in zip(*both))
    return [[seconds / steps / jobs * 1e6 for seconds in pair] for pair in times], far


def distance(one: Training, other: Training) -> float:
    """Return the distance of two networks' weights, relative to their norm."""
    first, second = (
        torch.cat([weight.detach().flatten() for weight in part.run.model.parameters()]) for part in (one, other)
    )
    return float((first - second).norm() / first.norm())


def peak(way: str, jobs: int, words: list[str]) -> float:
    """Return the largest memory, in MiB, of a process that trains the jobs one way."""
    command = [sys.executable, __file__, "--only", way, "--jobs", str(jobs), *words]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def train_only(way: str, jobs: int, words: list[str]) -> None:
    """Train the jobs 100 steps one way, in turn each built and dropped as a sweep does, and print the memory."""
    with tempfile.TemporaryDirectory() as folder:
        if way == "once":
            at_once(trainings(built(jobs, [*words, "epochs=100st"]), Path(folder)))(100)
        for job in range(jobs if way == "turn" else 0):
            in_turn(trainings(built(1, [*words, "epochs=100st"]), Path(folder) / f"of{job}"))(100)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def time_commands(epochs: int) -> None:
    """Print the processor time of whole sweeps of 16 jobs, in turn and stacked."""
    words = ["-m", "model=mlp", f"epochs={epochs}", "device=cpu", "threads=1", "seed=0,1,2,3", "sched=constant"]
    words += ["optimizer.lr=0.01,0.02,0.05,0.1"]
    seconds = []
    for own in ([], ["hydra/launcher=stacked"]):
        with tempfile.TemporaryDirectory() as folder:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "trainer", *words, *own, "hydra.sweep.dir=s"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(f"16 jobs of {epochs} epochs, whole command: {seconds[0]:.1f} s in turn, {seconds[1]:.1f} s at once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=69, help="of a round; an epoch has 23 (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--commands", action="store_true")
    parser.add_argument("--only", choices=["turn", "once"], help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    keep_freed()  # as train does
    torch.set_num_threads(arguments.threads)
    jobs, nets = arguments.jobs, {" ".join(arguments.overrides): arguments.overrides} if arguments.overrides else NETS
    if arguments.only:
        train_only(arguments.only, jobs, arguments.overrides)
        return
    for name, words in nets.items():
        times, far = race(jobs, arguments.rounds, arguments.steps, [*words])
        for what, of in (("median", statistics.median), ("fastest", min)):
            turn, once = map(of, zip(*times))
            ratio = statistics.median(a / b for a, b in times) if of is not min else turn / once
            print(
                f"{name}, {what}: {turn:,.0f} us a step and job in turn, {once:,.0f} at once: {ratio:.2f} times as fast"
            )
        print(f"{name}: weights of both ways {far:.0e} apart", flush=True)
        if arguments.memory:
            turn, once = (peak(way, jobs, [*words]) for way in ("turn", "once"))
            print(f"{name}: largest memory {turn:,.0f} MiB in turn, {once:,.0f} MiB at once", flush=True)
    if arguments.commands:
        for epochs in (20, 100):
            time_commands(epochs)


if __name__ == "__main__":
    main()
