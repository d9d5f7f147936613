"""Parts of a recovery: the newest usable state, the first non-finite layer, a smaller batch. session.py decides."""

import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from trainer.base.errors import DataError, MachineError
from trainer.base.text import printable
from trainer.engine.loop import fit
from trainer.engine.run import Run
from trainer.engine.state import restore
from trainer.rundir import checkpoint
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder


def newest_state(directory: Path, device: torch.device, before: int | None = None) -> tuple[dict | None, list[str]]:
    """Return the state of the newest complete checkpoint, None where there is none, and a line on each one passed over.

    Args:
        before: a step; only states before it, with finite weights, count.
    """
    skipped = [f"passed over: {printable(path)}: missing" for path in checkpoint.missing(directory / "checkpoints")]
    for path in checkpoint.newest_first(directory / "checkpoints"):
        try:
            state = checkpoint.load(path, device)
        except DataError as error:
            skipped.append(f"passed over: {error}")
            continue
        if before is None or (state["step"] < before and all_finite(state["model"].values())):
            return state, skipped
    return None, skipped


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether no tensor holds NaN or Inf."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def name_nonfinite_layer(build: Callable[[], Run], directory: Path, step: int) -> str:
    """Name the layer where a non-finite loss began, as far as a second run of the steps before it can."""
    try:
        return first_nonfinite_layer(build, directory, step)
    except (Exception, KeyboardInterrupt) as error:  # the run has diverged, whatever happens to this search
        reason = str(error).partition("\n")[0] or type(error).__name__
        return f"in a layer that could not be found ({printable(reason)})"


def first_nonfinite_layer(build: Callable[[], Run], directory: Path, step: int) -> str:
    """Name the first layer with a non-finite output in a step, by replaying from the last checkpoint.

    Args:
        build: makes the run anew.
        directory: the run's; nothing is written there.
        step: the first one with a non-finite loss.
    """
    run = build()
    run = replace(run, forward=run.model, compiling=None, fit_title="")  # hooks of a compiled model are not called
    with TemporaryDirectory() as folder:
        silent = Console(silent=True)
        recorder = Recorder(Path(folder), run.data.task, silent.print)  # which lacks the run's curves
        state, _ = newest_state(directory, run.device, before=step)
        if state:
            restore(run, recorder, Checkpoints(Path(folder)), state)
        if run.progress.step < step - 1:
            fit(run, recorder, silent, until=step - 1)
        damaged = next((name for name, weight in run.model.named_parameters() if not all_finite([weight])), None)
        if damaged:
            found = f"after step {step - 1:,} left NaN or Inf in {damaged}"
        else:
            with watch_outputs(run.model) as places:
                fit(run, recorder, silent, until=step)
            found = f"first in {places[0]}" if places else "though every layer's output is finite"
        recorder.close()
    return found


@contextmanager
def watch_outputs(model: nn.Module) -> Iterator[list[str]]:
    """Note the images and layers with non-finite outputs, in the order of the forward pass."""
    places: list[str] = []

    def note(place: str, value: object) -> None:
        if isinstance(value, Tensor) and not all_finite([value]):
            places.append(place)

    def on_images(module: nn.Module, images: tuple) -> None:
        note("the images, before any layer", images[0])

    handles = [model.register_forward_pre_hook(on_images)]
    for name, layer in model.named_modules():
        if not any(True for _ in layer.children()):
            place = f"layer {name} ({type(layer).__name__})"
            handles.append(layer.register_forward_hook(lambda module, inputs, output, place=place: note(place, output)))
    try:
        yield places
    finally:
        for handle in handles:
            handle.remove()


def halved(cfg: DictConfig, run: Run) -> DictConfig:
    """Return the configuration with batches half as large and twice the accumulation: the same steps.

    Where 2 does not divide the batch size, 3 does, and so on. Errors: MachineError where the batch holds one sample.
    """
    if run.batch_size == 1:
        raise does_not_fit(run)
    return OmegaConf.merge(cfg, smaller_batches(run))


def smaller_batches(run: Run) -> dict[str, int]:
    """Return the batch size and the accumulation of the largest smaller batches that make the same steps."""
    parts = next(number for number in range(2, run.batch_size + 1) if run.batch_size % number == 0)
    return {"batch_size": run.batch_size // parts, "accumulate": parts * run.accumulate}


def does_not_fit(run: Run) -> MachineError:
    """Return the error of a batch that does not fit into memory."""
    memory = f"does not fit into the memory of {run.device} ({peak(run.device)})"
    if run.batch_size == 1:
        hint = "try a smaller model, precision=bf16"
    else:
        smaller = " ".join(f"{key}={value}" for key, value in smaller_batches(run).items())
        hint = f"try {smaller} (the same steps), or on_oom=halve (does this by itself)"
    return MachineError(f"batch_size={run.batch_size}: {memory}; {hint}")


def peak(device: torch.device) -> str:
    """Return the most memory that was in use, in words."""
    if device.type == "cuda":
        used = torch.cuda.max_memory_allocated(device)
    else:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f"peak {used / 2**30:.2f} GiB"
