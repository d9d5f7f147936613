"""Sweepers and the launcher of this project, registered with Hydra."""

from trainer.config.private_api import register_plugin
from trainer.config.untrusted import GRID, SEARCH, STACKED
from trainer.search.sweeper import OptunaSweeper
from trainer.stacked.launcher import StackedLauncher
from trainer.sweep.grid import GridSweeper


def register() -> None:
    """Register them, before a sweep is composed."""
    register_plugin(GRID, GridSweeper)
    register_plugin(SEARCH, OptunaSweeper)
    register_plugin(STACKED, StackedLauncher)
