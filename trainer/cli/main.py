"""The command `train`: check what was typed and explain what is wrong, then hand over to Hydra. No torch before that."""

import sys
from importlib.metadata import version

from omegaconf import DictConfig

from trainer.base.errors import UserError, exit_on_user_error, print_error
from trainer.cli.fast_exit import fast_exit, fewer_collections, freeze_imports


def program() -> None:
    """Console entry."""
    with fast_exit():
        main()


def main() -> None:
    """What the command does. Exit codes: 0, 2 configuration, 3 data, 4 machine, 5 diverged, 130 and 143 signals, 1 anything else."""
    arguments = sys.argv[1:]
    try:
        if {"--help", "-h"} & set(arguments):
            from trainer.cli import help

            help.show(arguments)
            return
        if "--version" in arguments:
            print(f"train {version('trainer')}")
            return
        from trainer.base import signals
        from trainer.cli import overrides

        with signals.raise_on_sigterm():
            sys.argv[1:] = overrides.check(arguments)
            hand_over()
    except UserError as error:
        print_error(error)
        sys.exit(error.code)
    except KeyboardInterrupt:
        print("train: interrupted", file=sys.stderr, flush=True)
        sys.exit(130)


def hand_over() -> None:
    """Let Hydra compose and launch: once, or for every job of a sweep."""
    import hydra

    from trainer.config import catalog

    hydra.main(version_base="1.3", config_path=str(catalog.folder()), config_name="config")(job)()


def job(cfg: DictConfig) -> float | None:
    """One run, or one job of a sweep in whatever process. Errors: SystemExit with the code of a user's error, which has been told."""
    from trainer.config import hydra_context, instantiate
    from trainer.sweep import jobs

    def run(cfg: DictConfig) -> float | None:
        with fewer_collections():
            task = instantiate.task(cfg)
        freeze_imports()
        return task.run(cfg)

    if hydra_context.sweep() and jobs.trains(cfg):
        return jobs.work(cfg, run)
    with exit_on_user_error():
        return run(cfg)
