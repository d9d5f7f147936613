"""`train --help`, for all decisions, one group or one option."""

import rich.console
from rich.table import Table

from trainer import conf
from trainer.errors import ConfigError, closest

EXAMPLES = """\
train                                             train on data that ships with the install
train optimizer=adam sched=cosine                 change two decisions
train optimizer.lr=0.01 epochs=20                 change a number of one
train reg=[l2,dropout] aug=[crop,flip]            these two take several options
train -m optimizer=sgd,adam seed=0,1,2            a grid of runs
train task=evaluate runs=[outputs/DATE/TIME...]   score a finished run again
train --cfg job optimizer=adam                    show the configuration, run nothing
train --help optimizer                            the options of a group
train --help optimizer=adam                       the keys of an option
tensorboard --logdir outputs                      look at the curves"""


def show(words: list[str]) -> None:
    """Print the help that the words ask for. Errors: ConfigError on a group or option that does not exist."""
    console = rich.console.Console(highlight=False)
    if not words:
        overview(console)
    for word in words:
        group, _, option = word.partition("=")
        if group not in conf.groups():
            raise ConfigError(f"--help {word}: no such group; {closest(group, conf.groups())}")
        if not option:
            group_page(console, group)
            continue
        for name in option.strip("[]").split(","):
            if name not in conf.options(group):
                raise ConfigError(f"--help {word}: no such {group}; {closest(name, conf.options(group))}")
            option_page(console, group, name)


def overview(console: rich.console.Console) -> None:
    console.print("train: a command-line laboratory for training neural networks. Every decision is one word: KEY=VALUE.\n", markup=False)
    console.print(EXAMPLES, markup=False)
    chosen = conf.defaults()
    table = columns()
    for group in conf.groups():
        first = chosen.get(group)
        names = [f"{name}*" if name == first else name for name in conf.options(group)]
        table.add_row(group, " ".join(names))
    console.print("\nDecisions and their options (* the default):", markup=False)
    console.print(table, markup=False)
    console.print("\nNumbers of the run:", markup=False)
    console.print(key_table(conf.keys(conf.folder() / "config.yaml")), markup=False)


def group_page(console: rich.console.Console, group: str) -> None:
    table = columns()
    for name in conf.options(group):
        mark = "*" if conf.defaults().get(group) == name else ""
        table.add_row(f"{group}={name}{mark}", conf.headline(conf.file(group, name)))
    console.print(table, markup=False)


def option_page(console: rich.console.Console, group: str, name: str) -> None:
    path = conf.file(group, name)
    console.print(f"{group}={name}\n  {conf.headline(path)}", markup=False)
    console.print(key_table(conf.keys(path, group)), markup=False)


def key_table(keys: dict[str, conf.Key]) -> Table:
    table = columns()
    for key in keys.values():
        table.add_row(f"{key.path}={conf.short(key.default)}", key.comment)
    return table


def columns() -> Table:
    return Table(box=None, show_header=False, pad_edge=True, padding=(0, 2, 0, 2))
