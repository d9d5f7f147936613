"""A search's memory: the study in its database, what it proposes, and what it came to."""

import re
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from hydra.core.utils import JobReturn

from trainer.base.atomic import atomic_write
from trainer.base.errors import ConfigError, MachineError, UserError
from trainer.base.text import printable
from trainer.compare.table import counted, short
from trainer.rundir import resume
from trainer.rundir.console import Console

if TYPE_CHECKING:
    from optuna import Study


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log and its warnings about what is experimental."""
    from optuna import logging

    logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def proposing(sampler: str, seed: int, number: int) -> object:
    """A sampler for one trial, from (seed, number) alone; what is running already counts, so that jobs at the same time differ."""
    from numpy.random import SeedSequence
    from optuna.samplers import RandomSampler, TPESampler

    makers = {
        "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),
        "random": lambda seed: RandomSampler(seed=seed),
    }
    with quiet():
        return makers[sampler](int(SeedSequence([seed, number]).generate_state(1)[0]))


def opened(storage: str | None, folder: Path, name: str, direction: str) -> "Study":
    """The study in its database, made where it is new. Errors: MachineError, without the password of its URL."""
    import optuna

    url = storage or f"sqlite:///{folder / 'study.db'}"
    try:
        with quiet():
            patient = (
                {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
            )  # it lets one process write at a time
            database = optuna.storages.RDBStorage(url, engine_kwargs=patient)
            return optuna.create_study(storage=database, study_name=name, direction=direction, load_if_exists=True)
    except Exception as error:  # each driver has its own
        missing = getattr(error.__cause__, "name", None) if isinstance(error, ImportError) else None
        why = f"its driver is missing: pip install {missing}" if missing else masked(str(error).partition("\n")[0])
        raise MachineError(f"hydra.sweeper.storage={masked(url)}: cannot be opened ({why})") from None


def masked(text: str) -> str:
    return printable(re.sub(r"(password=)[^&\s]*", r"\1***", re.sub(r"(://[^:/\s]*:)[^\s]*@", r"\1***@", text)))


def require_same(study: "Study", lines: Sequence[str]) -> None:
    """Hold a study that is there already to the words it was begun with, but for those that change no score. Errors: ConfigError."""
    asked = sorted(
        line for line in lines if line.partition("=")[0] not in resume.HARMLESS or line.startswith("epochs=")
    )
    known = study.user_attrs.get("asked")
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("asked", asked)
    elif known != asked:
        raise ConfigError(
            f"hydra.sweeper.study_name={study.study_name}: was begun with other words: {printable(' '.join(known or ['(none)']))}\n"
            "hydra.sweep.dir=DIR names another folder, hydra.sweeper.study_name=NAME another study in the same database"
        )


def tell(study: "Study", number: int, returned: JobReturn) -> None:
    """Write down what a run came to: its best validation score; failed where it has none; pruned where it was ended early."""
    from optuna.trial import TrialState

    value = returned._return_value  # the property raises where the job did
    if not isinstance(value, int | float):
        study.tell(number, state=TrialState.FAIL)
    elif study.get_trials(deepcopy=False)[number].user_attrs.get("pruned"):
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, value)


def answer(study: "Study", folder: Path, words: Callable[..., list[str]], monitor: str) -> None:
    """Print the best words, write best.yaml and the plots. Errors: UserError where no run has a score."""
    from optuna.trial import TrialState

    states = Counter(trial.state for trial in study.get_trials(deepcopy=False))
    ended = {state.name.lower(): states[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)}
    if not ended["complete"]:
        raise UserError(
            f"none of the search's {sum(ended.values())} runs ended with a score; their run.log says why: {printable(folder)}"
        )
    best = study.best_trial
    told = {"value": best.value, "monitor": monitor, "trial": best.number, "words": words(best), "trials": ended}
    atomic_write(folder / "best.yaml", yaml.safe_dump(told, sort_keys=False).encode())
    score = f"validation {'score' if monitor == 'auto' else monitor}"
    drawn = draw(study, folder, score)
    ill = ", ".join(
        f"{ended[name]} {said}" for name, said in (("pruned", "ended early"), ("fail", "failed")) if ended[name]
    )
    Console().print(
        f"\nbest of {sum(ended.values())} trials{f' ({ill})' if ill else ''}, {score} {best.value:.4f}: train {printable(shlex.join(words(best)))}"
    )
    Console().print(f"The search itself is in {short(folder)}: {', '.join(['best.yaml', *drawn])}")


def draw(study: "Study", folder: Path, score: str) -> list[str]:
    """search_history.png, search_slice.png and, where there is something to compare, search_importance.png; returns their names.

    A run that was ended early stands in them with the score that it had; one that failed has none.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    shown, early = with_pruned(study)
    plain = {"history": plots.plot_optimization_history, "slice": plots.plot_slice}
    several = len(study.best_params) > 1 and len({trial.value for trial in shown.trials}) > 1
    made = {**plain, **({"importance": plots.plot_param_importances} if several else {})}
    title = counted("run", len(shown.trials)) + (
        f"; {early} ended early, with the score that they had then" if early else ""
    )
    for name, plot in made.items():
        with quiet():
            axes = plot(shown, target_name=score)
            figure = getattr(axes, "figure", None) or axes.flat[0].figure
            for part in figure.axes:
                part.set_title("")
                part.set_title("", loc="left")
                part.tick_params(axis="x", which="both", labelrotation=30)
            figure.suptitle(f"{name}: {title}", fontsize=11)
            figure.set_size_inches(4 + 3 * len(study.best_params), 5)
            figure.savefig(folder / f"search_{name}.png", dpi=110, bbox_inches="tight")
        pyplot.close(figure)
    return [f"search_{name}.png" for name in made]


def with_pruned(study: "Study") -> "tuple[Study, int]":
    """The trials that have a score as a study in memory, in which those that were ended early count as any other; and how many these are."""
    import optuna

    with quiet():
        shown = optuna.create_study(direction=study.direction)
        scored = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
        for trial in scored:
            shown.add_trial(
                optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=trial.value)
            )
    return shown, sum(trial.state.name == "PRUNED" for trial in scored)
