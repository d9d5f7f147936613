"""Evaluation of the validation split while a run trains."""

from torch import Tensor

from trainer.base.clock import Clock
from trainer.base.signals import Signals
from trainer.engine.run import Run
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder


class Validation:
    """Evaluate the validation split, and pass the scores on.

    They go to the history and the best (Progress), the curves, the console, a schedule with memory (plateau), and the
    rules of the slot `stop`: early stopping, and the pruning of a search.
    """

    def __init__(self, run: Run, recorder: Recorder, console: Console) -> None:
        self.run, self.recorder, self.console = run, recorder, console

    def overdue(self) -> bool:
        """True if the run was interrupted before the validation due at its current step."""
        step, history = self.run.progress.step, self.run.progress.history
        due = step and (step % self.run.eval_steps == 0 or step == self.run.clock.total_steps)
        return bool(due and len(self.run.val) and not (history and history[-1]["step"] == step))

    def __call__(self, now: Clock, signals: Signals) -> tuple[dict[str, Tensor], bool, bool]:
        """Return the evaluated weights, whether they are the best so far, and whether to stop. Errors: Interrupted."""
        run, progress = self.run, self.run.progress
        self.recorder.flush_averages(now)
        with signals.interrupt_immediately(), run.evaluation_model() as model:
            scores = run.evaluate(model, run.val)
            weights = {name: value.clone() for name, value in model.state_dict().items()}
        best = progress.add_evaluation(now, scores, run.monitor)
        self.recorder.record_evaluation("val", now, scores)
        self.console.print_evaluation(now, run.epochs, self.recorder.since_evaluation(), scores)
        if run.plateau:
            run.plateau.observe(scores["loss"])
        return weights, best, any([stop(progress.history) for stop in run.slots.stop])
