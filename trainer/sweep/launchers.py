"""Launchers that a sweep may use: a row for each `hydra/launcher=NAME`. No torch here.

The launchers themselves are plugins of Hydra's. A new one is a row here and an extra in pyproject.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean
from trainer.config import catalog, schema
from trainer.config.untrusted import STACKED

GROUP = "hydra/launcher"
LOCAL = ("basic", "stacked", "joblib", "submitit_local")  # run all jobs on this machine


@dataclass(frozen=True)
class LauncherInfo:
    """Description of one of Hydra's launchers.

    Args:
        meaning: of the launcher, for --help.
        example: some of its keys, as they are typed.
        extra: the extra of this package that installs it; None for Hydra's own.
        plugin: the module of `hydra_plugins` that the extra brings.
    """

    meaning: str
    example: str = ""
    extra: str | None = None
    plugin: str = ""


LAUNCHERS = {
    "basic": LauncherInfo("one job after the other, in this process (the default)"),
    "stacked": LauncherInfo(
        "jobs whose networks have equal shapes at once, as one batched model in this process; others in turn",
        "hydra.launcher.jobs=16",
    ),
    "joblib": LauncherInfo(
        "as many jobs at a time on this machine as it has GPUs, else cores",
        "hydra.launcher.n_jobs=4",
        "joblib",
        "hydra_joblib_launcher",
    ),
    "submitit_local": LauncherInfo(
        "each job in a process of its own on this machine, as on a cluster",
        "hydra.launcher.timeout_min=60",
        "slurm",
        "hydra_submitit_launcher",
    ),
    "submitit_slurm": LauncherInfo(
        "each job sent to Slurm",
        "hydra.launcher.partition=gpu hydra.launcher.gpus_per_node=1",
        "slurm",
        "hydra_submitit_launcher",
    ),
    "ray": LauncherInfo(
        "jobs on a cluster of Ray, or on this machine where there is none",
        "hydra.launcher.ray.init.address=auto",
        "ray",
        "hydra_ray_launcher",
    ),
    "ray_aws": LauncherInfo("jobs on machines that Ray rents from Amazon", extra="ray", plugin="hydra_ray_launcher"),
}


def keys() -> dict[str, schema.Key]:
    """Return the keys of this project's own launcher, by their full path."""
    return schema.keys(catalog.folder() / GROUP / "stacked.yaml", "hydra.launcher")


def launcher_with(key: str) -> str:
    """Return the launcher to try for a key `hydra.launcher.KEY`: the one that is known to have it, else joblib."""
    if key in keys():
        return "stacked"
    return next((name for name, launcher in LAUNCHERS.items() if f"{key}=" in launcher.example), "joblib")


def check_settings(settings: Mapping) -> None:
    """Check the node `hydra.launcher`, where it is ours, against the rules of its YAML. Errors: ConfigError."""
    if settings.get("_target_") == STACKED:
        for path, key in keys().items():
            key.require(settings[path.rpartition(".")[2]])


def install_command(name: str) -> str | None:
    """Return what installs a launcher; None for one of Hydra's own."""
    extra = LAUNCHERS[name].extra
    return extra and f"pip install 'trainer[{extra}]'"


def require_installed(key: str, text: str) -> None:
    """Check that the launcher of an override `hydra/launcher=NAME` is installed; any other key passes.

    Errors: ConfigError.
    """
    if key != GROUP:
        return
    name = text.partition("=")[2]
    if name not in LAUNCHERS:
        raise ConfigError(f"{text}: no such launcher; {did_you_mean(name, [*LAUNCHERS], f'{GROUP}=')}")
    if LAUNCHERS[name].extra and find_spec(f"hydra_plugins.{LAUNCHERS[name].plugin}") is None:
        raise ConfigError(f"{text}: not installed; {install_command(name)}")
