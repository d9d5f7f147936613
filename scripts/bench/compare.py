"""Seconds of task=compare over many runs, whole and part by part, against TensorBoard's event reader on the same runs.

    python scripts/bench/compare.py [--runs 1000] [--epochs 30] [--sample 50] [--rounds 3] [--folder DIR]

A few real runs of the program on digits, copied with other seeds, overrides and scores: 10 seeds a setting. Every copy
has the text files and the event files of a run. The whole is a process of its own, from the shell to the last line. The
event reader is tensorboard.backend.event_processing.event_accumulator with its usual limits, on every event file of a
sample of the runs, its import not counted; its time is scaled to all runs. --folder keeps the runs, and takes those
that are there.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HOME = Path(__file__).parents[2]
OPTIMIZERS = ("sgd", "momentum", "adam", "rmsprop")
SEEDS = 10
TEXTS = (
    "config.yaml",
    "overrides.txt",
    "metrics.jsonl",
    "run.log",
    "summary.json",
)  # in the order in which a run writes them


def train(*overrides: str, folder: Path) -> None:
    """Run `train` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(HOME), "MPLCONFIGDIR": str(folder / "matplotlib")}
    subprocess.run(
        [sys.executable, "-m", "trainer", *overrides],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def make(folder: Path, count: int, epochs: int) -> list[Path]:
    """Make the runs, real ones in `real/` and copies in `runs/`, and return the copies."""
    if not (folder / "real").is_dir():
        settings = ("model=mlp", f"epochs={epochs}", "optimizer.lr=0.001", "threads=1", "device=cpu", "output=real")
        train("-m", f"optimizer={','.join(OPTIMIZERS)}", *settings, folder=folder)
    real = sorted(path.parent for path in (folder / "real").rglob("summary.json"))
    draw = random.Random(0)
    copies = [folder / "runs" / f"{number:05}" for number in range(count)]
    for number, copy in enumerate(copies):
        if not copy.is_dir():
            setting, seed = divmod(number, SEEDS)
            change(real[setting % len(real)], copy, round(1e-4 * 1.1 ** (setting // len(real)), 8), seed, draw)
    return copies


def change(run: Path, copy: Path, lr: float, seed: int, draw: random.Random) -> None:
    """Copy a run as if it had had another rate and seed: its overrides, configuration and a shift of every score."""
    texts = {name: (run / name).read_text() for name in TEXTS}
    texts["config.yaml"] = (
        texts["config.yaml"].replace("seed: 0\n", f"seed: {seed}\n", 1).replace("lr: 0.001\n", f"lr: {lr}\n", 1)
    )
    texts["overrides.txt"] = (
        texts["overrides.txt"].replace("optimizer.lr=0.001\n", f"optimizer.lr={lr}\n") + f"seed={seed}\n"
    )
    rows = [json.loads(line) for line in texts["metrics.jsonl"].splitlines()]
    for row in rows:
        row["loss"], row["accuracy"] = row["loss"] * draw.uniform(0.9, 1.1), row["accuracy"] * draw.uniform(0.9, 1.0)
    texts["metrics.jsonl"] = "".join(f"{json.dumps(row)}\n" for row in rows)
    scored = [row for row in rows if row["split"] == "val"]
    best = max(scored, key=lambda row: (row["accuracy"], -row["loss"]))
    summary = json.loads(texts["summary.json"])
    summary |= {"seed": seed, "best": best, "final": {**summary["final"], "val": scored[-1]}, "test": rows[-1]}
    texts["summary.json"] = json.dumps(summary, indent=2)
    copy.mkdir(parents=True)
    for name, text in texts.items():
        (copy / name).write_text(text)
    for events in run.rglob("events.out.tfevents*"):
        place = copy / events.relative_to(run)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(events, place)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds on the clock and of the processor, that of child processes included."""
    begun, computed = time.perf_counter(), sum(os.times()[:4])
    call()
    return time.perf_counter() - begun, sum(os.times()[:4]) - computed


def parts(folder: Path) -> dict[str, float]:
    """Return the seconds of each part of a comparison in this process; the first that draws imports matplotlib."""
    sys.path.insert(0, str(HOME))
    from rich.console import Console as Terminal

    from trainer.compare import plot, table
    from trainer.compare.ranking import differences, rank
    from trainer.compare.record import find, read
    from trainer.rundir.console import Console

    seconds, begun = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begun
        seconds[name], begun = time.perf_counter() - begun, time.perf_counter()

    directories, _ = find([str(folder / "runs")])
    lap("find")
    records = [read(directory) for directory in directories]
    lap("read")
    ranking = rank(records)
    lap("rank")
    console = Console()
    with open(os.devnull, "w") as nowhere:
        console.terminal = Terminal(file=nowhere, width=120)
        table.print_ranking(ranking, console)
    lap("print")
    table.write_csv([*table.csv_rows(ranking)], folder / "ranking.csv")
    lap("ranking.csv")
    (folder / "ranking.md").write_text("\n".join(table.markdown(ranking)))
    lap("ranking.md")
    table.write_csv([*differences(*ranking.jobs)], folder / "settings.csv")
    lap("settings.csv")
    plot.draw(ranking, folder / "ranking.png")
    lap("ranking.png")
    return seconds


def by_tensorboard(runs: list[Path]) -> None:
    """Read every point of the runs, as TensorBoard does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for run in runs:
        for events in run.rglob("events.out.tfevents*"):
            reader = EventAccumulator(str(events.parent)).Reload()
            for tag in reader.Tags()["scalars"]:
                reader.Scalars(tag)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--sample", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        runs = make(folder, arguments.runs, arguments.epochs)
        lines = len((runs[0] / "metrics.jsonl").read_text().splitlines())
        print(f"{len(runs)} runs of {arguments.epochs} epochs, {lines} lines of metrics each")
        sample = random.Random(1).sample(runs, min(arguments.sample, len(runs)))
        by_tensorboard(sample[:1])  # its imports
        whole, theirs = [], []
        for _ in range(arguments.rounds):
            whole.append(timed(lambda: train("task=compare", "runs=[runs]", "output=out", folder=folder)))
            theirs.append(timed(lambda: by_tensorboard(sample)))
        for name, seconds in parts(folder).items():
            print(f"  {name:14s} {seconds:6.2f} s")
        scale = len(runs) / len(sample)
        print(
            f"medians of {arguments.rounds} rounds; TensorBoard's reader has read {len(sample)} of the runs, "
            f"its time is scaled to {len(runs)}"
        )
        for place, what in enumerate(("on the clock", "of the processor")):
            ours = statistics.median(times[place] for times in whole)
            events = scale * statistics.median(times[place] for times in theirs)
            print(
                f"seconds {what}: task=compare, whole process {ours:.2f}; "
                f"TensorBoard's reader {events:.2f}; ratio {events / ours:.1f}"
            )


if __name__ == "__main__":
    main()
