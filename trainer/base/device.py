"""Device of a run: threads, precision, memory errors, description."""

import contextlib
import os
import platform
from collections.abc import Callable

import torch

from trainer.base.errors import ConfigError, MachineError

MOST_THREADS, THREADS_PER_CORE = 256, 4  # whichever is more
ALL_THREADS = torch.get_num_threads()  # before a run sets another number


def use_threads(threads: int | str) -> None:
    """Set the number of CPU threads; `auto` is the number that torch chose when it was imported.

    Errors: MachineError for a number that no machine of this size has a use for: the system would end the process.
    """
    cores = os.cpu_count() or 1
    if threads != "auto" and threads > max(MOST_THREADS, THREADS_PER_CORE * cores):
        raise MachineError(f"threads={threads}: too many for this machine, which has {cores} cores; try threads=auto")
    torch.set_num_threads(ALL_THREADS if threads == "auto" else threads)


def pick(name: str) -> torch.device:
    """Return the device of a name; `auto` is CUDA, else MPS, else the CPU.

    Errors: ConfigError for an unknown name, MachineError where this machine lacks the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={name}: must be one of auto, cpu, cuda, mps, or cuda:N") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            has = f"this machine has {count} CUDA devices that torch can use"
            raise MachineError(f"device={name}: {has}; try device=auto, device=cpu")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise MachineError("device=mps: this machine has no MPS device that torch can use; try device=auto, device=cpu")
    return device


def autocast(device: torch.device, precision: str) -> Callable[[], contextlib.AbstractContextManager]:
    """Return a factory for the context of the forward pass: autocast for bf16, an empty one for fp32.

    `auto`, which is measured where a run is built, is bf16 on a GPU that has instructions for it, else fp32.
    """
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and bf16_is_native(device) else "fp32"
    contexts = {"fp32": contextlib.nullcontext, "bf16": lambda: torch.autocast(device.type, dtype=torch.bfloat16)}
    return contexts[precision]


def bf16_is_native(device: torch.device) -> bool:
    """Return whether the device is known to have instructions for bf16: CUDA from 8.0 on, AVX512-BF16, AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = cpu_capabilities() if device.type == "cpu" else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def cpu_capabilities() -> dict:
    """Return what torch knows of the CPU's instructions; nothing in torch 2.10."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def emulates_bf16(device: torch.device) -> bool:
    """Return whether the device has no instructions for bf16: then it is many times slower than fp32."""
    known = cpu_capabilities() if device.type == "cpu" else {}
    return known.get("architecture") == "x86_64" and not bf16_is_native(device)


def out_of_memory(error: Exception) -> bool:
    """Return whether an exception is one of memory: CUDA's, Python's or that of torch on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def describe(device: torch.device) -> str:
    """Return the device with its name and memory, or with the CPU's architecture and threads."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
    threads = torch.get_num_threads()
    number = f"{threads} of {ALL_THREADS}" if threads < ALL_THREADS else f"{threads}"
    return f"{device} ({platform.machine()}, {number} thread{'' if number == '1' else 's'})"
