"""What Hydra knows of the run it launched: the words typed and chosen, and the sweep it belongs to."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean

LAUNCHERS = {
    "joblib": "joblib",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
    "ray": "ray",
    "ray_aws": "ray",
}  # and the extra that brings each
PACKAGES = {"joblib": "hydra_joblib_launcher", "slurm": "hydra_submitit_launcher", "ray": "hydra_ray_launcher"}


def require_installed(key: str, text: str) -> None:
    """Errors: ConfigError for a launcher that there is none of, or whose package is missing."""
    if key != "hydra/launcher":
        return
    name = text.partition("=")[2]
    if name not in (*LAUNCHERS, "basic"):
        raise ConfigError(f"{text}: no such launcher; {did_you_mean(name, [*LAUNCHERS, 'basic'])}")
    extra = LAUNCHERS.get(name)
    if extra and find_spec(f"hydra_plugins.{PACKAGES[extra]}") is None:
        raise ConfigError(f"{text}: is not installed; pip install 'trainer[{extra}]'")


def overrides() -> list[str]:
    """What was typed for this run, or swept over, as KEY=VALUE."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def choices() -> dict[str, str | None]:
    """The option of every group that takes one, and of every key that holds one, as `optimizer.base`."""
    return named(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {}


def named(choices: Mapping[str, str | None]) -> dict[str, str | None]:
    """Hydra's own names made plain: `optimizer@optimizer.base` is `optimizer.base`; its own groups left out."""
    return {group.rpartition("@")[2]: option for group, option in choices.items() if "/" not in group}


def choice(group: str) -> str | None:
    return choices().get(group)


def word(path: str) -> str:
    """A part of the configuration as the user chose it: `model=cnn`, `reg.loss.l2`."""
    return f"{path}={choice(path)}" if choice(path) else path


def sweep() -> Path | None:
    """The sweep's folder, None for a single run."""
    settings = HydraConfig.get()
    return Path(settings.sweep.dir) if settings.mode == RunMode.MULTIRUN else None


def launcher() -> str | None:
    """What launches the jobs of the sweep."""
    return HydraConfig.get().runtime.choices.get("hydra/launcher")


def name() -> str:
    """What the sweep calls this job: its directory's name."""
    return HydraConfig.get().job.name


def without_hydra_node(cfg: DictConfig) -> DictConfig:
    """A composed configuration as a run gets it: Hydra's own part left out."""
    with flag_override(cfg, ["readonly", "struct"], False):
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


def requested_directory() -> Path | None:
    """The directory that hydra.run.dir=DIR asks for, None where nobody asked."""
    settings = HydraConfig.get()
    return Path(settings.run.dir) if settings.mode == RunMode.RUN and settings.run.dir != "." else None
