"""`train --help`: all groups and settings, one group, one option or one key. No torch here."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import rich.console
from rich.padding import Padding
from rich.text import Text

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed, did_you_mean, nearest
from trainer.cli import vocabulary
from trainer.cli.chosen import Chosen
from trainer.cli.entries import Entries, columns
from trainer.cli.hints import ANYTHING
from trainer.cli.option_hints import for_option
from trainer.cli.words import options_named
from trainer.config import catalog, classifiers, own_options, schema, synonyms
from trainer.sweep import launchers

EXAMPLES = {
    "train": "train on data that ships with the install",
    "train optimizer=adam norm=batch": "choose other options of two groups",
    "train optimizer.lr=0.01 epochs=20": "change settings",
    "train reg=[l2,dropout] aug=[crop,flip]": "combine options, in the groups reg and aug",
    "train -m optimizer=sgd,adam seed=0,1,2": "train a grid of runs",
    "train --help hydra/launcher": "run many jobs at a time, here or on a cluster",
    "train --help hydra/sweeper": "search instead of a grid",
    "train task=compare runs=[outputs/*/*]": "rank runs",
    "train task=preview sched=cosine warmup=linear": "draw the learning rate, train nothing",
    "train task=lr_find": "find a learning rate; optimizer.lr=auto trains with it at once",
    "train task=recipe": "go through the recipe of the lectures: check, find the rate, search, look, repeat",
    "train task=ensemble runs=[outputs/sweeps/DATE/TIME]": "average the predictions of finished runs",
    "train task=lottery model=mlp": "prune, rewind and train again: lottery tickets",
    "train task=new kind=model name=mynet": "write a model of your own, or another technique, ready to run",
    "train resume=outputs/DATE/TIME...": "resume a run where it stopped",
    "train task=evaluate runs=[outputs/DATE/TIME...]": "evaluate a finished run again",
    "train --cfg job optimizer=adam": "show the configuration, run nothing",
    "train --help optimizer": "list the options of a group",
    "train --help optimizer=adam": "list the keys of an option",
    "tensorboard --logdir outputs": "see the curves",
}
SPACES = {
    "'optimizer.lr=tag(log,interval(1e-4,1e-1))'": "an interval, by powers of ten",
    "'reg.layer.dropout.p=interval(0,0.5)'": "an interval, evenly",
    "'epochs=range(5,50)'": "whole numbers, 5 to 49",
    "model=mlp,cnn": "choices",
    "hydra.sweep.dir=DIR": "folder of the search; to resume it, repeat its command with this",
}
SWEEP_FOLDER = {"hydra.sweep.dir=DIR": "folder of the sweep; to resume it, repeat its command with this"}
HYDRA_PAGES = ("hydra/launcher", "hydra/sweeper")


def show(arguments: list[str]) -> None:
    """Print the help that the arguments ask for. Errors: ConfigError for a group, option or key that does not exist."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    flags, rest = parser.parse_known_args(arguments)
    own_options.use(flags.config_dir)
    topics = [text for text in rest if not text.startswith("-")]
    console = rich.console.Console(highlight=False)
    if not topics:
        overview(console)
    libraries = [option for option in classifiers.BUILDERS if f"model={option}" in topics]
    patterns = [topic for topic in topics if is_pattern(topic, libraries)]
    for topic in topics:
        if topic in patterns:
            network_page(console, topic.rpartition("=")[2], libraries)
        elif not (patterns and topic.rpartition("=")[2] in libraries):
            page(console, topic)


def is_pattern(topic: str, libraries: Sequence[str]) -> bool:
    """Return whether a topic is a pattern of names: `model.name=convnext*`, beside a library `convnext*`."""
    return topic.startswith(f"{classifiers.KEY}=") or (bool(libraries) and ("*" in topic or "?" in topic))


def network_page(console: rich.console.Console, pattern: str, libraries: Sequence[str]) -> None:
    """Print the networks of libraries, by default of all, whose names match a pattern. Errors: ConfigError for none."""
    found = {library: classifiers.matching(library, pattern) for library in libraries or classifiers.BUILDERS}
    table = columns()
    for library, names in found.items():
        if names:
            table.add_row(f"model={library}", " ".join(names))
    if not table.row_count:
        for library in found:
            classifiers.require_known(library, pattern)
        raise ConfigError(f"--help {classifiers.KEY}={pattern}: no network of {' or '.join(found)} has such a name")
    console.print(table, markup=False)


