"""Measure what the record for the verdicts costs within whole runs.

    python scripts/bench/record.py [--repeats 5] [OVERRIDE ...]

The record is the probes of the layers, the log points at steps 1, 2, 4 ... 64, the judgement at the end, and
layers.json. A line for each run gives the seconds of the rest of the run, those of each part of the record, and all of
it as a part of the rest. Seconds are the processor's, the least of all repeats: other programs change them little.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import wraps
from io import StringIO
from pathlib import Path

from hydra import compose

from trainer.config.hydra_context import Invocation, initialized, plain_names, without_hydra_node
from trainer.engine import loop, session, validation
from trainer.rundir import directory
from trainer.rundir.recorder import Recorder
from trainer.task.train import Train

RUNS = {
    "the default run, cnn on digits": (),
    "mlp on digits": ("model=mlp",),
    "mlp on breast_cancer, adam": ("data=breast_cancer", "model=mlp", "optimizer=adam"),
    "resnet20 on digits, 3 epochs": ("model=resnet20", "norm=batch", "epochs=3"),
}
PLACES = {  # part -> what is timed
    "probes": ((loop, "record_probe"), (validation, "record_probe"), (session, "record_probe")),
    "log points": tuple(
        (Recorder, name) for name in ("before_step", "measure_gradient", "measure_edited_gradient", "log")
    ),
    "judgement": ((session, "judge_run"),),
    "layers.json": ((directory, "write_layers"),),
}
EARLY = 7  # log points that are there for the verdicts


@contextmanager
def timed(owner: object, name: str, found: list[float]) -> Iterator[None]:
    """Let a function add the seconds of each call to a list."""
    function = getattr(owner, name)

    @wraps(function)
    def call(*arguments, **keywords):
        begin = time.process_time()
        try:
            return function(*arguments, **keywords)
        finally:
            found.append(time.process_time() - begin)

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, function)


def measure(words: list[str], folder: Path) -> tuple[float, ...]:
    """Return the seconds of a run without its record, and those of each part of the record."""
    with initialized():
        typed = [*words, "threads=1", "device=cpu", f"output={folder}"]
        whole = compose("config", typed, return_hydra_config=True)
    choices = plain_names(whole.hydra.runtime.choices)
    cfg, invocation = without_hydra_node(whole), Invocation(overrides=tuple(typed), choices=choices)
    calls = {place: [] for places in PLACES.values() for place in places}
    begin = time.process_time()
    with ExitStack() as stack, redirect_stdout(StringIO()):
        for (owner, name), found in calls.items():
            stack.enter_context(timed(owner, name, found))
        Train().execute(cfg, invocation)
    seconds = time.process_time() - begin
    shutil.rmtree(folder)
    parts = {part: sum(sum(calls[place]) for place in places) for part, places in PLACES.items()}
    points = len(calls[Recorder, "log"])
    parts["log points"] *= min(EARLY, points) / points
    return seconds - sum(parts.values()), *parts.values()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="a run in place of those of this file")
    arguments = parser.parse_args()
    runs = {" ".join(arguments.overrides): tuple(arguments.overrides)} if arguments.overrides else RUNS
    print(f"{'run':34s} {'the rest':>9s} {' '.join(f'{part:>11s}' for part in PLACES)}   record")
    with tempfile.TemporaryDirectory() as place:
        for name, words in runs.items():
            measure(list(words), Path(place) / "outputs")  # imports and caches
            found = [measure(list(words), Path(place) / "outputs") for _ in range(arguments.repeats)]
            rest, *parts = map(min, zip(*found))
            print(
                f"{name:34s} {rest:9.2f} {' '.join(f'{part:11.4f}' for part in parts)}   {sum(parts) / rest:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
