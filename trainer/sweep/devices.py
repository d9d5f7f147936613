"""Which device a job of a sweep gets, and how many run at a time: jobs side by side share the GPUs or the cores."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

DRIVERS = ("/proc/driver/nvidia", "/dev/kfd", "/dev/dxg")  # without one of them Linux has no GPU that torch could find


def share(launcher: DictConfig) -> None:
    """Let a launcher that starts as many jobs as there are cores start one a GPU instead, where there are GPUs.

    On the CPU joblib itself gives each of n jobs 1 / n of the cores as threads.
    """
    if launcher.get("n_jobs") == -1 and (sys.platform != "linux" or any(map(os.path.exists, DRIVERS))):
        import torch  # 2 s

        if count := torch.cuda.device_count():
            launcher.n_jobs = count


def give_back() -> None:
    """After the last job: end the processes that joblib keeps for further ones, which take 2 s to do that by themselves."""
    if "joblib" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)


@contextmanager
def device(folder: Path, asked: str, count: int | None = None) -> Iterator[str]:
    """`cuda:K` with the fewest jobs of this sweep on it where several GPUs are there and none was asked for; else what was asked for.

    A job holds a place on its GPU with a file that the system lets go of when it ends.

    Args:
        count: GPUs; None for those that torch finds.
    """
    if count is None and asked in ("auto", "cuda"):
        import torch

        count = torch.cuda.device_count()
        if count:
            torch.cuda.empty_cache()  # what an earlier job in this process has left
    if asked not in ("auto", "cuda") or count < 2:
        yield asked
        return
    for place in range(count * (os.cpu_count() or 1)):  # the first place of every GPU, then the second
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