def page(console: rich.console.Console, topic: str) -> None:
    """Print the page of a group, an option, a key, or one of Hydra's groups. Errors: ConfigError."""
    topic = synonyms.canonical(topic)
    group, _, option = topic.partition("=")
    known = {**vocabulary.run_keys(), **launchers.keys()}
    below = {path: key for path, key in known.items() if path == group or path.startswith(f"{group}.")}
    owners, places = vocabulary.groups_with(group), places_of(group)
    if group in catalog.groups() and not option:
        group_page(console, group)
    elif group in catalog.groups():
        option_pages(console, topic)
    elif (key := class_key(group)) and option:
        class_page(console, key, option)
    elif below:
        console.print(key_table(below), markup=False)
        if group == "sweep":
            console.print(Entries(SWEEP_FOLDER), markup=False)
    elif group == "hydra/launcher":
        launcher_page(console, option)
    elif group == "hydra/sweeper":
        sweeper_page(console)
    elif owners or places:
        for owner in owners:
            option_page(console, owner, group)
        if places:
            console.print(f"{group}, a key:", markup=False)
            console.print(Entries(places), markup=False)
    else:
        synonym_pages(console, topic)


def places_of(name: str) -> dict[str, str]:
    """Return every place of a key, a whole one or the last part of one, as it is typed with its option: its comment."""
    found = [("", key) for path, key in vocabulary.run_keys().items() if path.endswith(f".{name}")]
    for group in catalog.groups():
        for option in catalog.options(group):
            keys = schema.keys(catalog.file(group, option), group)
            found += [(f"{group}={option}", key) for path, key in keys.items() if f".{path}".endswith(f".{name}")]
    return {f"{owner} {key.path}={as_typed(key.default)}".strip(): key.comment for owner, key in found}


def synonym_pages(console: rich.console.Console, topic: str) -> None:
    """Print the pages of what other tools call by a name. Errors: ConfigError where the name is not known."""
    name = topic.partition("=")[0]
    if why := synonyms.why_no_key(name):
        raise ConfigError(f"--help {topic}: {why}")
    fixes = options_named(name) or synonyms.meant_key(name, "VALUE")
    if not fixes:
        raise ConfigError(f"--help {topic}: no such group, option or key; {topic_hint(name)}")
    for fix in fixes:
        console.print(f"{topic}: write {' '.join(fix)}", markup=False)
    for fix in fixes:
        known = [text for text in fix if text.partition("=")[0] in catalog.groups() and not text.endswith("=VALUE")]
        page(console, known[0] if known else fix[-1].partition("=")[0])


def topic_hint(topic: str) -> str:
    """Return the page that was perhaps meant."""
    if meant := vocabulary.renamed(topic, ""):
        return f"did you mean --help {meant.partition('=')[0]}?"
    options = {option for group in catalog.groups() for option in catalog.options(group)}
    keys = {part for path in vocabulary.option_keys() for part in (path, path.rpartition(".")[2])}
    known = {*catalog.groups(), *vocabulary.run_keys(), *HYDRA_PAGES, *options, *keys}
    near = nearest(topic, sorted(known), cutoff=ANYTHING) if len(topic) > 2 else []
    return f"did you mean {' or '.join(f'--help {name}' for name in near)}?" if near else "train --help lists them all"


def option_pages(console: rich.console.Console, topic: str) -> None:
    """Print the page of each option in `reg=[l2,dropout]`. Errors: ConfigError."""
    group, _, options = topic.partition("=")
    for name in options.strip("[]").split(","):
        if name not in catalog.options(group):
            answer = for_option(group, name, Chosen({}))
            pages = " or ".join(f"--help {fix[0]}" for fix in answer.fixes)
            hint = f"did you mean {pages}?" if pages else answer
            raise ConfigError(f"--help {topic}: {group} has no option {name}; {hint}")
        option_page(console, group, name)


def overview(console: rich.console.Console) -> None:
    """Print examples, all groups with their options, and the keys of config.yaml."""
    console.print(
        "train: a command-line laboratory for training neural networks. Every setting is an override, KEY=VALUE.\n",
        markup=False,
    )
    console.print(Entries(EXAMPLES), markup=False)
    chosen = catalog.defaults()
    table = columns()
    for group in catalog.groups():
        first = chosen.get(group)
        names = [f"{name}*" if name == first else name for name in catalog.options(group)]
        table.add_row(group, " ".join(names))
    console.print("\nGroups and their options (* the default):", markup=False)
    console.print(table, markup=False)
    console.print("\nSettings of the run:", markup=False)
    console.print(key_table(vocabulary.run_keys()), markup=False)


