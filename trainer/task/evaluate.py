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
from trainer.base.text import figure, from_here, printable
from trainer.comparison.table import relative
from trainer.config import catalog, keys, schema
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.fuse import fuse
from trainer.engine.probe import is_probe
from trainer.engine.recovery import newest_state
from trainer.engine.run import Run
from trainer.engine.split_report import evaluate_with_report, splits_of
from trainer.engine.state import fingerprints
from trainer.explanation.attribution import require_captum
from trainer.report.report import Report
from trainer.rundir import checkpoint, reader
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.resume import require_same
from trainer.rundir.saved_options import options_of
from trainer.rundir.title import title_from
from trainer.task import other_data
from trainer.task.evaluation_files import EvaluationFiles
from trainer.task.explained_mistakes import with_explained_mistakes
from trainer.task.finished_runs import has_checkpoint, run_directories


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Rebuild each run of `runs=[DIR,...]` from its own config.yaml, load its best weights and evaluate every split.

    A folder that is no run's means all runs in it that have weights, a pattern as `outputs/*/*adam*` all that it
    matches. Device, precision, folder of the data and the like are those of the command line. At another place than the
    run's own the data is one split of new samples, unless it is that which the run was trained on.

    evaluation.json and, in report/, what the model gets wrong on the last split are in a directory of their own.

    Args:
        explain: draw where the model finds its answers in the images of its worst mistakes.
    """

    explain: bool = False

    def execute(self, cfg: DictConfig, invocation: Invocation) -> float | None:
        """Return the last run's test score. Errors: ConfigError without a run, DataError where one cannot be read.

        Of a run whose data has no test split, the validation split counts; without that, the training split.
        """
        require_evaluation_keys(invocation)
        if not cfg.runs:
            raise ConfigError("runs=[]: task=evaluate needs a run directory; write runs=[outputs/DATE/TIME-NAME]")
        if self.explain:
            require_captum("task.explain=true")
        console = Console()
        scores, runs = {}, [*run_directories(cfg.runs, console)]
        files = EvaluationFiles(cfg, invocation, console, len(runs) > 1)
        for path in runs:
            split, values = evaluate_run(path, cfg, invocation, console, files, self.explain)
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
    directory: Path,
    cfg: DictConfig,
    invocation: Invocation,
    console: Console,
    files: EvaluationFiles,
    explain: bool = False,
) -> tuple[str, dict[str, float]]:
    """Print the scores of a run; return the last split that it has, of train, val and test, with its scores.

    Errors: DataError.
    """
    elsewhere = other_data.typed_location(cfg, invocation) is not None
    try:
        loaded = rebuild(directory, cfg, invocation, console)
    except (ConfigError, DataError):
        if not elsewhere:
            raise
        loaded = None
    if elsewhere and (loaded is None or not loaded.own_data):
        saved = merged(directory, cfg, invocation)
        values, report = other_data.evaluate_other_data(directory, saved, cfg, invocation, console)
        scores, reports, which = {other_data.NAME: values}, {other_data.NAME: report}, "best weights"
        console.print(table("split", scores))
    else:
        which = loaded.load_weights()
        scores, reports = evaluate_splits(loaded, which, cfg, invocation, console)
    last = [*scores][-1]
    for line in reports[last].text if last in reports else ():
        console.print(line)
    if explain and last in reports:
        with console.status("explaining the worst mistakes"):
            model = other_data.model_of(directory, cfg, invocation)
            reports[last], how = with_explained_mistakes(reports[last], model)
        console.print(how)
    files.add(directory, which, scores, reports)
    return last, scores[last]


def evaluate_splits(
    loaded: "Rebuilt", which: str, cfg: DictConfig, invocation: Invocation, console: Console
) -> tuple[dict[str, dict[str, float]], dict[str, Report]]:
    """Print the scores of a run on its own splits, and return them with a report on each; the last one has files."""
    run, directory = loaded.run, loaded.directory
    model = run.model
    if cfg.norm.fuse:
        model, count = fuse(model, run.train.batch(torch.arange(2, device=run.device))[0])
        fused = f"{count} batch norms fused into the layers before them"
        console.print(fused if count else "norm.fuse: no batch norm directly follows a layer")
    views = [invocation.describe("tta")] if "tta" in invocation.typed_keys else []
    console.print(f"{printable(directory)} ({', '.join([which, *views])})")
    scores, reports = {}, {}
    names = [name for name, (split, _) in splits_of(run).items() if len(split)]
    for name in names:
        title = f"{loaded.title}: {from_here(directory)} ({which})"
        scores[name], report, failure = evaluate_with_report(run, model, name, printable(title), name == names[-1])
        if report is not None:
            reports[name] = report
        else:
            console.print(f"note: no report on the {name} split ({failure})")
    console.print(table("split", scores))
    return scores, reports


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
        own_data: whether the data is that which it was trained with.
    """

    directory: Path
    cfg: DictConfig
    run: Run
    weights: Mapping[str, torch.Tensor]
    best: bool
    probes: Sequence[Mapping]
    own_data: bool

    @property
    def title(self) -> str:
        """The options of the run's data and model, and what else was typed for it."""
        typed = reader.read_overrides(self.directory)
        return title_from(dict(options_of(reader.read_config(self.directory, "runs"), typed)), typed)

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
    if not has_checkpoint(directory):
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
    own_data = require_of_run(name, run, state, directory, invocation)
    best = checkpoint.best_step(state)
    weights = state["weights"] if best is None else Checkpoints(directory).weights_of(best, run.device)
    probes = [found for found in probes_in(state) if is_probe(found)]
    return Rebuilt(
        directory=directory,
        cfg=saved,
        run=run,
        weights=weights,
        best=best is not None,
        probes=probes,
        own_data=own_data,
    )


def probes_in(state: Mapping) -> Sequence:
    """Return what a state holds as its run's probes."""
    progress = state.get("progress")
    probes = progress.get("probes") if isinstance(progress, Mapping) else ()
    return probes if isinstance(probes, Sequence) else ()


def require_of_run(name: str, run: Run, state: Mapping, directory: Path, invocation: Invocation) -> bool:
    """Check that a run's configuration and its data are those that its checkpoint was written with.

    Data that is typed may be another: return whether it is not. Errors: DataError.
    """
    try:
        require_same(state, reader.read_config(directory, "runs"))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    before = state.get("data")
    before = before if isinstance(before, list) and all(isinstance(each, str) for each in before) else []
    now = fingerprints(run)
    typed = any(keys.is_location(key) or key == "data" for key in invocation.typed_keys)
    if before != now and not typed:
        known = zip_longest(("train", "val", "test"), before, now)
        changed = [split for split, earlier, later in known if split and earlier != later]
        what = f"its {' and '.join(changed)} data are not those that it was trained with: other samples or labels"
        raise DataError(f"{name}: {what}; to evaluate it on other data, type data.root=DIR or data.path=FILE")
    return before == now


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


def table(first: str, scores: Mapping[str, Mapping[str, float]]) -> Table:
    """Return a table with a row for each name and a column for each score."""
    headings = dict.fromkeys(heading for values in scores.values() for heading in values)
    made = Table(first, *headings, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, values in scores.items():
        made.add_row(Text(name), *(figure(values[heading]) if heading in values else "" for heading in headings))
    return made
