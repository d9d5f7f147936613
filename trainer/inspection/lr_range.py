"""Learning-rate range test (Smith, 2017, arXiv:1506.01186): a rate that rises exponentially from step to step.

The steps are those of the loop, with the run's augmentations, regularisers and optimizer; schedule and averaging are
left out. The run is afterwards as it was.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from omegaconf import DictConfig

from trainer.averaging import Identity
from trainer.base.clock import Clock
from trainer.base.layers import common_rate
from trainer.config.auto_rate import with_rate
from trainer.config.hydra_context import Invocation
from trainer.engine.build import learning_rates
from trainer.engine.loop import Update
from trainer.engine.order import batches
from trainer.engine.progress import Progress
from trainer.engine.run import Run
from trainer.inspection.loss_by_rate import Divergence
from trainer.inspection.training_state import preserved


@dataclass(frozen=True, kw_only=True)
class LrRange:
    """Training loss against the learning rate.

    Args:
        rates: of each step, ascending.
        losses: after each step, on the next batch; the last one may not be finite.
        diverged: the test ended because the loss diverged, not at the last rate.
    """

    rates: list[float]
    losses: list[float]
    diverged: bool


class GroupRates:
    """Learning rates of a run's parameter groups, from the value of the key that sets them.

    Each is proportional to the value or does not depend on it, as that of weights with a rate of their own.

    Args:
        key: optimizer.lr, or that of an optimizer inside.
    """

    ONE = 1e-3  # value of the key at which the groups are looked at

    def __init__(self, cfg: DictConfig, run: Run, invocation: Invocation, key: str) -> None:
        at_one, at_two = (learning_rates(with_rate(cfg, key, n * self.ONE), run, invocation) for n in (1, 2))
        self.factors = [(two - one) / self.ONE for one, two in zip(at_one, at_two)]
        self.fixed = [0.0 if factor else one for factor, one in zip(self.factors, at_one)]

    @property
    def follow(self) -> bool:
        """True if any group goes by the key."""
        return any(self.factors)

    def __call__(self, rate: float) -> list[float]:
        """Return the learning rate of each group."""
        return [fixed + factor * rate for fixed, factor in zip(self.fixed, self.factors)]


def range_test(run: Run, group_rates: GroupRates, first: float, last: float, steps: int) -> LrRange:
    """Train for so many steps at rates that rise from `first` to `last`, until the loss diverges.

    Errors: those of memory, and of a signal.
    """
    rates = [first * (last / first) ** (step / max(steps - 1, 1)) for step in range(steps)]
    divergence, losses, diverged = Divergence(rates), [], False
    with closing(training_losses(run, [group_rates(rate) for rate in rates])) as arriving:
        next(arriving)  # of the fresh network
        for loss in arriving:
            losses.append(loss)
            if diverged := divergence.add(loss):
                break
    return LrRange(rates=rates[: len(losses)], losses=losses, diverged=diverged)


def training_losses(run: Run, rates: Sequence[Sequence[float]]) -> Iterator[float]:
    """Yield the loss of a batch before the first step, and after each one: of the next batch, not yet trained on.

    It is NaN where the optimizer fails on numbers that are not finite. The run is as it was once the iterator is
    closed, and until then in the middle of the training.

    Args:
        rates: the learning rates of the parameter groups in each step.
    """
    trial = copy_of(run, len(rates))
    update = Update(trial, None)
    with preserved(run), closing(batches(trial)) as upcoming:
        run.model.train()
        for step, of_groups in enumerate([*rates, rates[-1]]):
            for group, rate in zip(run.optimizer.param_groups, of_groups):
                group["lr"] = rate
            now = trial.clock.at(step, common_rate(run.optimizer))
            indices, batch = next(upcoming)
            try:
                loss, micro_outputs = update(now, indices, batch, log=False)
            except torch.linalg.LinAlgError:
                yield math.nan
                return
            trial.progress.advance(trial.clock.at(step + 1), indices, micro_outputs, keep_losses=trial.uses_losses)
            yield loss.item()  # host sync


def copy_of(run: Run, steps: int) -> Run:
    """Return a run with the same model and optimizer, at its first step, without schedule and averaging.

    Whatever else may remember something is a copy.
    """
    clock = Clock(total_steps=max(run.clock.total_steps, steps + 1), steps_per_epoch=run.clock.steps_per_epoch)
    aug, slots, sampler, criterion = copy.deepcopy((run.aug, run.slots, run.sampler, run.criterion))
    return replace(
        run,
        clock=clock,
        progress=Progress(losses=torch.zeros_like(run.progress.losses)),
        averaging=Identity(run.model),
        skips_nonfinite=False,
        compiling=None,
        aug=aug,
        slots=slots,
        sampler=sampler,
        criterion=criterion,
    )
