"""Runs that `runs=[...]` means."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainer.base.paths import expanded
from trainer.base.text import printable
from trainer.comparison.record import find
from trainer.comparison.table import relative
from trainer.rundir import checkpoint
from trainer.rundir.console import Console
from trainer.rundir.weights_file import WEIGHTS


def has_checkpoint(directory: Path) -> bool:
    """Return whether a directory is that of a run with a checkpoint."""
    return (directory / "config.yaml").is_file() and any(checkpoint.newest_first(directory / "checkpoints"))


def has_model(place: Path) -> bool:
    """Return whether a place holds a model: a run with a checkpoint or with weights, or a file of weights."""
    return has_checkpoint(place) or (place / WEIGHTS).is_file() or (place.suffix == ".safetensors" and place.is_file())


def run_directories(
    patterns: Sequence[str], console: Console, counts: Callable[[Path], bool] = has_checkpoint
) -> Iterator[Path]:
    """Yield the runs that are meant, each once. Errors: DataError where a name matches nothing.

    Args:
        counts: whether a place has what the task needs.
    """
    found = {}
    for pattern in map(str, patterns):
        if counts(place := expanded(pattern)):
            found[place.resolve()] = place
            continue
        below, _ = find([pattern])
        if len(below) > 1 and (without := [run for run in below if not counts(run)]):
            count = f"{len(without)} of {len(below)} runs in {printable(pattern)}"
            console.print(
                f"note: {count} left out, without weights: {relative(without[0])}{', ...' * (len(without) > 1)}"
            )
            below = [run for run in below if run not in without]
        found |= {run.resolve(): run for run in below}
    yield from found.values()
