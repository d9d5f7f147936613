"""GPUs and worker processes of a sweep: how many jobs run at a time, and which device each gets."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

DRIVERS = ("/proc/driver/nvidia", "/dev/kfd", "/dev/dxg")  # without one of them Linux has no GPU that torch could find


def limit_to_gpus(launcher: DictConfig) -> None:
    """Let a launcher that starts as many jobs as there are cores start one a GPU instead, where there are GPUs.

    On the CPU joblib itself gives each of n jobs 1 / n of the cores as threads.
    """
    if launcher.get("n_jobs") == -1 and (sys.platform != "linux" or any(map(os.path.exists, DRIVERS))):
        import torch  # 2 s

        if count := torch.cuda.device_count():
            launcher.n_jobs = count


def shut_down_workers() -> None:
    """End the processes that joblib keeps for further jobs; left alone they take 2 s to end."""
    if "joblib" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)


@contextmanager
def reserve(folder: Path, asked: str, count: int | None = None) -> Iterator[str]:
    """Yield a job's device: the GPU with the fewest jobs of this sweep, where there are several and none is chosen.

    A job holds its GPU by a lock on a file, which the system releases when its process ends.

    Args:
        folder: the sweep's.
        asked: the job's `device`; any but auto and cuda is yielded as it is.
        count: GPUs; None for those that torch finds.
    """
    if count is None and asked in ("auto", "cuda"):
        import torch

        count = torch.cuda.device_count()
        if count:
            torch.cuda.empty_cache()  # memory that an earlier job in this process has left
    if asked not in ("auto", "cuda") or count < 2:
        yield asked
        return
    for place in range(count * (os.cpu_count() or 1)):  # the first place on every GPU, then the second
        lock = FileLock(folder / f".gpu{place % count}-{place // count}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            yield f"cuda:{place % count}"
        finally:
            lock.release()
        return
    yield asked
