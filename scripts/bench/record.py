"""Measure what the record for the verdicts costs: whole runs with it and without it, in turn.

    python scripts/bench/record.py [--repeats 5] [OVERRIDE ...]

The record is the probes of the layers, at steps 0, 8, 64 and at the end, and the judgement at the end. A line for each
run gives the median seconds without it, those of the probes and of the judgement, and both as a part of the run.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from hydra import compose

from trainer.config.hydra_context import Invocation, initialized, plain_names, without_hydra_node
from trainer.engine import loop, session, validation
from trainer.task.train import Train

RUNS = {
    "the default run, cnn on digits": (),
    "mlp on digits": ("model=mlp",),
    "mlp on breast_cancer, adam": ("data=breast_cancer", "model=mlp", "optimizer=adam"),
    "resnet20 on digits, 3 epochs": ("model=resnet20", "norm=batch", "epochs=3"),
}
PLACES = ((loop, "probe"), (validation, "probe"), (session, "probe"), (session, "judge_run"))


class Timer:
    """Calls a function and adds up the seconds that it takes."""

    def __init__(self, function) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments, **keywords):
        begin = time.perf_counter()
        try:
            return self.function(*arguments, **keywords)
        finally:
            self.seconds += time.perf_counter() - begin


def measure(words: list[str], folder: Path) -> tuple[float, float, float]:
    """Return the seconds of a run, and within it those of the probes and of the judgement."""
    with initialized():
        typed = [*words, "threads=1", "device=cpu", f"output={folder}"]
        whole = compose("config", typed, return_hydra_config=True)
    choices = plain_names(whole.hydra.runtime.choices)
    cfg, invocation = without_hydra_node(whole), Invocation(overrides=tuple(typed), choices=choices)
    timers = {place: Timer(getattr(*place)) for place in PLACES}
    for (module, name), timer in timers.items():
        setattr(module, name, timer)
    begin = time.perf_counter()
    try:
        with redirect_stdout(StringIO()):
            Train().execute(cfg, invocation)
    finally:
        for (module, name), timer in timers.items():
            setattr(module, name, timer.function)
    seconds = time.perf_counter() - begin
    shutil.rmtree(folder)
    probes = sum(timer.seconds for (_, name), timer in timers.items() if name == "probe")
    return seconds, probes, timers[session, "judge_run"].seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="a run in place of those of this file")
    arguments = parser.parse_args()
    runs = {" ".join(arguments.overrides): tuple(arguments.overrides)} if arguments.overrides else RUNS
    print(f"{'run':34s} {'seconds':>8s} {'probes':>8s} {'judgement':>10s}   part of the run")
    with tempfile.TemporaryDirectory() as place:
        for name, words in runs.items():
            measure(list(words), Path(place) / "outputs")  # imports and caches
            found = [measure(list(words), Path(place) / "outputs") for _ in range(arguments.repeats)]
            seconds, probes, judged = (statistics.median(column) for column in zip(*found))
            part = (probes + judged) / (seconds - probes - judged)
            print(f"{name:34s} {seconds:8.2f} {probes:8.3f} {judged:10.3f}   {part:.1%}", flush=True)


if __name__ == "__main__":
    main()
