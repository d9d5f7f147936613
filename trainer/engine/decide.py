"""Settings that are `auto`, decided for a run on this machine."""

from dataclasses import replace

from omegaconf import DictConfig

from trainer.base import ranks
from trainer.base.device import autocast, use_threads
from trainer.engine.decision import AUTO, Decision
from trainer.engine.memory_format import choose_channels_last
from trainer.engine.precision import choose_precision
from trainer.engine.run import Run
from trainer.engine.threads import are_measured, choose_threads


def decide(cfg: DictConfig, run: Run) -> Run:
    """Return a run with its precision, and with the decisions on record; the threads of torch are set."""
    decisions = {}
    if cfg.precision == AUTO:
        decisions["precision"] = chosen = choose_precision(run)
        run = replace(run, autocast=autocast(run.device, chosen.value))
    if cfg.channels_last == AUTO and (chosen := choose_channels_last(cfg, run.model, run.device)):
        decisions["channels_last"] = chosen
    if cfg.threads == AUTO:
        whole = "all of them" if ranks.count() == 1 else "this rank's share of the cores"
        reason = "the fastest number for a pass" if are_measured(run) else whole
        decisions["threads"] = Decision(str(number := choose_threads(run)), reason)
        use_threads(number)
    return replace(run, decisions=decisions)
