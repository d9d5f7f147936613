"""Times of a run at which something is due, and its learning rate."""

import math

from trainer.base import ranks
from trainer.base.clock import Clock
from trainer.base.layers import common_rate
from trainer.engine.run import Run

PROBES = {8: 1024, 64: 128}  # steps after which the layers are measured, in runs of at least so many
FIRST_WARNING = 64  # the step of them that shows what stays wrong
FIRST_STEPS = 64  # those of them that are powers of two are log points, too: what explains a run happens early


class Cadence:
    """When to log, validate and save; and the learning rate of each step."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._last_save = ranks.seconds()

    def set_learning_rate(self, step: int) -> Clock:
        """Set the learning rate of a step, and return its time."""
        multiplier = float(self.run.sched(self.run.clock.at(step)))  # of NumPy's or torch's numbers, too
        for group in self.run.optimizer.param_groups:
            group["lr"] = group["base_lr"] * multiplier
        return self.run.clock.at(step, common_rate(self.run.optimizer))

    def log(self, now: Clock) -> bool:
        """True if a log point is due after the step that begins now."""
        done = now.step + 1
        return (done <= FIRST_STEPS and done.bit_count() == 1) or self._every(self.run.log_steps, now)

    def validate(self, now: Clock) -> bool:
        """True if a validation is due after the step that begins now."""
        return self._every(self.run.eval_steps, now)

    def probe(self, done: Clock) -> bool:
        """True if a probe is due, `done` being the time after the step; fresh network and end have their own."""
        return done.total_steps >= PROBES.get(done.step, math.inf)

    def save(self, done: Clock) -> bool:
        """True if a checkpoint is due, `done` being the time after the step."""
        run = self.run
        if run.save_steps:
            return done.step % run.save_steps == 0
        return ranks.seconds() - self._last_save >= run.save_seconds

    def saved(self) -> None:
        """Start the time to the next checkpoint anew."""
        self._last_save = ranks.seconds()

    def _every(self, steps: int, now: Clock) -> bool:
        return (now.step + 1) % steps == 0 or now.step + 1 == now.total_steps
