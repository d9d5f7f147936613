"""Time the records on a CPU, from a cold start to a saved model, and what each of their words buys.

    python scripts/bench/cpu_records.py [--mnist DIR] [--seeds 3] [--only digits_99] [OVERRIDE ...]

DIR holds MNIST/raw; without it mnist_99_cpu is left out. Each row is `train experiment=NAME` with one word changed (and
those that go with it), as many processes of their own as there are seeds: the median of their seconds, and the test
accuracy of all of them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

COMMON = (
    "reg=[]",
    "norm=none",
    "init=auto",
    "optimizer=momentum",
    "warmup=none",
    "sched=constant",
    "act=gelu",
    "model=mlp init=auto",
    "threads=1",
)
CHANGED = {  # experiment -> words that each row changes
    "mnist_99_cpu": (
        *COMMON,
        "optimizer.lr=0.1",
        "model.channels=[8,16,32]",
        "model.channels=[16,64,128]",
        "model=lenet",
        "epochs=1",
    ),
    "digits_99": (*COMMON, "aug=[]", "optimizer.lr=0.05", "model.channels=[16,32]", "model=cnn", "epochs=10"),
}


def timed(words: Sequence[str]) -> tuple[float, float]:
    """Run a process; return its seconds, and the accuracy of its model on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "trainer", *words, "hydra.run.dir=run"], cwd=folder, capture_output=True, check=True
        )
        seconds = time.perf_counter() - start
        return seconds, json.loads((Path(folder) / "run" / "summary.json").read_text())["test"]["accuracy"]


def print_row(title: str, words: Sequence[str], seeds: int) -> None:
    """Print the seconds and the accuracies of some words."""
    seconds, scores = zip(*(timed([*words, f"seed={seed}"]) for seed in range(seeds)))
    shown = " ".join(f"{score:.4f}" for score in scores)
    print(f"{title:28s} {statistics.median(seconds):6.1f} s   {statistics.fmean(scores):.4f}  ({shown})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=CHANGED)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    for name, changed in CHANGED.items():
        if (name == "mnist_99_cpu" and not arguments.mnist) or arguments.only not in (None, name):
            continue
        words = [f"experiment={name}", *arguments.overrides]
        words += [f"data.root={Path(arguments.mnist).resolve()}"] if name == "mnist_99_cpu" else []
        print_row(name, words, arguments.seeds)
        for word in changed:
            print_row(word, [*words, *word.split()], arguments.seeds)


if __name__ == "__main__":
    main()
