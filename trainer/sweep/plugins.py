"""The sweepers of this project, made known to Hydra."""

from hydra.core.plugins import Plugins

from trainer.search.sweeper import OptunaSweeper
from trainer.sweep.grid import GridSweeper

# Hydra makes no plugin whose name begins otherwise.
NAMES = {"hydra_plugins.trainer.GridSweeper": GridSweeper, "hydra_plugins.trainer.OptunaSweeper": OptunaSweeper}


def register() -> None:
    """To be called before anything is composed."""
    Plugins.instance().class_name_to_class.update(NAMES)
