"""Check for the driver of a device without importing torch, which takes seconds."""

import ctypes
import sys
from pathlib import Path


def missing_device(name: str) -> str | None:
    """Return why this machine cannot have a device, as far as that is known before torch is imported; else None."""
    kind = name.partition(":")[0]
    if kind == "mps" and sys.platform != "darwin":
        return "this machine has no MPS device that torch can use"
    if kind == "cuda" and not has_cuda():
        return "this machine has no driver for CUDA devices"
    return None


def has_cuda() -> bool:
    """Return whether a driver of CUDA or ROCm is installed: the library that torch loads, or the device of ROCm."""
    if sys.platform == "darwin":
        return False
    if Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
