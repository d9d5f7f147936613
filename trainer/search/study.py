"""Study of a search in its database: opened, given results, and reported with its best run."""

import re
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from hydra.core.utils import JobReturn, JobStatus

from trainer.base.atomic import atomic_write, write_figure
from trainer.base.errors import ConfigError, MachineError, UserError
from trainer.base.metrics import ACCURACY, monitored
from trainer.base.text import counted, printable
from trainer.comparison.plot import title_of_runs
from trainer.comparison.record import is_run, read
from trainer.comparison.table import relative
from trainer.config.keys import key_of
from trainer.rundir.console import Console
from trainer.rundir.title import in_lines
from trainer.sweep.jobs import distinguishes

if TYPE_CHECKING:
    from optuna import Study

# Optuna's states of a trial that has ended.
OUTCOMES = {"complete": "finished", "pruned": "ended early", "fail": "failed"}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log and its warnings about experimental features."""
    from optuna import logging

    logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_sampler(sampler: str, seed: int, number: int) -> object:
    """Return a sampler for one trial, seeded by (seed, number); running trials count, so that two at a time differ."""
    from numpy.random import SeedSequence
    from optuna.samplers import RandomSampler, TPESampler

    makers = {
        "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),
        "random": lambda seed: RandomSampler(seed=seed),
    }
    with quiet():
        return makers[sampler](int(SeedSequence([seed, number]).generate_state(1)[0]))


def direction_of(monitor: str) -> str:
    """Return `maximize` or `minimize`. `auto` is a score, and a larger score of any kind of data is better."""
    return monitored(monitor, [ACCURACY.name]).direction


def open_study(storage: str | None, folder: Path, name: str, direction: str) -> "Study":
    """Return the study in its database, made where it is new.

    Args:
        storage: URL of the database; None for study.db in the folder.
    Errors: MachineError, without the password of the URL.
    """
    import optuna

    url = storage or f"sqlite:///{folder / 'study.db'}"
    # SQLite lets one process write at a time.
    patience = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        with quiet():
            database = optuna.storages.RDBStorage(url, engine_kwargs=patience)
            return optuna.create_study(storage=database, study_name=name, direction=direction, load_if_exists=True)
    except Exception as error:  # each driver has its own
        missing = getattr(error.__cause__, "name", None) if isinstance(error, ImportError) else None
        reason = mask_password(str(error).partition("\n")[0])
        why = f"its driver is missing: pip install {missing}" if missing else reason
        raise MachineError(f"hydra.sweeper.storage={mask_password(url)}: cannot be opened ({why})") from None


def mask_password(text: str) -> str:
    """Replace the password of a URL by asterisks."""
    return printable(re.sub(r"(password=)[^&\s]*", r"\1***", re.sub(r"(://[^:/\s]*:)[^\s]*@", r"\1***@", text)))


def require_same_overrides(study: "Study", lines: Sequence[str]) -> None:
    """Check that a study was begun with these overrides, but for those that change no score. Errors: ConfigError."""
    asked = sorted(line for line in lines if distinguishes(key_of(line)))
    known = study.user_attrs.get("asked")
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("asked", asked)
    elif known != asked:
        before = printable(" ".join(known or ["(none)"]))
        raise ConfigError(
            f"hydra.sweeper.study_name={study.study_name}: was begun with other overrides: {before}\n"
            "choose another folder with hydra.sweep.dir=DIR, or another study with hydra.sweeper.study_name=NAME"
        )


def record_result(study: "Study", number: int, returned: JobReturn) -> None:
    """Record a run's best validation score: as failed where there is none, as pruned where the run was ended early."""
    from optuna.trial import TrialState

    value = returned.return_value if returned.status == JobStatus.COMPLETED else None  # else the property raises
    if not isinstance(value, int | float):
        study.tell(number, state=TrialState.FAIL)
    elif study.get_trials(deepcopy=False)[number].user_attrs.get("pruned"):
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, value)


def report_best(study: "Study", folder: Path, overrides_of: Callable[..., list[str]], monitor: str) -> None:
    """Print the best run's command, and write best.yaml and the figures.

    Args:
        overrides_of: returns the overrides of a trial's run.
    Errors: UserError where no run has a score.
    """
    states = Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False))
    ended = {state: states[state] for state in OUTCOMES}
    trials = counted("trial", sum(ended.values()))
    if not ended["complete"]:
        raise UserError(f"no run of the search has a score ({trials}); see the run.log of each in {printable(folder)}")
    best = study.best_trial
    overrides = overrides_of(best)
    content = {"value": best.value, "monitor": monitor, "trial": best.number, "overrides": overrides, "trials": ended}
    atomic_write(folder / "best.yaml", yaml.safe_dump(content, sort_keys=False).encode())
    score = f"validation {'score' if monitor == 'auto' else monitor}"
    figures = draw(study, folder, score)
    others = ", ".join(f"{ended[state]} {OUTCOMES[state]}" for state in ("pruned", "fail") if ended[state])
    console = Console()
    console.print(
        f"\nbest of {trials}{f' ({others})' if others else ''}, {score} {best.value:.4f}: "
        f"train {printable(shlex.join(overrides))}"
    )
    console.print(f"The search is in {relative(folder)}: {', '.join(['best.yaml', *figures])}")


def draw(study: "Study", folder: Path, score: str) -> list[str]:
    """Draw search_history.png, search_slice.png and, where there is anything to compare, search_importance.png.

    A run that was ended early has the score that it had then; one that failed has none. Returns the names of the files.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    shown, early = with_pruned(study)
    makers = {"history": plots.plot_optimization_history, "slice": plots.plot_slice}
    if len(study.best_params) > 1 and len({trial.value for trial in shown.trials}) > 1:
        makers["importance"] = plots.plot_param_importances
    title = counted("run", len(shown.trials)) + (
        f"; {early} ended early, with the score they had then" if early else ""
    )
    runs = [read(directory) for directory in sorted(folder.iterdir()) if is_run(directory)]
    width = 4 + 3 * len(study.best_params)
    what = in_lines(title_of_runs(runs), width) if runs else ""
    for name, plot in makers.items():
        with quiet():
            axes = plot(shown, target_name=score)
            figure = getattr(axes, "figure", None) or axes.flat[0].figure
            for part in figure.axes:
                part.set_title("")
                part.set_title("", loc="left")
                part.tick_params(axis="x", which="both", labelrotation=30)
            figure.suptitle(f"{name}: {title}\n{what}".strip(), fontsize=10)
            figure.set_size_inches(width, 5)
            write_figure(figure, folder / f"search_{name}.png", bbox_inches="tight")
        pyplot.close(figure)
    return [f"search_{name}.png" for name in makers]


def with_pruned(study: "Study") -> "tuple[Study, int]":
    """Return the trials with a score as a study in memory, all complete; and the number of those ended early."""
    import optuna

    with quiet():
        shown = optuna.create_study(direction=study.direction)
        scored = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
        for trial in scored:
            shown.add_trial(
                optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=trial.value)
            )
    return shown, sum(trial.state.name == "PRUNED" for trial in scored)
