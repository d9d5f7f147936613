"""Sweepers of this project, registered with Hydra."""

from trainer.config.private_api import register_sweeper
from trainer.config.untrusted import GRID, SEARCH
from trainer.search.sweeper import OptunaSweeper
from trainer.sweep.grid import GridSweeper


def register() -> None:
    """Register the sweepers, before a sweep is composed."""
    register_sweeper(GRID, GridSweeper)
    register_sweeper(SEARCH, OptunaSweeper)
