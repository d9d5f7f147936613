"""Execution of a task, as a single run or as a job of a sweep. No torch here before a run needs it."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from omegaconf import DictConfig

from trainer.base import signals
from trainer.base.errors import exit_on_user_error
from trainer.base.helper import helper
from trainer.base.interpreter import fewer_collections, freeze_imports
from trainer.base.memory import keep_freed
from trainer.base.origin import errors_of_packages
from trainer.config import files, hydra_context, instantiate
from trainer.config.hydra_context import Invocation
from trainer.config.model_first import settled, settled_invocation
from trainer.config.truth_words import use_words
from trainer.rundir.console import Console
from trainer.sweep.jobs import TRAIN, trains
from trainer.sweep.launch import run_job

REPORTING = (TRAIN, "trainer.task.evaluate.Evaluate")  # tasks that end with a report
SPIN = "20000"  # turns, some 40 us, that an idle thread waits for the next kernel before it sleeps


def job(cfg: DictConfig) -> float | None:
    """Execute one job of a sweep, in whatever process. Errors: SystemExit with the code of a user's error."""
    hydra_context.use_search_path()
    cfg, invocation = use_words(cfg), hydra_context.current_invocation()
    if trains(cfg):
        return run_job(cfg, invocation, execute)
    with exit_on_user_error():
        return execute(cfg, invocation)


def execute(cfg: DictConfig, invocation: Invocation) -> float | None:
    """Make the task and execute it. Errors: UserError."""
    with made_task(cfg, invocation) as (task, cfg, invocation):
        return task.execute(cfg, invocation)


@contextmanager
def made_task(cfg: DictConfig, invocation: Invocation) -> Iterator[tuple[object, DictConfig, Invocation]]:
    """Yield the task, and the configuration and the invocation that it is to be executed with. Errors: UserError."""
    cfg, invocation = settled(cfg, invocation.overrides), settled_invocation(invocation)
    files.require_existing(cfg, invocation.choices)
    if cfg.task.get("_target_") in REPORTING:
        from trainer.rundir.pictures import import_libraries  # NumPy

        helper.start(import_libraries)
    if "OMP_WAIT_POLICY" not in os.environ:  # beside other programs, threads that spin keep their core from the others
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    keep_freed()
    loads = "torch" not in sys.modules and invocation.sweep is None
    with fewer_collections(), ExitStack() as loading:
        if loads:
            loading.enter_context(Console().status("loading PyTorch"))
            loading.enter_context(signals.deadly())
        task = instantiate.make_task(cfg, invocation)
    freeze_imports()
    with errors_of_packages(invocation.allow):
        yield task, cfg, invocation
