"""Successive halving: poor runs of a search are ended early."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.config.hydra_context import Invocation
from trainer.config.private_api import open_trial
from trainer.search.study import direction_of, open_study, quiet

if TYPE_CHECKING:
    from optuna import Trial


@dataclass(kw_only=True)
class Halving:
    """Asynchronous successive halving (Li et al., 2020): end a run that is not among the best 1 / r that came as far.

    Compares the validation score after m, m r, m r^2, ... epochs, but not after the last one; m is min_epochs and r is
    reduction_factor.

    Args:
        trial: the run's, with its study's pruner.
        monitor: the metric that decides: loss, accuracy or r2.
        epochs: in the run.
    Source: arXiv:1810.05934, algorithm 2. Differs from the paper: a run that was ended is never resumed.
    """

    trial: "Trial"
    monitor: str
    epochs: float
    verdict: str = ""

    def __call__(self, history: Sequence[dict[str, float]]) -> bool:
        epoch, value = history[-1]["epoch"], history[-1][self.monitor]
        with quiet():  # a resumed run reports an epoch again
            self.trial.report(value, int(epoch))
            if epoch >= self.epochs or not (self.trial.user_attrs.get("pruned") or self.trial.should_prune()):
                return False
        self.trial.set_user_attr("pruned", True)
        reason = f"{self.monitor} {value:.4f} is not among the best that came as far"
        self.verdict = f"ended by the search after {epoch:g} of {self.epochs:g} epochs: {reason}"
        return True


def pruning_rules(
    monitor: str, epochs: float, invocation: Invocation
) -> list[Callable[[Sequence[dict[str, float]]], bool]]:
    """Return the rule by which a search may end this run early, in whatever process; none for a run of no search.

    Args:
        monitor: the metric by which the run chooses its best evaluation.
        epochs: in the run.
    Errors: MachineError where the study's database cannot be opened.
    """
    search = invocation.sweeper
    if invocation.sweep is None or search.get("trial") is None or search.pruner == "none":
        return []
    from optuna.pruners import SuccessiveHalvingPruner

    study = open_study(search.storage, invocation.sweep.absolute(), search.study_name, direction_of(monitor))
    study.pruner = SuccessiveHalvingPruner(min_resource=search.min_epochs, reduction_factor=search.reduction_factor)
    return [Halving(trial=open_trial(study, search.trial), monitor=monitor, epochs=epochs)]
