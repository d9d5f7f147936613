"""All that a run has become, as tensors, numbers, words, lists and dicts; and a run built anew brought back to it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.base.clock import Clock
from trainer.base.errors import DataError
from trainer.base.text import printable
from trainer.engine.run import Run
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.recorder import Recorder


def capture(
    run: Run, curves: Recorder, checkpoints: Checkpoints, now: Clock, weights: Mapping[str, Tensor] | None
) -> dict:
    """The state after the update `now`.

    Args:
        weights: those that were scored, where they were; else the model's own stand for them.
    """
    model = run.model.state_dict()
    memory = run.memory
    state = {
        "step": now.step,
        "weights": model if weights is None else weights,
        "model": model,
        "averaging": run.averaging.state_dict() if hasattr(run.averaging, "state_dict") else {},
        "optimizer": run.optimizer.state_dict(),
        "sched": run.plateau.state_dict() if run.plateau else {},
        "history": memory.history,
        "losses": memory.losses if run.uses_losses else None,
        "order": memory.order if run.uses_losses else None,
        "best": checkpoints.best,
        "curves": curves.state_dict(),
        "data": fingerprints(run),
        "torch": torch.__version__.partition("+")[0],
    }
    return plain(state)


def plain(value: object) -> object:
    """Dicts of every kind as dict, tuples as lists."""
    if isinstance(value, Mapping):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return value.detach() if isinstance(value, Tensor) else value


def restore(run: Run, curves: Recorder, state: dict, changed: set[str] = frozenset()) -> None:
    """Bring a run that was just built to a captured state.

    Args:
        changed: keys of the configuration that the user wants otherwise from here on.
    Errors: DataError where the state is of another run.
    """
    try:
        if state["data"] != fingerprints(run):
            raise DataError(
                "the data is not what the run was trained on: its samples or labels have changed since; nothing was done"
            )
        wanted = [dict(group) for group in run.optimizer.param_groups]
        run.model.load_state_dict(state["model"])
        if state["averaging"]:
            run.averaging.load_state_dict(state["averaging"])
        run.optimizer.load_state_dict(state["optimizer"])
        for group, new in zip(run.optimizer.param_groups, wanted):
            names = {key.rpartition(".")[2] for key in changed if key.startswith("optimizer.")}
            names |= {"base_lr"} if names & {"lr", "scale_lr", "base_batch"} else set()
            group.update({name: new[name] for name in names if name in new})
        if run.plateau:
            run.plateau.load_state_dict(state["sched"])
        memory = run.memory
        memory.step = state["step"]
        memory.history[:] = state["history"]
        memory.order = state["order"]
        if run.uses_losses:
            memory.losses.copy_(state["losses"])
        curves.load_state_dict(state["curves"], run.clock.at(memory.step))
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the checkpoint does not fit the configuration ({printable(str(error).partition(chr(10))[0])})"
        ) from None


def fingerprints(run: Run) -> list[str]:
    """Of the data as the run meets it, split by split."""
    return [split.fingerprint for split in (run.train, run.val, run.test)]
