"""`train` in a process of its own, forked from a server that has imported torch: a start costs no import.

For tests that kill or interrupt a run. What a process does before its imports is tested with `python -m trainer`.
"""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
IMPORTS = ["trainer.task.train", "trainer.sweep.launch", "trainer.search.study", "trainer.cli.overrides"]
IMPORTS += ["torch._dynamo", "sklearn.datasets", "matplotlib.backends.backend_agg"]  # what a run imports late
CONTEXT.set_forkserver_preload(IMPORTS)


def begin(folder: Path, *words: str, output: str | Path = os.devnull, errors: str | Path = os.devnull) -> BaseProcess:
    """Start `train` in a folder, with this process's environment and its two streams in files."""
    process = CONTEXT.Process(target=train, args=(folder, words, dict(os.environ), (str(output), str(errors))))
    process.start()
    return process


def train(folder: Path, words: tuple[str, ...], environment: dict[str, str], streams: tuple[str, str]) -> None:
    from trainer.cli.program import program

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in enumerate(streams, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, stream)
        os.close(file)
    sys.argv = ["train", *words]
    program()
