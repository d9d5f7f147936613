"""Compare task=recipe with the best point of a grid, and with Optuna's TPE and halving, at equal cost.

    python scripts/bench/recipe.py [--images DIR] [--grids FILE] [--only WORDS]

A grid has 24 points, 6 learning rates x 4 weight decays, each trained in full with 3 seeds; the recipe may train as
much as 6 whole runs, a quarter of one grid of single runs, its own 3 last runs included. Optuna gets what the recipe's
search has cost, and its best point is trained with 3 seeds as well. All scores are best validation scores, mean +/-
standard deviation. The best of 24 means is too high by the luck that chose it: `again` has 3 other seeds. `within` says
whether the recipe's mean is within one standard deviation of that, and of the best mean itself.

DIR holds MNIST and cifar10-jpeg; without it, tasks on images are left out. FILE keeps the grids, which take longest.
"""

import argparse
import itertools
import json
import math
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from hydra import compose

from trainer.base.text import as_typed
from trainer.comparison import record
from trainer.config.hydra_context import Invocation, initialized
from trainer.engine.build import build_run
from trainer.engine.build_data import load_data
from trainer.engine.loop import fit
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

TASKS = {
    "digits": "data=digits model=mlp epochs=20",
    "breast_cancer": "data=breast_cancer model=mlp optimizer=adam epochs=20",
    "wine": "data=wine model=mlp epochs=20",
    "spirals": "data=spirals model=mlp optimizer=adam epochs=40",
    "mnist": "data=mnist data.root={images} data.train_samples=6000 epochs=10 model=mlp norm=batch optimizer=adam",
    "cifar": "data=image_folder data.root={images}/cifar10-jpeg data.train_samples=5000 model=cnn epochs=4",
}
RATES = {"adam": [1e-4, 4e-4, 1.6e-3, 6.4e-3, 2.5e-2, 0.1], "momentum": [2e-3, 8e-3, 3e-2, 0.12, 0.5, 2.0]}
DECAYS = [1e-4, 1e-3, 1e-2, 1e-1]
SEEDS, FRESH = (0, 1, 2), (3, 4, 5)
KEYS = ("optimizer.lr", "reg.weights.weight_decay.strength")
MACHINE = ("threads=1", "device=cpu")
WIDTHS = (13, 17, 17, 17, 8, 11, 14, 0)  # of the table's columns
BUDGET = 6  # whole runs: a quarter of 24


def score(words: list[str], data) -> float:
    """Return the best validation score of a run; -inf where it diverges."""
    with initialized():
        cfg = compose("config", [*words, *MACHINE])
    run = build_run(cfg, data=data)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), run.data.task)
        try:
            fit(run, recorder, Console(silent=True))
        finally:
            recorder.close()
    best = run.progress.best
    return best[run.monitor.name] if best else -math.inf


def load(words: list[str]):
    """Return the data of a task, loaded once."""
    with initialized():
        return load_data(compose("config", [*words, *MACHINE]), Invocation())


def point(rate: float, decay: float) -> list[str]:
    """Return a point of the grid as overrides."""
    return ["reg=[weight_decay]", *(f"{key}={as_typed(value)}" for key, value in zip(KEYS, (rate, decay)))]


def grid(words: list[str]) -> dict[str, list[float]]:
    """Return the scores of all points of the grid over the seeds."""
    rates = RATES["adam" if "optimizer=adam" in words else "momentum"]
    data, found = load(words), {}
    for rate, decay in itertools.product(rates, DECAYS):
        overrides = point(rate, decay)
        found[" ".join(overrides)] = [score([*words, *overrides, f"seed={seed}"], data) for seed in SEEDS]
    return found


def train(*words: str, sweep: bool = False) -> str:
    """Call `train` and return what it prints. Errors: CalledProcessError."""
    command = [sys.executable, "-m", "trainer", *(["-m"] if sweep else []), *words, *MACHINE]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def recipe(words: list[str], place: Path) -> dict:
    """Return what recipe.json holds of a recipe."""
    train("task=recipe", f"task.budget={BUDGET}", *words, f"output={place}")
    (file,) = place.glob("*/*/recipe.json")
    return json.loads(file.read_text())


