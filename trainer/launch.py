"""What Hydra knows of the run it launched: the words typed and chosen, and the sweep it belongs to."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def overrides() -> list[str]:
    """What was typed for this run, or swept over, as KEY=VALUE."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def choices() -> dict[str, str | None]:
    """The option of every group that takes one."""
    return {group: option for group, option in HydraConfig.get().runtime.choices.items() if "/" not in group} if HydraConfig.initialized() else {}


def choice(group: str) -> str | None:
    return choices().get(group)


def sweep() -> Path | None:
    """The sweep's folder, None for a single run."""
    settings = HydraConfig.get()
    return Path(settings.sweep.dir) if settings.mode == RunMode.MULTIRUN else None


def exact_directory() -> Path | None:
    """The directory that hydra.run.dir=DIR asks for, None where nobody asked."""
    settings = HydraConfig.get()
    return Path(settings.run.dir) if settings.mode == RunMode.RUN and settings.run.dir != "." else None
