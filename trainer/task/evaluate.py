"""task=evaluate: score finished runs again."""

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from trainer import build, checkpoint, launch, resume
from trainer.console import Console
from trainer.errors import ConfigError, DataError
from trainer.fold import fold

COUNTS = ("device", "threads", "eval_batch_size", "precision", "compile", "data.root", "norm.fold", "tta", "residency", "workers")  # what the command line decides; the run, the rest
PLAIN = ("task", "runs", "output", "allow", "data")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Rebuild each run of `runs=[DIR,...]` from its own config.yaml, load its best weights and score every split.

    What the command line says of the device, the batch size, the precision and the data's folder takes precedence.
    """

    def run(self, cfg: DictConfig) -> float | None:
        """Returns the last run's test score. Errors: ConfigError without a run, DataError where one cannot be read."""
        for key in typed():
            if key not in (*COUNTS, *PLAIN) and not key.startswith(("hydra.", "tta.")):
                raise ConfigError(f"{key}: task=evaluate takes it from the run's own config.yaml; what can be said here: {', '.join(COUNTS)}")
        if not cfg.runs:
            raise ConfigError("runs=[]: task=evaluate needs a run directory; write runs=[outputs/DATE/TIME-NAME]")
        console, score = Console(), None
        for path in cfg.runs:
            score = self._score(Path(path), cfg, console)
        return score

    def _score(self, directory: Path, cfg: DictConfig, console: Console) -> float:
        folder = directory / "checkpoints"
        path = checkpoint.pointed(folder, "best", "last")
        if path is None or not (directory / "config.yaml").is_file():
            raise DataError(f"runs=[{directory}]: not a run with weights in it; it must hold config.yaml and checkpoints/")
        saved = OmegaConf.create(resume.saved_config(directory, "runs"))
        if "data" in typed() and cfg.data._target_ != saved.data._target_:
            raise ConfigError(f"data={launch.choice('data')}: the run in {directory} was trained on other data, and is scored on its own")
        said = {*typed(), *(key.partition(".")[0] for key in typed()), "device"} - {"norm.fold"}
        for key in said & {*COUNTS}:
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False)
        run = build.run(saved)
        model = run.model
        try:
            model.load_state_dict(checkpoint.load(path, run.device)["weights"])
        except (RuntimeError, KeyError) as error:
            raise DataError(f"runs=[{directory}]: its weights do not fit its configuration ({str(error).splitlines()[0]})") from None
        if cfg.norm.fold:
            model, count = fold(model, run.train.batch(torch.arange(2, device=run.device))[0])
            console.say(f"{count} batch norms folded into the layers before them" if count else "norm.fold: no batch norm stands directly behind a layer")
        scores = {name: run.score(model, loader, run.tta) for name, loader in (("train", run.train), ("val", run.val), ("test", run.test)) if len(loader)}
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("split", *scores["test"]):
            table.add_column(heading)
        for name, values in scores.items():
            table.add_row(name, *(f"{value:.4f}" for value in values.values()))
        console.say(f"{directory} ({'best' if (folder / 'best').is_file() else 'last'} weights)")
        console.say(table)
        return list(scores["test"].values())[-1]


def typed() -> set[str]:
    """The keys on the command line."""
    return {text.partition("=")[0] for text in launch.overrides()}
