"""Time task=compare over many runs, whole and part by part, against TensorBoard's event reader on the same runs.

    python scripts/bench/compare.py [--runs 1000] [--epochs 30] [--sample 50] [--rounds 3] [--folder DIR]

The runs are copies of four real runs on digits, with other seeds, overrides and scores: 10 seeds a setting. Every copy
has the text files and the event files of a run. The whole is a process of its own, from its start to its end. The
event reader is tensorboard.backend.event_processing.event_accumulator with its default limits, on every event file of a
sample of the runs, without the time of its import; its time is scaled to all runs. --folder keeps the runs, and reuses
those that it already holds.
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
LR = 0.001  # of the real runs
FILES = ("config.yaml", "overrides.txt", "metrics.jsonl", "run.log", "summary.json")  # in the order of a run


def train(*overrides: str, folder: Path) -> None:
    """Run `train` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(HOME), "MPLCONFIGDIR": str(folder / "matplotlib")}
    command = [sys.executable, "-m", "trainer", *overrides]
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)


def make_runs(folder: Path, count: int, epochs: int) -> list[Path]:
    """Train the real runs in `real/`, copy them to `runs/`, and return the copies."""
    if not (folder / "real").is_dir():
        settings = ("model=mlp", f"epochs={epochs}", f"optimizer.lr={LR}", "threads=1", "device=cpu", "output=real")
        train("-m", f"optimizer={','.join(OPTIMIZERS)}", *settings, folder=folder)
    real = sorted(path.parent for path in (folder / "real").rglob("summary.json"))
    rng = random.Random(0)
    copies = [folder / "runs" / f"{number:05}" for number in range(count)]
    for number, copy in enumerate(copies):
        if not copy.is_dir():
            setting, seed = divmod(number, SEEDS)
            lr = round(1e-4 * 1.1 ** (setting // len(real)), 8)
            copy_changed(real[setting % len(real)], copy, lr, seed, rng)
    return copies


def copy_changed(run: Path, copy: Path, lr: float, seed: int, rng: random.Random) -> None:
    """Copy a run with another learning rate and seed in its overrides and configuration, and other scores."""
    texts = {name: (run / name).read_text() for name in FILES}
    config = texts["config.yaml"].replace("seed: 0\n", f"seed: {seed}\n", 1)
    texts["config.yaml"] = config.replace(f"lr: {LR}\n", f"lr: {lr}\n", 1)
    overrides = texts["overrides.txt"].replace(f"optimizer.lr={LR}\n", f"optimizer.lr={lr}\n")
    texts["overrides.txt"] = f"{overrides}seed={seed}\n"
    rows = [json.loads(line) for line in texts["metrics.jsonl"].splitlines()]
    for row in rows:
        row["loss"], row["accuracy"] = row["loss"] * rng.uniform(0.9, 1.1), row["accuracy"] * rng.uniform(0.9, 1.0)
    texts["metrics.jsonl"] = "".join(f"{json.dumps(row)}\n" for row in rows)
    validations = [row for row in rows if row["split"] == "val"]
    best = max(validations, key=lambda row: (row["accuracy"], -row["loss"]))
    summary = json.loads(texts["summary.json"])
    summary |= {"seed": seed, "best": best, "final": {**summary["final"], "val": validations[-1]}, "test": rows[-1]}
    texts["summary.json"] = json.dumps(summary, indent=2)
    copy.mkdir(parents=True)
    for name, text in texts.items():
        (copy / name).write_text(text)
    for events in run.rglob("events.out.tfevents*"):
        target = copy / events.relative_to(run)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(events, target)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of a call, those of child processes included."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    call()
    return time.perf_counter() - start, sum(os.times()[:4]) - before


def part_times(folder: Path) -> dict[str, float]:
    """Return the seconds of each part of a comparison in this process; the plot's include the import of matplotlib."""
    sys.path.insert(0, str(HOME))
    from rich.console import Console as Terminal

    from trainer.comparison import plot, table
    from trainer.comparison.ranking import differences, rank
    from trainer.comparison.record import find, read
    from trainer.rundir.console import Console

    seconds, start = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name], start = time.perf_counter() - start, time.perf_counter()

    directories, _ = find([str(folder / "runs")])
    lap("find")
    records = [read(directory) for directory in directories]
    lap("read")
    ranking = rank(records)
    lap("rank")
    console = Console()
    with open(os.devnull, "w") as devnull:
        console.terminal = Terminal(file=devnull, width=120)
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


def read_events(runs: list[Path]) -> None:
    """Read every point of the runs with TensorBoard's event reader."""
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
    parser.add_argument("--sample", type=int, default=50, help="runs that TensorBoard's event reader reads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        runs = make_runs(folder, arguments.runs, arguments.epochs)
        rows = len((runs[0] / "metrics.jsonl").read_text().splitlines())
        print(f"{len(runs)} runs of {arguments.epochs} epochs, {rows} rows of metrics each")
        sample = random.Random(1).sample(runs, min(arguments.sample, len(runs)))
        read_events(sample[:1])  # imports TensorBoard
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(timed(lambda: train("task=compare", "runs=[runs]", "output=out", folder=folder)))
            theirs.append(timed(lambda: read_events(sample)))
        for name, seconds in part_times(folder).items():
            print(f"  {name:14s} {seconds:6.2f} s")
        scale = len(runs) / len(sample)
        print(
            f"medians of {arguments.rounds} rounds; TensorBoard's event reader has read {len(sample)} of the runs, "
            f"its time is scaled to {len(runs)}"
        )
        for place, kind in enumerate(("wall-clock", "CPU")):
            own = statistics.median(times[place] for times in ours)
            events = scale * statistics.median(times[place] for times in theirs)
            print(
                f"{kind}: task=compare, whole process {own:.2f} s; "
                f"TensorBoard's event reader {events:.2f} s; ratio {events / own:.1f}"
            )


if __name__ == "__main__":
    main()
