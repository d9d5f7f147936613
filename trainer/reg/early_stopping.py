"""Early stopping."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.base.checks import require, require_one_of


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Early stopping after `patience` evaluations without an improvement of more than `min_delta` over the best.

    Args:
        monitor: metric of the validation split, one of loss (smaller is better), accuracy, r2 (larger is better).
        patience: evaluations, >= 1.
        min_delta: smallest change that counts, >= 0, in the metric's unit.
    Errors: ValueError. Source: Prechelt, "Early stopping - but when?", 1998 (its UP criterion counts rises, this one
    evaluations since the best, as is common today). Called with the history of the validation split, oldest first.
    """

    monitor: str = "loss"
    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        require_one_of("loss", "accuracy", "r2", monitor=self.monitor)
        require(">= 1", patience=self.patience)
        require(">= 0", min_delta=self.min_delta)

    def __call__(self, history: Sequence[dict[str, float]]) -> bool:
        if history and self.monitor not in history[0]:
            metrics = [key for key in history[0] if key not in ("step", "epoch")]
            raise ValueError(f"monitor must be one of {', '.join(metrics)} for this data, got {self.monitor}")
        sign = 1 if self.monitor == "loss" else -1
        best, since = float("inf"), 0
        for evaluation in history:
            value = sign * evaluation[self.monitor]
            if value < best - self.min_delta:
                best, since = value, 0
            else:
                since += 1
        return since >= self.patience