def group_page(console: rich.console.Console, group: str) -> None:
    """Print the options of a group with their first comments; and their keys, where a run takes several options."""
    several = group in catalog.MULTI_SELECT
    if several:
        first, second = catalog.options(group)[:2]
        console.print(f"A run takes several: {group}=[{first},{second}]. {group}=none: none of them.\n", markup=False)
    table = columns()
    for name in catalog.options(group):
        path = catalog.file(group, name)
        mark = "*" if catalog.defaults().get(group) == name else ""
        keys = [f"{key.path}={as_typed(key.default)}" for key in schema.keys(path, group).values()] if several else []
        table.add_row(f"{group}={name}{mark}", "\n".join([catalog.headline(path), *keys]))
    console.print(table, markup=False)
    console.print(f"\ntrain --help {group}={catalog.options(group)[0]} lists the keys of an option.", markup=False)


def launcher_page(console: rich.console.Console, chosen: str) -> None:
    """Print the launchers, or the chosen one with the keys of our own, and how to install each."""
    table, known = columns(), launchers.LAUNCHERS
    if chosen and chosen not in known:
        what = f"hydra/launcher has no option {chosen}"
        raise ConfigError(f"--help hydra/launcher={chosen}: {what}; {did_you_mean(chosen, known)}")
    for name, launcher in ({chosen: known[chosen]} if chosen else known).items():
        parts = (launcher.meaning, launcher.example, launchers.install_command(name))
        table.add_row(f"hydra/launcher={name}", "; ".join(filter(None, parts)))
    console.print(table, markup=False)
    if chosen == "stacked":
        console.print(key_table(launchers.keys()), markup=False)


def sweeper_page(console: rich.console.Console) -> None:
    """Print the keys of the search, and examples of its spaces."""
    option_page(console, "hydra/sweeper", "optuna", "hydra.sweeper")
    console.print("\nSpaces to search, behind train -m hydra/sweeper=optuna:", markup=False)
    console.print(Entries(SPACES), markup=False)


def option_page(console: rich.console.Console, group: str, name: str, prefix: str = "") -> None:
    """Print what an option is, the options of other groups that it chooses, and its keys."""
    path = catalog.file(group, name)
    console.print(f"{group}={name}\n  {catalog.headline(path)}", markup=False)
    if begun := [f"{group}={file.stem}" for file in catalog.files_of(path)[:-1]]:
        console.print(f"  It begins with {', '.join(begun)}, whose keys are its own, too.", markup=False)
    if chosen := catalog.overrides(path):
        console.print(f"  It chooses {' '.join(chosen)} unless you type another option.", markup=False)
    shared = {path: key for path, key in vocabulary.run_keys().items() if path.startswith(f"{group}.")}
    keys = schema.keys(path, prefix or group)
    console.print(key_table({**keys, **shared}), markup=False)
    if group == "model" and name in classifiers.BUILDERS:
        console.print(networks_of(name), markup=False)
    for key in (key for key in keys.values() if key.classes_of):
        console.print(f"\nClasses for {key.path}; train --help {key.path}={key.default} lists the keys of one:")
        console.print(Padding(Text(" ".join(key.rule.words)), (0, 2)), markup=False)


def class_key(path: str) -> schema.Key | None:
    """Return the key of this path that names a class of a library; None where no option has one."""
    for group, option in vocabulary.option_keys().get(path, []):
        if (key := schema.keys(catalog.file(group, option), group)[path]).classes_of:
            return key
    return None


def class_page(console: rich.console.Console, key: schema.Key, name: str) -> None:
    """Print the keys that the class of a library brings. Errors: ConfigError."""
    if why := key.violation(name):
        hint = did_you_mean(name, key.rule.words, f"--help {key.path}=")
        near = f"; {hint}" if hint.startswith("did") else ""
        raise ConfigError(f"--help {key.path}={name}: {why}{near}")
    console.print(f"{key.path}={name}, and its keys:", markup=False)
    console.print(key_table(schema.class_keys(key, name)), markup=False)


def networks_of(library: str) -> str:
    """Return how many networks a library has, and how to list them."""
    if not (count := len(classifiers.names(library))):
        return f"{library} is not installed: pip install 'trainer[{library}]'"
    return f"{count:,} networks; train --help model={library} {classifiers.KEY}='*tiny*' lists those with such a name."


def key_table(keys: dict[str, schema.Key]) -> Entries:
    """Return an entry for each key: its default as it is typed, and its comment."""
    return Entries({f"{key.path}={as_typed(key.default)}": key.comment for key in keys.values()})