def optuna(words: list[str], rates: list[float], epochs: float, place: Path, data) -> tuple[list[float], float]:
    """Return the scores of the best point that Optuna finds, over the seeds, and what its search has cost in epochs.

    Args:
        rates: lowest and highest one; decays are those of the grid.
        epochs: that its search may take.
    """
    spaces = [
        f"{key}=tag(log,interval({as_typed(low)},{as_typed(high)}))"
        for key, (low, high) in zip(KEYS, ((rates[0], rates[-1]), (DECAYS[0], DECAYS[-1])))
    ]
    trials, spent = 0, 0.0
    while spent < epochs:
        trials += 1
        search = ["hydra/sweeper=optuna", "hydra.sweeper.pruner=halving", "hydra.sweeper.reduction_factor=3"]
        search += [f"hydra.sweeper.n_trials={trials}", f"hydra.sweep.dir={place}"]
        train(*words, "reg=[weight_decay]", *spaces, *search, sweep=True)
        runs = [record.read(path.parent) for path in place.glob("*/overrides.txt")]
        spent = sum((run.steps or 0) / run.pace for run in runs if run.pace)
    best = yaml.safe_load((place / "best.yaml").read_text())["overrides"]
    return [score([*best, f"seed={seed}"], data) for seed in SEEDS], spent


def within(own: list[float], others: list[float]) -> bool:
    """Return whether a mean is at most one standard deviation of others below theirs."""
    return statistics.fmean(own) >= statistics.fmean(others) - statistics.stdev(others)


def shown(scores: list[float]) -> str:
    """Return mean and standard deviation."""
    return f"{statistics.fmean(scores):.4f} +/- {statistics.stdev(scores):.4f}"


def row(*cells: str) -> str:
    """Return a line of the table."""
    return " ".join(f"{cell:{width}s}" for cell, width in zip(cells, WIDTHS)).rstrip()


def measure(name: str, words: list[str], scores: dict[str, list[float]], compares: bool) -> bool:
    """Print the line of a task; return whether the recipe is within one standard deviation of the grid's best again."""
    best = max(scores, key=lambda text: statistics.fmean(scores[text]))
    data = load(words)
    fresh = [score([*words, *best.split(), f"seed={seed}"], data) for seed in FRESH]
    with tempfile.TemporaryDirectory() as folder:
        found = recipe(words, Path(folder) / "recipe")
        own, cost, whole = found["result"]["scores"], found["cost"]["epochs"], found["cost"]["whole_run"]
        other = "-"
        if compares:
            rates = [float(shlex.split(text)[1].partition("=")[2]) for text in (min(scores), max(scores))]
            search = cost - len(SEEDS) * whole
            theirs, spent = optuna(words, sorted(rates), search, Path(folder) / "optuna", data)
            other = f"{shown(theirs)} ({spent:.0f} epochs)"
    chosen = " ".join(f"{value:g}" for value in found["result"]["point"].values())
    costs = f"{cost:.0f} of {len(scores) * whole:.0f}"
    answers = ", ".join("yes" if within(own, theirs) else "NO" for theirs in (fresh, scores[best]))
    print(row(name, shown(scores[best]), shown(fresh), shown(own), answers, costs, chosen, other))
    sys.stdout.flush()
    return within(own, fresh)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="folder of MNIST and cifar10-jpeg")
    parser.add_argument("--grids", type=Path, help="JSON that keeps the grids")
    parser.add_argument("--only", default=",".join(TASKS), help="NAME,... of %(default)s")
    parser.add_argument("--without-optuna", action="store_true")
    parser.add_argument("--only-grids", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in arguments.only.split(",") if arguments.images or "{images}" not in TASKS[name]]
    known = json.loads(arguments.grids.read_text()) if arguments.grids and arguments.grids.is_file() else {}
    results = []
    if not arguments.only_grids:
        print(row("task", "grid", "again", "recipe", "within", "epochs", "rate, decay", "optuna"))
    for name in names:
        words = TASKS[name].format(images=arguments.images).split()
        if name not in known:
            known[name] = grid(words)
            if arguments.grids:
                arguments.grids.write_text(json.dumps(known, indent=1))
        if not arguments.only_grids:
            results.append(measure(name, words, known[name], not arguments.without_optuna))
    if results:
        print(f"{sum(results)} of {len(results)} within one standard deviation of the best of the grid")


if __name__ == "__main__":
    main()
