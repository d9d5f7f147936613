"""The command `train`: check the arguments and explain mistakes, then hand over to Hydra. No torch before that."""

import io
import os
import sys
from contextlib import ExitStack, redirect_stdout
from typing import TYPE_CHECKING

from trainer.base import signals
from trainer.base.errors import MachineError, UserError, exit_on_user_error, print_error
from trainer.base.interpreter import fewer_collections, freeze_imports
from trainer.base.streams import GONE, OutputError, failures, write_nowhere

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from trainer.cli.overrides import Command
    from trainer.config.hydra_context import Invocation

HELP = "--help="  # --help=optimizer is --help optimizer


def main() -> None:
    """Run the command.

    Exit codes: 0, 2 configuration, 3 data, 4 machine, 5 diverged, 6 failed checks, 130 and 143 signals, 1 all others.
    """
    failures.clear()
    arguments = [part for text in sys.argv[1:] for part in (text.split("=", 1) if text.startswith(HELP) else [text])]
    try:
        with signals.raised():
            answer(arguments)
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
        from trainer.cli import overrides

        launch(overrides.check(arguments))


def launch(command: "Command") -> None:
    """Execute the task of a run, let Hydra launch the jobs of a sweep, or let it show what its flags ask for.

    Errors: UserError, SystemExit.
    """
    from trainer.config import catalog, hydra_context, private_api

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


def job(cfg: "DictConfig") -> float | None:
    """Execute one job of a sweep, in whatever process. Errors: SystemExit with the code of a user's error."""
    from trainer.config import hydra_context
    from trainer.sweep.jobs import trains
    from trainer.sweep.launch import run_job

    invocation = hydra_context.current_invocation()
    if trains(cfg):
        return run_job(cfg, invocation, execute)
    with exit_on_user_error():
        return execute(cfg, invocation)


def execute(cfg: "DictConfig", invocation: "Invocation") -> float | None:
    """Make the task and execute it. Errors: UserError."""
    from trainer.config import files, instantiate
    from trainer.rundir.console import Console

    files.require_existing(cfg, invocation.choices)
    # Threads that wait for one another sleep. They would spin, and keep from its core the one that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    loads = "torch" not in sys.modules and invocation.sweep is None
    with fewer_collections(), ExitStack() as loading:
        if loads:
            loading.enter_context(Console().status("loading PyTorch"))
            loading.enter_context(signals.deadly())
        task = instantiate.make_task(cfg, invocation)
    freeze_imports()
    return task.execute(cfg, invocation)
