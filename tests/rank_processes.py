"""Shared by the tests of ranks: two processes that know one another, forked as those of processes.py."""

import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from processes import CONTEXT


def start(target: Callable, *args: object, errors: Path, count: int = 2) -> list[BaseProcess]:
    """Start processes with the environment of torchrun, each of which calls the target.

    Args:
        errors: file for the tracebacks, and all that they print.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    started = []
    for rank in range(count):
        environment = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(CONTEXT.Process(target=work, args=(environment, errors, target, args)))
        started[-1].start()
    return started


def work(environment: dict[str, str], errors: Path, target: Callable, args: tuple) -> None:
    os.environ.update(environment)
    file = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        target(*args)
    except BaseException:
        traceback.print_exc()
        raise
