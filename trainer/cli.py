"""The command `train`: check what was typed and explain what is wrong, then hand over to Hydra. No torch before that."""

import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path

from omegaconf import DictConfig

from trainer.errors import Interrupted, UserError

jobs: list[UserError | None] = []  # how each job of this process ended
failed: list[tuple[list[str], str]] = []  # the words of those that failed, and why
sweeps: set[Path] = set()  # folders of the sweep that they belong to


def main() -> None:
    """Console entry. Exit codes: 0, 2 configuration, 3 data, 4 machine, 5 diverged, 130 and 143 signals, 1 anything else."""
    arguments = sys.argv[1:]
    try:
        if {"--help", "-h"} & set(arguments):
            from trainer import usage

            usage.show(arguments)
            return
        if "--version" in arguments:
            print(f"train {version('trainer')}")
            return
        from trainer import signals, typed
        from trainer.search import sweeper

        sweeper.register()
        with signals.ending_in_words():
            sys.argv[1:] = typed.check(arguments)
            hand_over()
    except UserError as error:
        report(error)
        sys.exit(error.code)
    except KeyboardInterrupt:
        answer()
        if jobs and jobs[-1]:
            sys.exit(jobs[-1].code)
        print("train: interrupted", file=sys.stderr, flush=True)
        sys.exit(130)
    answer()
    failures = [error for error in jobs if error]
    if failures:
        if len(jobs) > 1:
            print(f"train: {len(failures)} of {len(jobs)} runs failed, the first with: {failures[0]}", file=sys.stderr, flush=True)
        sys.exit(failures[0].code)


def hand_over() -> None:
    """Let Hydra compose and launch: once, or for every job of a sweep."""
    import hydra

    from trainer import conf

    hydra.main(version_base="1.3", config_path=str(conf.folder()), config_name="config")(job)()


def answer() -> None:
    """Rank the runs of a sweep, however it ended."""
    for folder in sweeps:
        from trainer.compare import answer

        answer.rank(folder, failed)
    sweeps.clear()


def job(cfg: DictConfig) -> float | None:
    """One run. A user's error ends it with a message and lets a sweep go on; a signal ends the sweep as well."""
    from trainer import build, launch

    jobs.append(None)
    if folder := launch.sweep():
        sweeps.add(folder)
    try:
        return build.task(cfg).run(cfg)
    except UserError as error:
        jobs[-1] = error
        failed.append((launch.overrides(), str(error)))
        report(error)
        if isinstance(error, Interrupted):
            raise KeyboardInterrupt from None
        return None


def report(error: UserError) -> None:
    """One or two lines on standard error; the traceback only where HYDRA_FULL_ERROR=1 asks for it."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    print(f"train: {error}", file=sys.stderr, flush=True)
