"""The machine: which device, which precision, how large."""

import contextlib
import platform
from collections.abc import Callable

import torch

from trainer.base.errors import ConfigError, MachineError

ALL_THREADS = torch.get_num_threads()  # before anyone sets another number


def use_threads(threads: int | str) -> None:
    """Compute with so many CPU threads; `auto` is what torch chose when it was imported."""
    torch.set_num_threads(ALL_THREADS if threads == "auto" else threads)


def pick(name: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU. Errors: MachineError where the device is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={name}: must be one of auto, cpu, cuda, mps, or cuda:N") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise MachineError(
                f"device={name}: this machine has {count} CUDA devices that torch can use; try device=auto, device=cpu"
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise MachineError("device=mps: this machine has none that torch can use; try device=auto, device=cpu")
    return device


def autocast(device: torch.device, precision: str) -> Callable[[], contextlib.AbstractContextManager]:
    """A factory for the context of the forward pass: bf16 where asked, nothing else in fp32."""
    if precision == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext


def out_of_memory(error: Exception) -> bool:
    """Whether an exception says that there was no room: CUDA's, Python's or that of torch on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def describe(device: torch.device) -> str:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
    return (
        f"{device} ({platform.machine()}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''})"
    )
