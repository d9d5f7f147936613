"""The command behind a run, read from Hydra once and passed on as a value."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from trainer.config import catalog
from trainer.config.keys import Role, key_of, role_of
from trainer.config.quoting import quote

FILE = "file://"  # before a folder in Hydra's search path
LAUNCHER = ("hydra/launcher", "hydra.launcher.")  # beginnings of the overrides that concern it


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """Overrides of a run as typed, the options they choose, and the sweep it belongs to.

    Args:
        overrides: KEY=VALUE, as typed or swept.
        choices: the option of every group, and of every key that holds one, as `optimizer.base`.
        sweep: folder of the sweep; None for a single run.
        job: name of the job's directory in that folder.
        launcher: name of the launcher of the sweep.
        launcher_words: the overrides that choose and set the launcher.
        requested_directory: the directory that hydra.run.dir=DIR asks for; None where nobody asked.
        sweeper: the settings of the sweeper, as `hydra.sweeper`.
    """

    overrides: tuple[str, ...] = ()
    choices: Mapping[str, str | None] = field(default_factory=dict)
    sweep: Path | None = None
    job: str = ""
    launcher: str | None = None
    launcher_words: tuple[str, ...] = ()
    requested_directory: Path | None = None
    sweeper: Mapping = field(default_factory=dict)

    @property
    def run_overrides(self) -> list[str]:
        """The overrides that another command for the same run repeats: all but those of the task and the launch."""
        return [text for text in self.overrides if role_of(key_of(text)) not in (Role.TASK, Role.LAUNCH)]

    @property
    def allow_overrides(self) -> list[str]:
        """The override that names packages, which counts only on the command line; none without it."""
        return [text for text in self.overrides if key_of(text) == "allow"]

    @property
    def typed_keys(self) -> set[str]:
        """The keys of the overrides."""
        return set(map(key_of, self.overrides))

    @cached_property
    def allow(self) -> tuple[str, ...]:
        """Packages of allow=[...] on the command line, the only place where they count."""
        parser = OverridesParser.create()
        typed = [parser.parse_override(text) for text in self.allow_overrides]
        return tuple(package for override in typed for package in override.value())

    def choice(self, group: str) -> str | None:
        """Return the option of a group; None where it is not known."""
        return self.choices.get(group)

    def describe(self, path: str) -> str:
        """Return a part of the configuration as it is typed: `model=cnn`; `reg.loss.l2` where no option is known."""
        return f"{path}={self.choice(path)}" if self.choice(path) else path


def initialized() -> AbstractContextManager[None]:
    """Let Hydra compose from conf/ in the block; in a job of a sweep it does already."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    return initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder()), job_name="train")


def search_path() -> list[str]:
    """Return the override by which Hydra finds the user's own options as well; none without --config-dir."""
    folders = [quote(f"{FILE}{place}") for place in catalog.extra_folders]
    return [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []


def use_search_path() -> None:
    """Take the folders of the user's own options from the job that Hydra has launched, in whatever process."""
    if HydraConfig.initialized():
        folders = [text.removeprefix(FILE) for text in HydraConfig.get().searchpath if text.startswith(FILE)]
        catalog.extra_folders[:] = map(Path, folders)


def current_invocation() -> Invocation:
    """Return the invocation that Hydra has launched in this process; an empty one where there is none."""
    return invocation_of(HydraConfig.get()) if HydraConfig.initialized() else Invocation()


def invocation_of(settings: DictConfig) -> Invocation:
    """Return the invocation that a composed node `hydra` describes."""
    multirun = settings.mode == RunMode.MULTIRUN
    asked = not multirun and settings.run.dir != "."
    return Invocation(
        overrides=tuple(settings.overrides.task),
        choices=plain_names(settings.runtime.choices),
        sweep=Path(settings.sweep.dir) if multirun else None,
        job=settings.job.name if multirun else "",
        launcher=settings.runtime.choices.get("hydra/launcher"),
        launcher_words=tuple(text for text in settings.overrides.hydra if text.startswith(LAUNCHER)),
        requested_directory=Path(settings.run.dir) if asked else None,
        sweeper=settings.sweeper,
    )


def plain_names(choices: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return Hydra's choices by plain keys, without its own groups: `optimizer@optimizer.base` is `optimizer.base`."""
    return {group.rpartition("@")[2]: option for group, option in choices.items() if "/" not in group}


def without_hydra_node(cfg: DictConfig) -> DictConfig:
    """Return a composed configuration without the node `hydra`, as a run gets it."""
    with flag_override(cfg, ["readonly", "struct"], False):
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
