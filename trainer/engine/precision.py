"""Number format of the forward pass for precision=auto: by the device, and on a CPU by what is faster there."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from trainer.base.device import autocast, bf16_is_native
from trainer.engine.decision import Decision
from trainer.engine.run import Run
from trainer.engine.threads import is_large, passes, work_of

ROUNDS, WINDOW = 3, 0.05  # measurements of each format in turn, and seconds of one
GAIN = 1.25  # a pass in bf16 must be so many times as fast: the choice should not depend on noise

_chosen: dict[tuple, Decision] = {}  # by model and batch: jobs of a sweep that are alike measure once


def choose_precision(run: Run) -> Decision:
    """Return bf16 where the device has instructions for it, and a CPU is faster in it; else fp32.

    A CPU is measured with the run's own model, on copies.
    """
    where = run.device
    if where.type == "cuda":
        major, minor = torch.cuda.get_device_capability(where)
        has = f"compute capability {major}.{minor}"
        return Decision("bf16", has) if bf16_is_native(where) else Decision("fp32", f"{has}; bf16 needs 8.0")
    if where.type != "cpu":
        return Decision("fp32", f"bf16 is not measured on {where.type}")
    if not bf16_is_native(where):
        return Decision("fp32", "this CPU has no AVX512-BF16 or AMX, or torch does not say so; bf16 would be slower")
    if is_large(run):
        return Decision("bf16", "this CPU has AVX512-BF16 or AMX")
    if (key := work_of(run)) not in _chosen:
        work = {name: passes(replace(run, autocast=autocast(where, name))) for name in ("fp32", "bf16")}
        _chosen[key] = faster(seconds_of(work))
    return _chosen[key]


def faster(seconds: Mapping[str, float]) -> Decision:
    """Return the format with the shorter pass, bf16 where it is clearly shorter."""
    each = f"a pass takes {seconds['bf16'] * 1e3:.3g} ms in bf16, {seconds['fp32'] * 1e3:.3g} ms in fp32"
    if GAIN * seconds["bf16"] <= seconds["fp32"]:
        return Decision("bf16", each)
    too_little = f", not {GAIN:g} times as fast" if seconds["bf16"] < seconds["fp32"] else ""
    return Decision("fp32", f"{each}{too_little}")


def seconds_of(work: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median seconds of a call of each function, measured in turn on the machine as busy as it is now."""
    samples: dict[str, list[float]] = {name: [] for name in work}
    for call in work.values():
        call()  # imports, allocations
    for _ in range(ROUNDS):
        for name, call in work.items():
            start, repeats = time.perf_counter(), 0
            while not repeats or time.perf_counter() - start < WINDOW:
                call()
                repeats += 1
            samples[name].append((time.perf_counter() - start) / repeats)
    return {name: statistics.median(found) for name, found in samples.items()}
