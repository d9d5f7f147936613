"""What Hydra knows of the run it launched: the words typed and chosen, and the sweep it belongs to."""

from collections.abc import Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


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


def sweep() -> Path | None:
    """The sweep's folder, None for a single run."""
    settings = HydraConfig.get()
    return Path(settings.sweep.dir) if settings.mode == RunMode.MULTIRUN else None


def exact_directory() -> Path | None:
    """The directory that hydra.run.dir=DIR asks for, None where nobody asked."""
    settings = HydraConfig.get()
    return Path(settings.run.dir) if settings.mode == RunMode.RUN and settings.run.dir != "." else None
