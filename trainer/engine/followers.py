"""Ranks of a run: rank 0 is the program, the others train when it trains, and write and print nothing but errors.

Before each training rank 0 sends its configuration, with all that was measured or chosen, and its state; the others
build the same run and take the same steps. So they need no command line, no directory and no checkpoint.
"""

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from omegaconf import DictConfig, OmegaConf

from trainer.base import ranks, signals
from trainer.base.clock import Clock
from trainer.base.errors import ConfigError, MachineError
from trainer.base.hooks import needs_graph
from trainer.base.interpreter import fewer_collections
from trainer.base.protocols import WatchesModel
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.loop import Save, fit
from trainer.engine.run import Outcome, Run
from trainer.engine.state import capture, restore
from trainer.engine.try_step import base_of
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

BACKENDS = ("cpu", "cuda")  # devices whose tensors ranks can add up


def with_devices(cfg: DictConfig) -> DictConfig:
    """Return the configuration with the number of processes that there are. Errors: ConfigError for another number."""
    count = ranks.count()
    if cfg.devices == count:
        return cfg
    if count == 1:
        where = "is for the command train, which starts the processes; here is one"
        raise ConfigError(f"devices={cfg.devices}: {where}; try devices=1")
    if cfg.devices > 1:
        raise ConfigError(f"devices={cfg.devices}: torchrun has started {count} processes; leave devices out")
    return OmegaConf.merge(cfg, {"devices": count})


def require_shareable(run: Run, cfg: DictConfig, invocation: Invocation) -> None:
    """Refuse what ranks cannot share, before anything is written. Errors: ConfigError, MachineError."""
    count, describe = ranks.count(), invocation.describe
    if count == 1:
        return
    reasons = {
        describe("optimizer"): isinstance(base_of(run.optimizer), WatchesModel)
        and "sees the samples of one rank alone",
        f"{describe('optimizer')} ": needs_graph(run.optimizer) and "differentiates a gradient that is one rank's part",
        f"compile={cfg.compile}": cfg.compile != "off" and "cannot trace the sums over the ranks",
        "on_oom=halve": cfg.on_oom == "halve" and "memory that one rank lacks stops the others",
        f"device={cfg.device}": run.device.type not in BACKENDS and "has no sums over processes; try device=cpu",
    }
    for what, reason in reasons.items():
        if reason:
            raise ConfigError(f"{what.strip()}: {reason} (devices={count}); try devices=1")
    if run.device.type == "cuda":
        here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", count)), torch.cuda.device_count()
        if here > gpus:
            raise MachineError(f"devices={here}: this machine has {gpus} GPUs that torch can use; try devices={gpus}")
        if run.device.index != ranks.place.local:
            raise ConfigError(
                f"device={cfg.device}: each of the {count} processes has a GPU of its own; try device=cuda"
            )


def fact(run: Run) -> list[tuple[str, str]]:
    """Return what the table at the start of a run says of its ranks; nothing of one process."""
    if ranks.count() == 1:
        return []
    share = -(-run.batch_size // ranks.count())
    return [("ranks", f"{ranks.count()} processes, up to {share} samples of a batch each; batch norm over all of them")]


def leading(cfg: DictConfig, invocation: Invocation) -> Callable[..., Outcome]:
    """Return `fit`, in which the other ranks, if there are any, take part."""

    def fit_with_others(run: Run, recorder: Recorder, console: Console, save: Save) -> Outcome:
        now = run.clock.at(run.progress.step)
        state = capture(run, recorder, now, None)
        threads = torch.get_num_threads()
        order = {"threads": threads, "device": run.device.type, "rows": recorder.rows, "state": to_bytes(state)}
        ranks.send({"cfg": OmegaConf.to_container(cfg), "invocation": invocation, **order})
        with ranks.joined():
            return fit(run, recorder, console, save)

    return fit if ranks.count() == 1 else fit_with_others


def to_bytes(state: dict) -> bytes:
    """Return a captured state as bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def follow() -> None:
    """Train with rank 0, as often as it does, until it ends. Errors: UserError."""
    with signals.deadly(), signals.handled([signal.SIGTERM], signal.SIG_DFL):  # Python's handlers wait for rank 0, too
        ranks.connect()
    with signals.ignored():  # while this rank waits; rank 0 says when to end
        while (order := ranks.receive()) is not None:
            with fewer_collections():
                run = build(order)
            train(run, order)


def build(order: dict) -> Run:
    """Return the run of an order, on this rank's device."""
    device = order["device"] if order["device"] == "cpu" else f"{order['device']}:{ranks.place.local}"
    cfg = OmegaConf.create({**order["cfg"], "threads": order["threads"], "device": device})
    return build_run(cfg, order["invocation"], begins=False)


def train(run: Run, order: dict) -> None:
    """Train a run from rank 0's state on. Its record is in a folder that is deleted."""
    state = torch.load(io.BytesIO(order["state"]), map_location=run.device, weights_only=True)
    with TemporaryDirectory() as folder:
        silent = Console(silent=True)
        recorder = Recorder(Path(folder), run.data.task, silent.print)
        recorder.rows = order["rows"]
        restore(run, recorder, Checkpoints(Path(folder)), with_empty_sums(state))
        run.progress.best = state["progress"]["best"]

        def save(now: Clock, weights: dict | None, best: bool) -> None:
            recorder.state_dict()  # rank 0 saves the sums of all ranks

        try:
            with ranks.joined():
                fit(run, recorder, silent, save)
        except ranks.AGREED:
            pass  # rank 0 raises the same
        finally:
            recorder.close()


def with_empty_sums(state: dict) -> dict:
    """Return a state in which the metrics are those of no samples: rank 0 has the others."""
    window = state["recorder"]["window"]
    window["count"], window["sums"] = 0, window["sums"] * 0
    return state
