"""`train --help`, for all decisions, one group or one option."""

import argparse
from pathlib import Path

import rich.console
from rich.table import Column, Table

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean
from trainer.config import catalog, hydra_context

EXAMPLES = {
    "train": "train on data that ships with the install",
    "train optimizer=adam sched=cosine": "change two decisions",
    "train optimizer.lr=0.01 epochs=20": "change a number of one",
    "train reg=[l2,dropout] aug=[crop,flip]": "these two take several options",
    "train -m optimizer=sgd,adam seed=0,1,2": "a grid of runs",
    "train --help hydra/launcher": "many runs at a time, here or on a cluster",
    "train --help hydra/sweeper": "search instead of a grid",
    "train task=compare runs=[outputs/*/*]": "put runs side by side",
    "train task=preview sched=cosine warmup=linear": "draw the learning rate, train nothing",
    "train resume=outputs/DATE/TIME...": "go on where a run stopped",
    "train task=evaluate runs=[outputs/DATE/TIME...]": "score a finished run again",
    "train --cfg job optimizer=adam": "show the configuration, run nothing",
    "train --help optimizer": "the options of a group",
    "train --help optimizer=adam": "the keys of an option",
    "tensorboard --logdir outputs": "look at the curves",
}


SPACES = {
    "'optimizer.lr=tag(log,interval(1e-4,1e-1))'": "by powers of ten",
    "'reg.layer.dropout.p=interval(0,0.5)'": "evenly",
    "'epochs=range(5,50)'": "whole numbers, 5 to 49",
    "model=mlp,cnn": "choices",
    "hydra.sweep.dir=DIR": "goes on with the search in a folder, with the words that it was begun with",
}
LAUNCHERS = {  # what hydra/launcher=NAME does, and one of the keys it takes
    "basic": ("one job after the other, in this process (as without a launcher)", ""),
    "joblib": ("as many jobs at a time on this machine as it has GPUs, else cores", "hydra.launcher.n_jobs=4"),
    "submitit_local": (
        "each job in a process of its own on this machine, as on a cluster",
        "hydra.launcher.timeout_min=60",
    ),
    "submitit_slurm": ("each job sent to Slurm", "hydra.launcher.partition=gpu hydra.launcher.gpus_per_node=1"),
    "ray": ("jobs on a cluster of Ray, or on this machine where there is none", "hydra.launcher.ray.init.address=auto"),
    "ray_aws": ("jobs on machines that Ray rents from Amazon", ""),
}


def show(arguments: list[str]) -> None:
    """Print the help that the words ask for. Errors: ConfigError on a group or option that does not exist."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    flags, rest = parser.parse_known_args(arguments)
    catalog.extra_folders[:] = [flags.config_dir] if flags.config_dir else []
    words = [word for word in rest if not word.startswith("-")]
    console = rich.console.Console(highlight=False)
    if not words:
        overview(console)
    for word in words:
        page(console, word)


def page(console: rich.console.Console, word: str) -> None:
    """What a word means: a group, an option of one, a number of the run."""
    group, _, option = word.partition("=")
    numbers = catalog.keys(catalog.folder() / "config.yaml")
    owners = [name for name in catalog.groups() if group in catalog.options(name)]
    if group in catalog.groups():
        if not option:
            return group_page(console, group)
        for name in option.strip("[]").split(","):
            if name not in catalog.options(group):
                raise ConfigError(f"--help {word}: no such {group}; {did_you_mean(name, catalog.options(group))}")
            option_page(console, group, name)
    elif below := {path: key for path, key in numbers.items() if path == group or path.startswith(f"{group}.")}:
        console.print(key_table(below), markup=False)
        if group == "sweep":
            console.print(
                pairs(
                    {
                        "hydra.sweep.dir=DIR": "folder of the sweep; the same words with it go on with a sweep that is there"
                    }
                ),
                markup=False,
            )
    elif group == "hydra/launcher":
        launcher_page(console)
    elif group == "hydra/sweeper":
        option_page(console, group, "optuna", "hydra.sweeper")
        console.print("\nWhat to search, behind train -m hydra/sweeper=optuna:", markup=False)
        console.print(pairs(SPACES), markup=False)
    elif owners and not option:
        for owner in owners:
            option_page(console, owner, group)
    else:
        raise ConfigError(
            f"--help {word}: no such decision; {did_you_mean(group, [*catalog.groups(), *numbers, 'hydra/launcher', 'hydra/sweeper'])}"
        )


def overview(console: rich.console.Console) -> None:
    console.print(
        "train: a command-line laboratory for training neural networks. Every decision is one word: KEY=VALUE.\n",
        markup=False,
    )
    console.print(pairs(EXAMPLES), markup=False)
    chosen = catalog.defaults()
    table = columns()
    for group in catalog.groups():
        first = chosen.get(group)
        names = [f"{name}*" if name == first else name for name in catalog.options(group)]
        table.add_row(group, " ".join(names))
    console.print("\nDecisions and their options (* the default):", markup=False)
    console.print(table, markup=False)
    console.print("\nNumbers of the run:", markup=False)
    console.print(key_table(catalog.keys(catalog.folder() / "config.yaml")), markup=False)


def group_page(console: rich.console.Console, group: str) -> None:
    table = columns()
    for name in catalog.options(group):
        mark = "*" if catalog.defaults().get(group) == name else ""
        table.add_row(f"{group}={name}{mark}", catalog.headline(catalog.file(group, name)))
    console.print(table, markup=False)


def launcher_page(console: rich.console.Console) -> None:
    table = columns()
    for name, (meaning, example) in LAUNCHERS.items():
        extra = hydra_context.LAUNCHERS.get(name)
        table.add_row(
            f"hydra/launcher={name}",
            "; ".join(filter(None, (meaning, example, extra and f"pip install 'trainer[{extra}]'"))),
        )
    console.print(table, markup=False)


def option_page(console: rich.console.Console, group: str, name: str, prefix: str = "") -> None:
    path = catalog.file(group, name)
    console.print(f"{group}={name}\n  {catalog.headline(path)}", markup=False)
    if chosen := catalog.overrides(path):
        console.print(f"  It chooses {' '.join(chosen)}; what you type wins.", markup=False)
    console.print(key_table(catalog.keys(path, prefix or group)), markup=False)


def key_table(keys: dict[str, catalog.Key]) -> Table:
    table = columns()
    for key in keys.values():
        table.add_row(f"{key.path}={catalog.as_typed(key.default)}", key.comment)
    return table


def pairs(said: dict[str, str]) -> Table:
    """What to type, never broken, and what it does."""
    table = columns(Column(no_wrap=True), Column())
    for command, meaning in said.items():
        table.add_row(command, meaning)
    return table


def columns(*headings: Column) -> Table:
    return Table(*headings, box=None, show_header=False, pad_edge=True, padding=(0, 2, 0, 2))
