"""Progress of a run: its mutable state other than weights, optimizer and curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from trainer.base import ranks
from trainer.base.clock import Clock
from trainer.base.metrics import Metric

MicroOutput = tuple[Tensor, Tensor, Tensor]  # losses (B,), outputs (B, K), and targets (B, K) or classes (B,)


@dataclass(kw_only=True)
class Progress:
    """Progress of a run; a checkpoint holds all of it, and a rollback restores it as one.

    Args:
        losses: of each training sample when it was last seen, for samplers that use them.
        step: steps done.
        order: of the samples in the present epoch.
        history: evaluations of the validation split, oldest first.
        best: the best of them, by the monitored metric.
        extended_from: evaluations before the run was extended; rules that stop a run count from there.
        rollbacks: steps of the checkpoints that the run was rolled back to, in that order.
        skipped: steps that were left out.
        skipped_in_a_row: those of them since the last other step.
        probes: statistics of the layers at some steps, as engine/probe.py gives them.
        start: path and digest of the weights that the run began with (model.weights), and what was loaded of them.
    """

    losses: Tensor
    step: int = 0
    order: Tensor | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    rollbacks: list[int] = field(default_factory=list)
    extended_from: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    probes: list[dict] = field(default_factory=list)
    start: dict | None = None

    @property
    def recent_history(self) -> Sequence[dict[str, float]]:
        """Evaluations since the run was begun, or extended after its end."""
        return self.history[self.extended_from :]

    def begin_extension(self) -> None:
        """Let the rules that stop a run begin anew: it was at its end, and was extended."""
        self.extended_from = len(self.history)

    def advance(
        self, done: Clock, indices: Sequence[Tensor], micro_outputs: Sequence[MicroOutput], *, keep_losses: bool
    ) -> None:
        """Count a step, and keep the losses of its samples; of a sample that a batch holds twice, the larger one."""
        self.step = done.step
        if keep_losses:
            for samples, (losses, _, _) in zip(indices, micro_outputs):
                losses = ranks.rows_of_all(losses, len(samples))
                self.losses.scatter_reduce_(0, samples, losses, "amax", include_self=False)

    def add_probe(self, found: dict | None) -> None:
        """Keep a probe in place of an earlier one of its step; None adds nothing."""
        if found:
            self.probes[:] = [probe for probe in self.probes if probe["step"] != found["step"]] + [found]

    def add_evaluation(self, now: Clock, scores: dict[str, float], monitor: Metric) -> bool:
        """Append an evaluation to the history, and return whether it is the best so far. A non-finite loss never is."""
        record = {"step": now.step, "epoch": round(now.epochs, 4), **scores}
        self.history.append(record)
        if not math.isfinite(scores["loss"]) or (self.best and monitor.rank(record) >= monitor.rank(self.best)):
            return False
        self.best = record
        return True
