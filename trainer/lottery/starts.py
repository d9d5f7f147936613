"""Weights that the networks of a lottery begin with: those of the dense network early on, and fresh ones."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig
from safetensors.torch import save
from torch import Tensor

from trainer.base.atomic import atomic_write
from trainer.base.errors import DataError, Diverged
from trainer.base.plain_files import read_plain
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.data.splits import Splits
from trainer.engine.build import build_run
from trainer.engine.loop import fit
from trainer.engine.recovery import newest_state
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.status import Status
from trainer.rundir.weights_file import parsed_safetensors

State = Mapping[str, Tensor]


def seeded_run(cfg: DictConfig, seed: int, invocation: Invocation, data: Splits) -> Run:
    """Return a fresh run with another seed. Errors: UserError."""
    cfg = cfg.copy()
    cfg.seed = seed
    return build_run(cfg, invocation, data)


def early_weights(run: Run, step: int) -> State:
    """Return the weights of a fresh run after some steps of its training; of step 0 its initial ones.

    Errors: Diverged.
    """
    if step:
        with TemporaryDirectory() as folder:
            recorder = Recorder(Path(folder), run.data.task)
            outcome = fit(run, recorder, Console(silent=True), until=step)
            recorder.close()
        if outcome.status not in (Status.FINISHED, Status.STOPPED):
            raise Diverged(f"task.rewind={step}st: the loss is NaN or Inf after step {outcome.nonfinite_step:,}")
    return on_host(run.model.state_dict())


def trained_weights(directory: Path) -> State:
    """Return the last weights of a complete run. Errors: DataError where its checkpoints are gone."""
    state, _ = newest_state(directory, torch.device("cpu"))
    if state is None:
        raise DataError(f"{printable(directory)}: none of its checkpoints is complete; delete it and resume")
    return on_host(state["weights"])


def on_host(state: State) -> State:
    """Return copies of weights and buffers on the host, none of which shares memory with another."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def write(path: Path, tensors: State) -> None:
    """Write tensors by name as safetensors. Errors: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, save({name: value.contiguous() for name, value in tensors.items()}))


def read(path: Path) -> State:
    """Return the tensors of a file that `write` wrote. Errors: DataError."""
    try:
        return parsed_safetensors(read_plain(path))[0]
    except (OSError, ValueError) as error:
        reason = printable(getattr(error, "strerror", "") or str(error).partition("\n")[0])
        raise DataError(f"{printable(path)}: cannot be read ({reason}); delete it and resume") from None
