"""The command `train`: check the arguments and explain mistakes, then hand over to Hydra. No torch before that."""

import io
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from trainer.base import ranks, signals
from trainer.base.errors import MachineError, UserError, print_error
from trainer.base.streams import GONE, OutputError, failures, write_nowhere

if TYPE_CHECKING:
    from trainer.cli.overrides import Command

HELP = "--help="  # --help=optimizer is --help optimizer


def main(command: "Command | None" = None) -> None:
    """Run the command: the arguments, or one that is checked already.

    Exit codes: 0, 2 configuration, 3 data, 4 machine, 5 diverged, 6 failed checks, 130 and 143 signals, 1 all others.
    """
    failures.clear()
    arguments = [part for text in sys.argv[1:] for part in (text.split("=", 1) if text.startswith(HELP) else [text])]
    try:
        with signals.raised():
            ranks.begin()
            take_part(arguments, command)
            sys.stdout.flush()
            raise_failure()
    except UserError as error:
        with signals.ignored():
            print_error(error)
        sys.exit(error.code)
    except OutputError as error:
        write_nowhere(sys.stdout)
        if error.errno not in GONE:
            print_error(MachineError(f"the output cannot be written ({error.strerror})"))
            sys.exit(MachineError.code)


def take_part(arguments: list[str], command: "Command | None") -> None:
    """Do what the arguments, or a checked command, ask for; as another rank than 0, what that one says."""
    if ranks.place.rank:
        with signals.deadly():
            from trainer.engine.followers import follow  # torch

        follow()
        return
    with ranks.dismissed():
        launch(command) if command else answer(arguments)


def raise_failure() -> None:
    """Raise the first error of a write to standard output that has ended nothing."""
    if failures:
        raise OutputError(*failures[0].args)


def answer(arguments: list[str]) -> None:
    """Show the help or the version, or check the arguments and launch what they ask for. Errors: UserError."""
    if {"--help", "-h"} & set(arguments):
        from trainer.cli import help

        help.show(arguments)
    elif "--version" in arguments:
        from importlib.metadata import version

        print(f"train {version('trainer')}")
    else:
        from trainer.cli import overrides, processes

        command = overrides.check(arguments)
        if (count := processes.wanted(command)) > 1:
            processes.start(command, count)
        else:
            launch(command)


def launch(command: "Command") -> None:
    """Execute the task of a run, let Hydra launch the jobs of a sweep, or let it show what its flags ask for.

    Errors: UserError, SystemExit.
    """
    from trainer.config import catalog, hydra_context, private_api
    from trainer.task.execution import execute, job

    if command.cfg is None:
        import hydra

        sys.argv[1:] = command.arguments
        shown = io.StringIO()
        try:
            with redirect_stdout(shown):  # Hydra would show the traceback of an error of the output
                hydra.main(version_base="1.3", config_path=str(catalog.folder()), config_name="config")(job)()
        except SystemExit as end:
            if end.code:
                raise
        finally:
            print(shown.getvalue(), end="")
    elif command.multirun:
        with hydra_context.initialized():
            private_api.launch_sweep(job, [*hydra_context.search_path(), *command.overrides])
    else:
        execute(hydra_context.without_hydra_node(command.cfg), hydra_context.invocation_of(command.cfg.hydra))
