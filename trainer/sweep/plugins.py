"""The sweepers of this project, made known to Hydra."""

from hydra.core.plugins import Plugins

from trainer.config.untrusted import GRID, SEARCH
from trainer.search.sweeper import OptunaSweeper
from trainer.sweep.grid import GridSweeper


def register() -> None:
    """To be called before anything is composed."""
    Plugins.instance().class_name_to_class.update({GRID: GridSweeper, SEARCH: OptunaSweeper})
