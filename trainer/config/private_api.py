"""Private API of Hydra, OmegaConf and Optuna, one function each: a new release of them is checked in one place."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import yaml
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, ListConfig
from omegaconf._utils import get_omega_conf_dumper

from trainer.base.errors import ConfigError
from trainer.base.text import printable

if TYPE_CHECKING:
    from optuna import Study, Trial

# The launcher that runs jobs one after the other in this process. Hydra publishes neither the class nor its name, and
# other launchers have to be distinguished from it: they take jobs to other processes, and fail in other ways.
BASIC_LAUNCHER = f"{BasicLauncher.__module__}.{BasicLauncher.__name__}"

_entries: dict[str, str] = {}  # the YAML of an entry, by its repr


def parse_flags(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return Hydra's flags, with the overrides as `overrides`; and the flags that Hydra does not have.

    Private because: Hydra parses the command line only inside `hydra.main`, too late to explain a mistake.
    Errors: ConfigError where a flag lacks its value.
    """
    parser = get_args_parser()

    def fail(message: str) -> None:
        raise ConfigError(printable(message))

    parser.error = fail
    return parser.parse_known_intermixed_args(list(arguments))


def flags() -> dict[str, bool]:
    """Return Hydra's flags, each with whether a value stands behind it.

    Private because: Hydra publishes neither its parser nor a list of its flags.
    """
    return {name: action.nargs != 0 for action in get_args_parser()._actions for name in action.option_strings}


def launch_sweep(task: Callable[[DictConfig], float | None], overrides: Sequence[str]) -> None:
    """Compose a sweep and let its sweeper launch the task for each job, where Hydra is initialized.

    Private because: `hydra.main` composes everything once more, a fifth of a second, only to learn that it is a sweep.
    """
    GlobalHydra.instance().hydra.multirun("config", task, [*overrides, "hydra.mode=MULTIRUN"])


def compose_sweep(overrides: Sequence[str]) -> tuple[DictConfig, HydraContext]:
    """Return the configuration of a sweep and what its sweeper is set up with, where Hydra is initialized.

    Private because: Hydra composes a sweep only in order to run it by a sweeper that its configuration names.
    """
    hydra = GlobalHydra.instance().hydra
    words, mode = [*overrides, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN
    config = hydra.compose_config("config", words, run_mode=mode, with_log_configuration=False)
    return config, HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))


def grid(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job of a grid, as Hydra's own sweeper combines them.

    Private because: Hydra has the product of a sweep's values only in its BasicSweeper.
    Errors: HydraException where an override sweeps over an interval.
    """
    (jobs,) = BasicSweeper.split_arguments(list(overrides), None)
    return jobs


def basic_launcher() -> Launcher:
    """Return a new launcher that runs jobs one after the other in this process.

    Private because: Hydra makes launchers only from the configuration of a sweep, which names one.
    """
    return BasicLauncher()


def register_plugin(name: str, plugin: type[Sweeper | Launcher]) -> None:
    """Make a sweeper or a launcher known to Hydra under the name that its YAML has as `_target_`.

    Private because: `Plugins.register` takes the name from the class's module, and Hydra makes no plugin whose name
    does not begin with `hydra_plugins.`. Every command would import a package of that name.
    """
    Plugins.instance().class_name_to_class[name] = plugin


def unresolved(node: DictConfig | ListConfig, key: str | int) -> object:
    """Return the value at a key as it is written, `${name}` included.

    Private because: indexing resolves an interpolation, which may call a function, and converting the node to a
    container copies everything below it.
    """
    return node._get_node(key)


def to_yaml(plain: dict) -> str:
    """Return plain values as `OmegaConf.to_yaml` writes them.

    Private because: OmegaConf writes only its own nodes, and making them of plain values takes longer than the writing.
    """
    return "".join(map(entry_as_yaml, plain.items())) or "{}\n"


def entry_as_yaml(entry: tuple[str, object]) -> str:
    """Return a key and its value as YAML; written once, as the jobs of a sweep have most of them in common."""
    written = repr(entry)  # tells 1, 1.0 and True apart
    if written not in _entries:
        options = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
        _entries[written] = yaml.dump(dict([entry]), Dumper=Dumper, **options)
    return _entries[written]


class Dumper(getattr(yaml, "CDumper", yaml.Dumper)):
    """OmegaConf's dumper, whose text is written by libyaml where PyYAML has it: three times as fast."""


Dumper.add_representer(str, get_omega_conf_dumper().str_representer)


def trial_id(trial: "Trial") -> int:
    """Return the key of a trial in its study's database.

    Private because: another process can open a trial by this key alone, and Optuna shows only the number.
    """
    return trial._trial_id


def open_trial(study: "Study", key: int) -> "Trial":
    """Return a trial of a study that another process has begun.

    Private because: Optuna documents no way to report from another process than the one that asked for the trial; its
    own integrations call the constructor.
    """
    from optuna import Trial

    return Trial(study, key)
