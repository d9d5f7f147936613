"""Hooks of schedules with cycles, and of averagings that keep weights at their ends; as those in protocols.py."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from trainer.base.clock import Clock


@runtime_checkable
class HasCycles(Protocol):
    """A schedule of several cycles, at whose ends the learning rate jumps up again."""

    def ends_cycle(self, now: Clock) -> bool:
        """Return whether a step is the last one of a cycle; a cycle that the run cuts short has none."""


@runtime_checkable
class FollowsSchedule(Protocol):
    """An averaging that depends on the schedule."""

    def follow(self, sched: object) -> None:
        """Take the run's schedule, without its warm-up, before the first step."""


@runtime_checkable
class HasSnapshots(Protocol):
    """An averaging that keeps weights of several steps: by the number of steps done, (name, value) on the host."""

    snapshots: Mapping[int, Mapping[str, Tensor]]
