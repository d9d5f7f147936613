"""Capacity of the machine: free memory that this process may use."""

from pathlib import Path

import torch

UNKNOWN = 4 * 2**30  # bytes taken to be free where the system does not tell


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes; of the CPU, without swapping and within the limit of a container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return UNKNOWN
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except OSError:
        return free
