"""What is done for a run that diverged or found no memory: where it began, from where it can go on, and with what."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from trainer.base.errors import DataError, MachineError
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.run import Run
from trainer.engine.state import restore
from trainer.rundir import checkpoint
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder


def newest(directory: Path, device: torch.device, before: int | None = None) -> tuple[dict | None, list[str]]:
    """The state of the newest checkpoint that is whole, None where there is none, and what was passed over, with why.

    Args:
        before: an update; only states older than it, with finite weights, count.
    """
    skipped = []
    for path in checkpoint.newest_first(directory / "checkpoints"):
        try:
            state = checkpoint.load(path, device)
        except DataError as error:
            skipped.append(f"passed over: {error}")
            continue
        if before is None or (state["step"] < before and finite(state["model"].values())):
            return state, skipped
    return None, skipped


def finite(tensors) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def began(cfg: DictConfig, directory: Path, bad: int) -> str:
    """In which layer the loss of the update `bad` stopped being a number: the updates before it are run again from the last checkpoint."""
    run = build_run(cfg)
    run = replace(run, forward=run.model)  # hooks of a compiled model are not heard
    with TemporaryDirectory() as folder:
        curves, checkpoints, silent = (
            Recorder(Path(folder), run.data.task),
            Checkpoints(Path(folder), run.monitor),
            Console(silent=True),
        )
        state, _ = newest(directory, run.device, before=bad)
        if state:
            restore(run, curves, state)
        if run.memory.step < bad - 1:
            fit(run, curves, checkpoints, silent, until=bad - 1)
        lost = next((name for name, weight in run.model.named_parameters() if not finite([weight])), None)
        if lost:
            found = f"update {bad - 1:,} had left no numbers in {lost}"
        else:
            with first_output_that_is_none(run.model) as places:
                fit(run, curves, checkpoints, silent, until=bad)
            found = (
                f"it began in {places[0]}"
                if places
                else "every layer's output was still a number, the loss itself was not"
            )
        curves.close()
    return found


@contextmanager
def first_output_that_is_none(model: nn.Module) -> Iterator[list[str]]:
    """While entered, images and layers whose outputs are not all finite are noted, in the order of the forward pass."""
    places: list[str] = []

    def look(place: str, value: object) -> None:
        if isinstance(value, Tensor) and not finite([value]):
            places.append(place)

    handles = [model.register_forward_pre_hook(lambda module, images: look("the images, before any layer", images[0]))]
    for name, layer in model.named_modules():
        if not any(True for _ in layer.children()):
            place = f"layer {name} ({type(layer).__name__})"
            handles.append(layer.register_forward_hook(lambda module, inputs, output, place=place: look(place, output)))
    try:
        yield places
    finally:
        for handle in handles:
            handle.remove()


def halved(cfg: DictConfig, run: Run) -> DictConfig:
    """The same updates from batches half as large, or of a third where two do not divide them, and so on. Errors: MachineError where there is nothing left to halve."""
    if run.batch_size == 1:
        raise MachineError(
            f"batch_size=1: does not fit into the memory of {run.device} ({peak(run.device)}); try a smaller model, precision=bf16"
        )
    parts = next(number for number in range(2, run.batch_size + 1) if run.batch_size % number == 0)
    return OmegaConf.merge(cfg, {"batch_size": run.batch_size // parts, "accumulate": parts * run.accumulate})


def does_not_fit(run: Run) -> MachineError:
    half, twice = max(run.batch_size // 2, 1), 2 * run.accumulate
    return MachineError(
        f"batch_size={run.batch_size}: does not fit into the memory of {run.device} ({peak(run.device)}); "
        f"try batch_size={half} accumulate={twice} (the same updates), on_oom=halve (does this by itself)"
    )


def peak(device: torch.device) -> str:
    """The most memory that was in use."""
    if device.type == "cuda":
        used = torch.cuda.max_memory_allocated(device)
    else:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"peak {used / 2**30:.2f} GiB"
