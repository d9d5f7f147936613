"""task=evaluate: evaluate finished runs again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from rich.text import Text

from trainer.base.errors import ConfigError, DataError
from trainer.base.plain_files import require_plain
from trainer.base.text import figure, printable
from trainer.comparison.record import find
from trainer.comparison.table import relative
from trainer.config import catalog, keys, schema
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.fuse import fuse
from trainer.engine.probe import is_probe
from trainer.engine.recovery import newest_state
from trainer.engine.run import Run
from trainer.engine.state import fingerprints
from trainer.rundir import checkpoint, reader
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.resume import require_same
from trainer.rundir.saved_options import options_of


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Rebuild each run of `runs=[DIR,...]` from its own config.yaml, load its best weights and evaluate every split.

    A folder that is no run's means all runs in it that have weights, a pattern as `outputs/*/*adam*` all that it
    matches. Device, precision, folder of the data and the like are those of the command line.
    """

    def execute(self, cfg: DictConfig, invocation: Invocation) -> float | None:
        """Return the last run's test score. Errors: ConfigError without a run, DataError where one cannot be read.

        Of a run whose data has no test split, the validation split counts; without that, the training split.
        """
        require_evaluation_keys(invocation)
        if not cfg.runs:
            raise ConfigError("runs=[]: task=evaluate needs a run directory; write runs=[outputs/DATE/TIME-NAME]")
        console = Console()
        scores = {}
        for path in run_directories(cfg.runs, console):
            split, values = evaluate_run(path, cfg, invocation, console)
            scores[relative(path) if split == "test" else f"{relative(path)} ({split})"] = values
        if len(scores) > 1:
            console.print("\nTest split of all runs:")
            console.print(table("run", scores))
        return [*scores.popitem()[1].values()][-1]


def require_evaluation_keys(invocation: Invocation, without: Sequence[str] = ()) -> None:
    """Refuse typed keys that shape a finished run. Errors: ConfigError.

    Args:
        without: keys of task=evaluate that this task has no use for.
    """
    for key in invocation.typed_keys:
        unused = any(key == name or key.startswith(f"{name}.") for name in without)
        if key != "data" and keys.belongs_to_run(key) and (unused or not keys.counts_in_evaluation(key)):
            accepted = [path for path in known_keys() if keys.counts_in_evaluation(path) and path not in without]
            task = invocation.describe("task")
            why = f"{task} has no use for it" if unused else f"{task} takes it from the run's config.yaml"
            raise ConfigError(f"{key}: {why}; it accepts {', '.join(accepted)}")


def known_keys() -> Iterator[str]:
    """Yield the keys that any run has, and those of evaluation."""
    yield from schema.keys(catalog.folder() / "config.yaml")
    yield from ("data.root", "data.path", "norm.fuse", "tta")


def evaluate_run(
    directory: Path, cfg: DictConfig, invocation: Invocation, console: Console
) -> tuple[str, dict[str, float]]:
    """Print the scores of a run; return the last split that it has, of train, val and test, with its scores.

    Errors: DataError.
    """
    loaded = rebuild(directory, cfg, invocation, console)
    run, which = loaded.run, loaded.load_weights()
    model = run.model
    if cfg.norm.fuse:
        model, count = fuse(model, run.train.batch(torch.arange(2, device=run.device))[0])
        fused = f"{count} batch norms fused into the layers before them"
        console.print(fused if count else "norm.fuse: no batch norm directly follows a layer")
    views = [invocation.describe("tta")] if "tta" in invocation.typed_keys else []
    console.print(f"{printable(directory)} ({', '.join([which, *views])})")
    scores = {name: run.evaluate(model, split, run.tta) for name, split in splits_of(run) if len(split)}
    console.print(table("split", scores))
    return [*scores.items()][-1]


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A finished run, built anew from its own config.yaml.

    Args:
        directory: the run's.
        cfg: its configuration, with the keys that the command line decides.
        run: fresh, as before its first step.
        weights: its best weights, of runs without a validation split the last ones.
        best: whether they are the best ones.
        probes: of the run, as far as its checkpoint has them.
    """

    directory: Path
    cfg: DictConfig
    run: Run
    weights: Mapping[str, torch.Tensor]
    best: bool
    probes: Sequence[Mapping]

    def load_weights(self) -> str:
        """Put the weights into the run's model, and return which ones they are. Errors: DataError."""
        try:
            self.run.model.load_state_dict(self.weights)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            reason = printable(str(error).partition("\n")[0])
            what = f"its weights do not fit its configuration ({reason})"
            raise DataError(f"runs=[{printable(self.directory)}]: {what}") from None
        return "best weights" if self.best else "last weights"


