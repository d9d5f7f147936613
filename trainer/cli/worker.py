"""A process that devices=N has started: it does the command that trainer/cli/processes.py has checked."""

import pickle
import sys
from pathlib import Path

from trainer.cli.program import program


def work() -> None:
    """Do the command in the file that the arguments name: as rank 0 the program, as another rank what that says."""
    from trainer.cli import plugins
    from trainer.cli.main import main
    from trainer.config import catalog
    from trainer.sweep.launch import end_with_parent

    end_with_parent()
    command, catalog.extra_folders[:], sys.path[:] = pickle.loads(Path(sys.argv[1]).read_bytes())
    if command.multirun:
        plugins.register()
    main(command)


if __name__ == "__main__":
    program(work)
