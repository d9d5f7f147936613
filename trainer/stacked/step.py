"""One optimizer step of several jobs: forward and backward pass at once, all else with the parts of each job alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.averaging import Identity
from trainer.base.backward import backward
from trainer.base.clock import Clock
from trainer.base.layers import decay_parameters
from trainer.base.protocols import PreStepEdit
from trainer.base.rng import derive
from trainer.engine.progress import MicroOutput
from trainer.engine.run import Run
from trainer.engine.transforms import Transforms
from trainer.optimizer.fused_step import step_of
from trainer.rundir.recorder import Recorder
from trainer.stacked.layers import Generators, stack_layers
from trainer.stacked.weights import StackedWeights


class StackedUpdate:
    """One optimizer step of K jobs, in the order of `Update` in engine/loop.py. Made for as long as they are together.

    No sum goes over the jobs, and nothing is masked: a job that diverges leaves the others as they are.

    Args:
        runs: with networks of equal shapes, the same data, loss and batch size.
        recorders: of the runs.
    """

    def __init__(self, runs: Sequence[Run], recorders: Sequence[Recorder]) -> None:
        self.runs, self.recorders = runs, recorders
        self.weights = StackedWeights([run.model for run in runs])
        self.generators = Generators([derive(run.seed, "layers") for run in runs])
        self.network = stack_layers([run.model for run in runs], self.weights, self.generators)
        self.steps = [step_of(run.optimizer) for run in runs]
        self.transforms = [Transforms(run) for run in runs] if any(run.aug or run.slots.batch for run in runs) else []
        self.weight_edits = [(job, edit) for job, run in enumerate(runs) for edit in run.slots.weights]
        self.pre_step_edits = [(job, edit) for job, edit in self.weight_edits if isinstance(edit, PreStepEdit)]
        self.decaying = [decay_parameters(run.model) for run in runs]
        self.averaged = [job for job, run in enumerate(runs) if not isinstance(run.averaging, Identity)]
        self.generators.used |= any(run.slots.gradient for run in runs)
        self.edits = any(run.slots.gradient or run.slots.loss for run in runs)
        self._fractions = runs[0].train.targets.new_empty(0)

    def __call__(self, nows: Sequence[Clock], indices: Sequence[Tensor], log: bool) -> tuple[Tensor, MicroOutput]:
        """Return the loss of each job (K,); and losses (K B,), outputs and targets of all samples.

        Args:
            nows: the time of each job; they differ in the learning rate.
            indices: samples (B,) of each job.
        """
        runs, weights, jobs = self.runs, self.weights, range(len(self.runs))
        images, targets, labels = self.batch(nows, indices)
        self.generators.seed(nows[0].step)
        weights.clear_gradients()
        for job in jobs if log else ():
            self.recorders[job].before_step(weights.own[job])
        for job, edit in self.pre_step_edits:
            edit.before(runs[job].model, runs[job].optimizer, nows[job])
        outputs, losses = self.forward(images, targets, labels)
        backward([losses], [self._fractions_of(losses)])
        weights.share_gradients()
        totals = losses.detach().view(len(runs), -1).mean(1)
        if log or self.edits:
            edited = zip(jobs, nows, totals.unbind())
            totals = torch.stack([self.edit(job, now, total, log) for job, now, total in edited])
        for step, total in zip(self.steps, totals.unbind()):
            step(lambda total=total: total)
        for job, edit in self.weight_edits:
            edit(runs[job].model, runs[job].optimizer, nows[job])
        for job in self.averaged:
            runs[job].averaging.update(runs[job].model, nows[job])
        return totals, (losses.detach(), outputs.detach(), targets)

    def batch(self, nows: Sequence[Clock], indices: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images and targets of all jobs, (K B, ...), and the classes where no transform has changed them."""
        samples = torch.cat([*indices])
        images, targets = self.runs[0].train.batch(samples)
        labels = self.runs[0].labels
        if self.transforms:
            parts = zip(self.transforms, nows, images.chunk(len(nows)), targets.chunk(len(nows)))
            made = [transform(now, [(image, target)])[0] for transform, now, image, target in parts]
            images, targets = map(torch.cat, zip(*made))
            labels = None
        return images, targets, None if labels is None else labels.index_select(0, samples)

    def forward(self, images: Tensor, targets: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the outputs (K B, outputs), and the loss of each sample."""
        criterion = self.runs[0].criterion
        with self.runs[0].autocast():
            outputs = self.network(images)
        outputs = outputs.float()
        return outputs, criterion(outputs, targets) if labels is None else criterion.of_labels(outputs, labels)

    def edit(self, job: int, now: Clock, loss: Tensor, log: bool) -> Tensor:
        """Add the penalties of a job to its gradients, measure them, and let its regularisers edit them."""
        run, own, recorder = self.runs[job], self.weights.own[job], self.recorders[job]
        for penalty in run.slots.loss:
            loss = loss + penalty.add_gradient(self.decaying[job])
        if log:
            recorder.measure_gradient(own)
        for edit in run.slots.gradient:
            with self.generators.as_default(job):
                edit(run.model, now)
        if log and run.slots.gradient:
            recorder.measure_edited_gradient(own)
        return loss

    def _fractions_of(self, losses: Tensor) -> Tensor:
        """Return 1 / B for each loss (K B,)."""
        if len(self._fractions) != len(losses):
            self._fractions = torch.full_like(losses, len(self.runs) / len(losses))
        return self._fractions

    def release(self) -> None:
        """Give each job weights of its own."""
        self.weights.release()
