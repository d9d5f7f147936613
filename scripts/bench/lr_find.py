"""Compare the learning rates that task=lr_find suggests with the best of a logarithmic grid of short runs.

    python scripts/bench/lr_find.py [--seeds 2] [--only WORDS] [OVERRIDE ...]

Each line is a triple of data, model and optimizer. A rate `trains` where the mean of its best validation scores is
within two standard errors of the grid's best; `decades` is its distance from the best rate of the grid, and from the
closest rate that is as good as the best within two standard errors. The rates of the grid are a factor sqrt(10) apart.
"""

import argparse
import math
import statistics
import tempfile
from pathlib import Path

import torch
from hydra import compose
from omegaconf import DictConfig

from trainer.base.metrics import score_of
from trainer.base.text import as_typed
from trainer.config.auto_rate import rate_key, with_rate
from trainer.config.hydra_context import Invocation, initialized
from trainer.engine.build import build_run
from trainer.engine.build_data import load_data
from trainer.engine.loop import fit
from trainer.inspection.lr_finder import find_rate
from trainer.recipe.trials import standard_error
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

TRIPLES = (
    "data=digits model=mlp optimizer=sgd epochs=10",
    "data=digits model=mlp optimizer=momentum epochs=10",
    "data=digits model=mlp optimizer=adam epochs=10",
    "data=digits model=mlp optimizer=rmsprop epochs=10",
    "data=digits model=mlp optimizer=lion epochs=10",
    "data=digits model=mlp optimizer=adamw epochs=10",
    "data=digits model=deep_mlp optimizer=adam epochs=10",
    "data=digits model=linear optimizer=sgd epochs=10",
    "data=digits model=cnn optimizer=momentum epochs=5",
    "data=digits model=cnn optimizer=adamw epochs=5",
    "data=iris model=mlp optimizer=adam epochs=30",
    "data=iris model=linear optimizer=sgd epochs=30",
    "data=wine model=linear optimizer=momentum epochs=30",
    "data=wine model=mlp optimizer=rmsprop epochs=30",
    "data=breast_cancer model=mlp optimizer=momentum epochs=15",
    "data=breast_cancer model=deep_mlp optimizer=lion epochs=15",
    "data=spirals model=mlp optimizer=adam epochs=30",
    "data=spirals model=deep_mlp optimizer=momentum epochs=30",
    "data=diabetes model=linear optimizer=sgd epochs=30",
    "data=diabetes model=mlp optimizer=adamw epochs=30",
)
GRID = [10 ** (exponent / 2) for exponent in range(-10, 3)]  # 1e-5 to 10
HEAD = f"{'triple':58s} {'suggested':>9s} {'score':>7s} {'best':>7s} {'of grid':>8s} {'as good':>18s} trains  decades"


def score(cfg: DictConfig, key: str, rate: float, data) -> float:
    """Return the best validation score of a run at a rate; the worst possible one where it diverges."""
    run = build_run(with_rate(cfg, key, rate), data=data)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), run.data.task)
        fit(run, recorder, Console(silent=True))
        recorder.close()
    best = run.progress.best
    return best[run.monitor.name] if best else -math.inf


def measure(words: str, more: list[str], seeds: int) -> tuple[bool, bool, bool]:
    """Print the line of a triple; return whether its rate trains, and is within a decade of the best, or of as good."""
    found, scores = [], {rate: [] for rate in GRID}
    own: list[float] = []
    for seed in range(seeds):
        with initialized():
            cfg = compose("config", [*words.split(), *more, f"seed={seed}", "threads=1", "device=cpu"])
        key, data = rate_key(cfg, "optimizer"), load_data(cfg, Invocation())
        finding = find_rate(cfg, build_run(cfg, data=data), Invocation(), key)
        found.append(finding.rate)
        own.append(score(cfg, key, finding.rate, data) if finding.rate else -math.inf)
        for rate in GRID:
            scores[rate].append(score(cfg, key, rate, data))
    means = {rate: statistics.fmean(values) for rate, values in scores.items()}
    best = max(means, key=means.get)
    error = standard_error(means[best], len(data.val), score_of(data.task))
    good = [rate for rate in GRID if means[rate] >= means[best] - 2 * error]
    trains = statistics.fmean(own) >= means[best] - 2 * error
    rates = [rate for rate in found if rate]
    typical = math.exp(statistics.fmean(map(math.log, rates))) if rates else math.nan
    away = abs(math.log10(typical / best)) if rates else math.inf
    beside = min(abs(math.log10(typical / rate)) for rate in good) if rates else math.inf
    beside = 0.0 if rates and good[0] <= typical <= good[-1] else beside
    print(
        f"{words:58s} {','.join('none' if rate is None else as_typed(rate) for rate in found):>9s} "
        f"{statistics.fmean(own):7.4f} {means[best]:7.4f} {best:8.2g} {f'{good[0]:.2g} to {good[-1]:.2g}':>18s} "
        f"{'yes' if trains else 'NO':6s}  {away:.2f}, {beside:.2f}",
        flush=True,
    )
    return trains, away <= 1, beside <= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each rate (default: %(default)s)")
    parser.add_argument("--only", default="", help="triples with these words")
    parser.add_argument("--triple", action="append", help="another triple in place of those of this file; repeatable")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(HEAD)
    chosen = [words for words in arguments.triple or TRIPLES if arguments.only in words]
    results = [measure(words, arguments.overrides, arguments.seeds) for words in chosen]
    trains, best, good = (sum(column) for column in zip(*results))
    print(f"{len(results)} triples: {trains} train, {best} within a decade of the best rate of the grid,")
    print(f"{good} within a decade of the rates that are as good as the best within two standard errors")


if __name__ == "__main__":
    main()
