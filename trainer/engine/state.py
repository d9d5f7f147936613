"""Training state: capture it for a checkpoint, and restore it into a freshly built run."""

import re
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from trainer.base.clock import Clock
from trainer.base.errors import DataError
from trainer.base.hooks import state_of
from trainer.base.text import printable
from trainer.config.rule import is_number
from trainer.engine.optimizer_groups import with_merged_groups
from trainer.engine.probe import is_probe
from trainer.engine.run import Run
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.recorder import Recorder

# A change of one of these keys changes the base learning rates: optimizer.lr, optimizer.base.adamw_lr, ...
RATE_KEY = re.compile(r"optimizer\.((.*[._])?lr|layer_decay)|scale_lr|base_batch")


def capture(
    run: Run,
    recorder: Recorder,
    now: Clock,
    weights: Mapping[str, Tensor] | None,
    config: Mapping | None = None,
    notes: Sequence[str] = (),
    description: Mapping | None = None,
) -> dict:
    """Return the state after the step `now`, as tensors, numbers, strings, lists and dicts.

    Args:
        config: of the run, plain values.
        weights: those that were evaluated; None for the model's own.
        notes: those that the run has printed.
        description: of the model, for its use without the data.
    """
    model, progress = plain(run.model.state_dict()), run.progress  # once: it may stand for the weights, too
    state = {
        "step": now.step,
        "weights": model if weights is None else weights,
        "model": model,
        "averaging": state_of(run.averaging),
        "optimizer": run.optimizer.state_dict(),
        "sched": run.plateau.state_dict() if run.plateau else {},
        "progress": {
            "history": progress.history,
            "best": progress.best,
            "rollbacks": progress.rollbacks,
            "extended_from": progress.extended_from,
            "skipped": progress.skipped,
            "skipped_in_a_row": progress.skipped_in_a_row,
            "losses": progress.losses if run.uses_losses else None,
            "order": progress.order if run.uses_losses else None,
            "probes": progress.probes,
            "start": progress.start,
        },
        "recorder": recorder.state_dict(),
        "data": fingerprints(run),
        "config": config,
        "notes": notes,
        "description": description,
        "torch": torch.__version__.partition("+")[0],
        "threads": torch.get_num_threads(),
        "channels_last": decided.value if (decided := run.decisions.get("channels_last")) else None,
    }
    return plain(state)


def plain(value: object) -> object:
    """Return nested mappings as dicts and sequences as lists, with detached tensors.

    One that is a part of a larger tensor is copied: torch saves the whole storage of a tensor.
    """
    if isinstance(value, Mapping):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    if not isinstance(value, Tensor):
        return value
    return value.detach() if value.untyped_storage().nbytes() <= value.nbytes else value.detach().clone()


def restore(
    run: Run,
    recorder: Recorder,
    checkpoints: Checkpoints,
    state: Mapping,
    *,
    changed: Collection[str] = (),
    discard: bool = False,
) -> None:
    """Restore weights, optimizer, progress, curves and the best checkpoint to a captured state, all of them or none.

    Args:
        changed: keys of the configuration that differ from the run's own from here on.
        discard: drop the checkpoints after the state: the run takes another branch.
    Errors: DataError where the state is of another run.
    """
    try:
        if state["data"] != fingerprints(run):
            raise DataError("the data has changed since the run was trained: other samples or labels; nothing was done")
        require_kinds(state, run)
        restore_optimizer(run, state, changed)
        if state["averaging"]:
            run.averaging.load_state_dict(state["averaging"])
        if run.plateau:
            run.plateau.load_state_dict(state["sched"])
        progress, saved = run.progress, state["progress"]
        progress.step = state["step"]
        progress.history[:], progress.rollbacks[:] = saved["history"], saved["rollbacks"]
        progress.order, progress.extended_from = saved["order"], saved.get("extended_from", 0)
        progress.skipped, progress.skipped_in_a_row = (saved.get(name, 0) for name in ("skipped", "skipped_in_a_row"))
        progress.probes[:] = filter(is_probe, saved.get("probes", []))
        progress.start = saved["start"] if is_start(saved.get("start")) else None
        if run.uses_losses:
            progress.losses.copy_(saved["losses"])
        best = saved["best"]
        found = checkpoints.rewind(progress.step, best["step"] if best else None, discard=discard)
        progress.best = best if found else None
        recorder.load_state_dict(state["recorder"], run.clock.at(progress.step))
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise DataError(f"the checkpoint does not fit the configuration ({reason})") from None


def is_start(value: object) -> bool:
    """Return whether a value that a checkpoint holds says which weights its run began with."""
    kinds = {"path": str, "sha256": str, "loaded": int, "fresh": list}
    return (
        isinstance(value, dict)
        and value.keys() == kinds.keys()
        and all(isinstance(value[key], kind) for key, kind in kinds.items())
        and all(isinstance(name, str) for name in value["fresh"])
    )


def require_kinds(state: Mapping, run: Run) -> None:
    """Check the parts of a state that its run would not look at before it uses them. Errors: TypeError, KeyError."""
    progress, curves = state["progress"], state["recorder"]
    evaluations = [*progress["history"], *([progress["best"]] if progress["best"] else [])]
    scores = [value for evaluation in evaluations for value in evaluation.values() if value is not None]
    numbers = [*progress["rollbacks"], *(evaluation.get("step") for evaluation in evaluations)]
    numbers += [progress.get(name, 0) for name in ("extended_from", "skipped", "skipped_in_a_row")]
    numbers += [curves["seconds"], curves["window"]["count"], curves.get("rows", 0), curves.get("lost", 0)]
    floats = [*scores, *curves["since_evaluation"]]  # NaN and Inf in a run that diverges
    if not all(map(is_number, numbers)) or not all(isinstance(value, int | float) for value in floats):
        raise TypeError("its progress is not made of numbers")
    order, sums = progress["order"], curves["window"]["sums"]
    samples = torch.arange(len(run.train), device=run.device)
    if order is not None and not torch.isin(order, samples).all():
        raise TypeError("its order is not one of the samples")
    if not isinstance(sums, Tensor if curves["window"]["count"] else float | Tensor):
        raise TypeError("its sums of metrics are not numbers")


def restore_optimizer(run: Run, state: Mapping, changed: Collection[str]) -> None:
    """Load weights and optimizer; settings of the optimizer that have changed keep their new values."""
    wanted = [dict(group) for group in run.optimizer.param_groups]
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(with_merged_groups(state["optimizer"], len(wanted)))
    names = {key.rpartition(".")[2] for key in changed if key.startswith("optimizer.")}
    names |= {"base_lr"} if any(map(RATE_KEY.fullmatch, changed)) else set()
    for group, new in zip(run.optimizer.param_groups, wanted):
        if wrong := [name for name, value in new.items() if is_number(value) and not is_number(scalar(group[name]))]:
            raise TypeError(f"its optimizer's {wrong[0]} is not a number")
        group.update({name: new[name] for name in names if name in new})


def scalar(value: object) -> object:
    """Return the number that a tensor of one element holds; any other value as it is."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def fingerprints(run: Run) -> list[str]:
    """Return a digest of each split as the run sees it."""
    return [split.fingerprint for split in (run.train, run.val, run.test)]
