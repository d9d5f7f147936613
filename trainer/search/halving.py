"""Poor runs of a search, ended early."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.config.hydra_context import Invocation
from trainer.search.study import opened, quiet

if TYPE_CHECKING:
    from optuna import Trial


@dataclass(kw_only=True)
class Halving:
    """End a run that is not among the best 1 / r of those that came as far (asynchronous successive halving; Li et al., 2020).

    Looks at the validation score when m, m r, m r^2, ... epochs are done, but not at the last one: m min_epochs, r reduction_factor.

    Args:
        trial: the run's, with its study's pruner.
        monitor: what is best: loss, accuracy or r2.
        epochs: in the run.
    Source: arXiv:1810.05934, algorithm 2. Differs: a run that was ended is never taken up again.
    """

    trial: "Trial"
    monitor: str
    epochs: int
    verdict: str = ""

    def __call__(self, history: Sequence[dict[str, float]]) -> bool:
        epoch, value = history[-1]["epoch"], history[-1][self.monitor]
        with quiet():  # a run that was resumed scores an epoch again
            self.trial.report(value, epoch)
            if epoch >= self.epochs or not (self.trial.user_attrs.get("pruned") or self.trial.should_prune()):
                return False
        self.trial.set_user_attr("pruned", True)
        told = f"{self.monitor} {value:.4f} is not among the best that came as far"
        self.verdict = f"ended by the search after {epoch} of {self.epochs} epochs: {told}"
        return True


def early_stops(
    monitor: str, epochs: int, invocation: Invocation
) -> list[Callable[[Sequence[dict[str, float]]], bool]]:
    """Return the rule by which the search that launched this run, in whatever process, may end it early; none for any other run."""
    asked = invocation.sweeper
    if invocation.sweep is None or asked.get("trial") is None or asked.pruner == "none":
        return []
    from optuna import Trial
    from optuna.pruners import SuccessiveHalvingPruner

    study = opened(
        asked.storage,
        invocation.sweep.absolute(),
        asked.study_name,
        "minimize" if monitor == "loss" else "maximize",
    )
    study.pruner = SuccessiveHalvingPruner(min_resource=asked.min_epochs, reduction_factor=asked.reduction_factor)
    return [Halving(trial=Trial(study, asked.trial), monitor=monitor, epochs=epochs)]