def rebuild(directory: Path, cfg: DictConfig, invocation: Invocation, console: Console) -> Rebuilt:
    """Build a finished run anew, and read its weights. Errors: ConfigError, DataError."""
    if not has_weights(directory):
        needs = "a run with weights; it must hold config.yaml and checkpoints/"
        raise DataError(f"runs=[{printable(directory)}]: not {needs}")
    name = f"runs=[{printable(directory)}]"
    require_plain(directory, name)
    saved = merged(directory, cfg, invocation)
    run = build_run(saved, invocation, begins=False)
    state, skipped = newest_state(directory, run.device)
    for line in skipped:
        console.print(f"note: {line}")
    if state is None:
        raise DataError(f"{name}: none of its checkpoints is complete")
    require_of_run(name, run, state, directory, invocation)
    best = checkpoint.best_step(state)
    weights = state["weights"] if best is None else Checkpoints(directory).weights_of(best, run.device)
    probes = [found for found in probes_in(state) if is_probe(found)]
    return Rebuilt(directory=directory, cfg=saved, run=run, weights=weights, best=best is not None, probes=probes)


def probes_in(state: Mapping) -> Sequence:
    """Return what a state holds as its run's probes."""
    progress = state.get("progress")
    probes = progress.get("probes") if isinstance(progress, Mapping) else ()
    return probes if isinstance(probes, Sequence) else ()


def require_of_run(name: str, run: Run, state: Mapping, directory: Path, invocation: Invocation) -> None:
    """Check that a run's configuration and its data are those that its checkpoint was written with.

    Data that is typed may be another. Errors: DataError.
    """
    try:
        require_same(state, reader.read_config(directory, "runs"))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    if any(keys.is_location(key) or key == "data" for key in invocation.typed_keys):
        return
    before = state.get("data")
    before = before if isinstance(before, list) and all(isinstance(each, str) for each in before) else []
    if before != (now := fingerprints(run)):
        known = zip_longest(("train", "val", "test"), before, now)
        changed = [split for split, earlier, later in known if split and earlier != later]
        what = f"its {' and '.join(changed)} data are not those that it was trained with: other samples or labels"
        raise DataError(f"{name}: {what}; to evaluate it on other data, type data.root=DIR or data.path=FILE")


def splits_of(run: Run) -> Sequence[tuple[str, object]]:
    """Return the splits with their names."""
    return ("train", run.train), ("val", run.val), ("test", run.test)


def merged(directory: Path, cfg: DictConfig, invocation: Invocation) -> DictConfig:
    """Return the run's own configuration with the keys that the command line decides, typed or not.

    Errors: ConfigError, DataError.
    """
    plain = reader.read_config(directory, "runs")
    saved, options = OmegaConf.create(plain), dict(options_of(plain, reader.read_overrides(directory)))
    for key, rule in schema.keys(catalog.folder() / "config.yaml").items():
        if keys.belongs_to_run(key) and OmegaConf.select(saved, key) is None:  # of a version that did not have it
            OmegaConf.update(saved, key, rule.default, force_add=True)
    for key, rule in schema.rules({"reg": {}, "aug": {}}, options).items():
        if keys.is_of_command(key) and OmegaConf.select(saved, key) is not None:
            OmegaConf.update(saved, key, rule.default)
    if "data" in invocation.typed_keys and cfg.data._target_ != saved.data._target_:
        option = invocation.describe("data")
        raise ConfigError(f"{option}: the run in {printable(directory)} was trained on other data; leave {option} out")
    typed = {key for key in invocation.typed_keys if keys.counts_in_evaluation(key)}
    typed = {"tta" if key.startswith("tta.") else key for key in typed}
    for key in typed - {"norm.fuse"}:
        OmegaConf.update(saved, key, OmegaConf.select(cfg, key), merge=False)
    return saved


def run_directories(patterns: Sequence[str], console: Console) -> Iterator[Path]:
    """Yield the runs that are meant, each once. Errors: DataError where a name matches nothing."""
    found = {}
    for pattern in map(str, patterns):
        if has_weights(place := Path(pattern)):
            found[place.resolve()] = place
            continue
        below, _ = find([pattern])
        if len(below) > 1 and (without := [run for run in below if not has_weights(run)]):
            count = f"{len(without)} of {len(below)} runs in {printable(pattern)}"
            console.print(f"note: {count} have no weights to evaluate, as {relative(without[0])}")
            below = [run for run in below if run not in without]
        found |= {run.resolve(): run for run in below}
    yield from found.values()


def has_weights(directory: Path) -> bool:
    """Return whether a directory is that of a run with a checkpoint."""
    return (directory / "config.yaml").is_file() and any(checkpoint.newest_first(directory / "checkpoints"))


def table(first: str, scores: Mapping[str, Mapping[str, float]]) -> Table:
    """Return a table with a row for each name and a column for each score."""
    headings = dict.fromkeys(heading for values in scores.values() for heading in values)
    made = Table(first, *headings, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, values in scores.items():
        made.add_row(Text(name), *(figure(values[heading]) if heading in values else "" for heading in headings))
    return made
