"""Processes that share the work of a command: devices=N starts them as torchrun would. No torch here at the top."""

import logging
import os
import pickle
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from trainer.base import ranks, signals
from trainer.base.cores import cores
from trainer.base.errors import ConfigError, MachineError
from trainer.config import catalog
from trainer.config.private_api import BASIC_LAUNCHER
from trainer.sweep.jobs import trains

if TYPE_CHECKING:
    from trainer.cli.overrides import Command

MODULE = "trainer.cli.worker"
MOST = 4  # processes that a machine with fewer cores may be asked for, to try them


def wanted(command: "Command") -> int:
    """Return how many processes a command asks for that are to be started. Errors: ConfigError where none can be."""
    cfg = command.cfg
    count = 1 if cfg is None else cfg.get("devices", 1)
    if count == 1 or ranks.is_launched():
        return 1
    if not trains(cfg):
        task = cfg.hydra.runtime.choices["task"]
        raise ConfigError(f"devices={count}: task={task} runs in one process; leave devices out")
    if command.multirun and cfg.hydra.launcher._target_ != BASIC_LAUNCHER:
        launcher = cfg.hydra.runtime.choices["hydra/launcher"]
        raise ConfigError(f"devices={count}: its jobs run one after the other; leave hydra/launcher={launcher} out")
    if count > (most := max(MOST, cores())):
        rule = f"at most {most}: one for each core, and {MOST} on any machine"
        raise MachineError(f"devices={count}: too many for this machine, which has {cores()} cores; {rule}")
    return count


def start(command: "Command", count: int) -> None:
    """Run a checked command in so many processes, of which the first is the program.

    Errors: SystemExit with the first one's code, or that of a signal; MachineError where another one has died.
    """
    print(f"starting {count} processes", flush=True)  # which takes seconds
    with signals.deadly():
        import torch
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # torch's launcher would tell every error again
    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // count))
    with TemporaryDirectory() as folder, signals.handled(signals.ENDING, signal.SIG_DFL):
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=f"train-{os.getpid()}",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),  # a folder of its own would stay
        )
        file = Path(folder) / "command"
        file.write_bytes(pickle.dumps((command, catalog.extra_folders, sys.path)))
        try:
            elastic_launch(settings, sys.executable)("-m", MODULE, str(file))
        except SignalException as error:
            raise SystemExit(128 + error.sigval) from None  # rank 0 has told where the run was
        except ChildFailedError as error:
            raise_for(error.failures)


def raise_for(failures: Mapping) -> None:
    """Raise what the ends of some processes mean, by rank, the first that was noticed at the beginning."""
    rank, failure = next(iter(failures.items()))
    if failure.exitcode == MachineError.code:  # perhaps of one that has lost the connection to another
        rank, failure = next(((at, end) for at, end in failures.items() if end.exitcode < 0), (rank, failure))
    if rank == 0 and failure.exitcode > 0:
        raise SystemExit(failure.exitcode)  # which has told why
    how = f"was killed by {signal.Signals(-failure.exitcode).name}" if failure.exitcode < 0 else ""
    how = how or f"has ended with exit code {failure.exitcode}"
    what = "repeat the command with resume=auto to go on from its last checkpoint, if it has one"
    raise MachineError(f"rank {rank} {how}, and with it the run; {what}")
