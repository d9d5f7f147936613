"""task=evaluate: score finished runs again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from rich.text import Text

from trainer.base.errors import ConfigError, DataError
from trainer.base.text import printable
from trainer.compare.record import find
from trainer.compare.table import short
from trainer.config import hydra_context
from trainer.engine.build import build_run
from trainer.engine.fuse import fold
from trainer.rundir import checkpoint, resume
from trainer.rundir.console import Console, figure

COUNTS = (
    "device",
    "threads",
    "eval_batch_size",
    "precision",
    "compile",
    "data.root",
    "norm.fold",
    "tta",
    "residency",
    "workers",
)  # what the command line decides; the run, the rest
PLAIN = ("task", "runs", "output", "allow", "data")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Rebuild each run of `runs=[DIR,...]` from its own config.yaml, load its best weights and score every split.

    A folder that is no run's stands for all runs in it that have weights, and a pattern as `outputs/*/*adam*` for all that it matches.
    What the command line says of the device, the batch size, the precision and the data's folder takes precedence.
    """

    def run(self, cfg: DictConfig) -> float | None:
        """Returns the last run's test score. Errors: ConfigError without a run, DataError where one cannot be read."""
        for key in typed():
            if key not in (*COUNTS, *PLAIN) and not key.startswith(("hydra.", "tta.")):
                raise ConfigError(
                    f"{key}: task=evaluate takes it from the run's own config.yaml; what can be said here: {', '.join(COUNTS)}"
                )
        if not cfg.runs:
            raise ConfigError("runs=[]: task=evaluate needs a run directory; write runs=[outputs/DATE/TIME-NAME]")
        console = Console()
        scores = {directory: self._score(directory, cfg, console) for directory in directories(cfg.runs, console)}
        if len(scores) > 1:
            console.say("\nThe test split of all:")
            console.say(table("run", {short(directory): values for directory, values in scores.items()}))
        return [*scores.popitem()[1].values()][-1]

    def _score(self, directory: Path, cfg: DictConfig, console: Console) -> dict[str, float]:
        """Print the scores of a run; returns those of the test split."""
        folder = directory / "checkpoints"
        if not is_scorable(directory):
            raise DataError(
                f"runs=[{directory}]: not a run with weights in it; it must hold config.yaml and checkpoints/"
            )
        saved = OmegaConf.create(resume.saved_config(directory, "runs"))
        if "data" in typed() and cfg.data._target_ != saved.data._target_:
            raise ConfigError(
                f"data={hydra_context.choice('data')}: the run in {directory} was trained on other data, and is scored on its own"
            )
        said = {*typed(), *(key.partition(".")[0] for key in typed()), "device"} - {"norm.fold"}
        for key in said & {*COUNTS}:
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False)
        run = build_run(saved)
        model = run.model
        try:
            model.load_state_dict(checkpoint.load(checkpoint.pointed(folder, "best", "last"), run.device)["weights"])
        except (RuntimeError, KeyError) as error:
            raise DataError(
                f"runs=[{directory}]: its weights do not fit its configuration ({str(error).splitlines()[0]})"
            ) from None
        if cfg.norm.fold:
            model, count = fold(model, run.train.batch(torch.arange(2, device=run.device))[0])
            console.say(
                f"{count} batch norms folded into the layers before them"
                if count
                else "norm.fold: no batch norm stands directly behind a layer"
            )
        scores = {
            name: run.score(model, loader, run.tta)
            for name, loader in (("train", run.train), ("val", run.val), ("test", run.test))
            if len(loader)
        }
        how = [
            f"{'best' if (folder / 'best').is_file() else 'last'} weights",
            *([f"tta={hydra_context.choice('tta')}"] if "tta" in typed() else []),
        ]
        console.say(f"{directory} ({', '.join(how)})")
        console.say(table("split", scores))
        return scores["test"]


def directories(patterns: Sequence[str], console: Console) -> Iterator[Path]:
    """The runs that are meant, each once. Errors: DataError where a name matches nothing."""
    found = {}
    for pattern in map(str, patterns):
        if is_scorable(place := Path(pattern)):
            found[place.resolve()] = place
            continue
        below, _ = find([pattern])
        if len(below) > 1 and (without := [run for run in below if not is_scorable(run)]):
            console.say(
                f"note: {len(without)} of {len(below)} runs in {printable(pattern)} have no weights to score, as {short(without[0])}"
            )
            below = [run for run in below if run not in without]
        found |= {run.resolve(): run for run in below}
    yield from found.values()


def is_scorable(directory: Path) -> bool:
    return (directory / "config.yaml").is_file() and checkpoint.pointed(
        directory / "checkpoints", "best", "last"
    ) is not None


def table(first: str, scores: Mapping[str, Mapping[str, float]]) -> Table:
    """A row for each name, a column for each score."""
    headings = dict.fromkeys(heading for values in scores.values() for heading in values)
    shown = Table(first, *headings, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, values in scores.items():
        shown.add_row(Text(name), *(figure(values[heading]) if heading in values else "" for heading in headings))
    return shown


def typed() -> set[str]:
    """The keys on the command line."""
    return {text.partition("=")[0] for text in hydra_context.overrides()}
