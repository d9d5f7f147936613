"""Compiled steps: torch.compile makes the network (compile=model), or a whole step (compile=step), one graph.

A graph is of one shape, that of a full batch; the last, smaller batch of an epoch takes the usual way, so that a run
compiles once. What torch cannot compile takes the usual way, too, and the run says so.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.base.hooks import needs_graph
from trainer.base.protocols import UsesClock, WatchesModel
from trainer.engine.graphs import (
    CompiledModel,
    Evaluated,
    GradientGraph,
    OtherLosses,
    StepGraph,
    full_batch,
    reason_of,
)
from trainer.engine.run import Run
from trainer.engine.try_step import base_of
from trainer.optimizer.graph_updates import GroupUpdate, group_updates


class StepGraphs:
    """The graphs of a run's steps. What torch refuses is compiled in smaller parts from there on, or not at all."""

    def __init__(
        self, run: Run, penalties: Sequence[Callable], analytic: Sequence[Callable], decaying: Sequence[Tensor]
    ) -> None:
        torch.compiler.reset()  # of functions that are compiled more than 8 times torch compiles no more
        self.run, self.size = run, full_batch(run)
        self.step: StepGraph | None = None
        self.gradient: GradientGraph | None = None
        self.forward, self._penalties = run.forward, penalties
        if run.compiling.part == "model":
            self._forward_alone()
            return
        if why := not_differentiable(run):
            self._forward_alone(why)
            return
        updates = group_updates(run.optimizer)
        if why := not_one_graph(run, updates):
            self._gradient_alone(why)
            return
        self.step, run.compiling.compiled = StepGraph(run, penalties, analytic, decaying, updates), "the whole step"

    def whole(self, batch: Sequence[tuple[Tensor, Tensor]], *arguments: object) -> tuple | None:
        """Make a step as one graph; None where the step is to be made in the usual way, with nothing changed.

        Args:
            batch: micro-batches of the step.
            arguments: behind images and targets, as of Objective.forward.
        """
        if self.step is None or len(batch) != 1 or len(batch[0][1]) != self.size:
            return None
        try:
            return self.step.checked(*batch[0], *arguments)
        except OtherLosses:
            self._nothing()
        except torch._dynamo.exc.TorchDynamoException as error:
            self._gradient_alone(reason_of(error))
        return None

    def evaluate(self, usual: Callable[..., Evaluated], *arguments: object) -> Evaluated:
        """Evaluate a micro-batch and add its gradients to `.grad`; `usual` does so for what is not compiled.

        Args:
            arguments: as of Objective.forward, and the samples of the step.
        """
        *batch, _ = arguments
        if self.gradient is None or len(batch[0]) != self.size:
            return usual(*arguments)
        try:
            return self.gradient.checked(*batch)
        except OtherLosses:
            self._nothing()
        except torch._dynamo.exc.TorchDynamoException as error:
            self._forward_alone(reason_of(error))
        return usual(*arguments)

    def _nothing(self) -> None:
        """Compile nothing from here on: this version of torch computes other losses."""
        self.step = self.gradient = None
        self.run.compiling.compiled = ""
        self.run.compiling.leave_out(f"every part: compiled by torch {torch.__version__}, the losses are others")

    def _gradient_alone(self, why: str) -> None:
        run = self.run
        run.compiling.leave_out(f"the optimizer's update: {why}")
        self.step, run.compiling.compiled = None, "forward and backward pass"
        self.gradient = GradientGraph(run, self._penalties)

    def _forward_alone(self, why: str = "") -> None:
        run = self.run
        if why:
            run.compiling.leave_out(f"the backward pass: {why}")
        self.step = self.gradient = None
        if isinstance(base_of(run.optimizer), WatchesModel):
            run.compiling.leave_out(f"the network: {type(run.optimizer).__name__} sees its layers by hooks")
        else:
            self.forward = CompiledModel(run)


def not_differentiable(run: Run) -> str:
    """Return why a run's backward pass takes the usual way; empty where it can be compiled."""
    if needs_graph(run.optimizer) or isinstance(base_of(run.optimizer), WatchesModel):
        return f"{type(run.optimizer).__name__} looks into the backward pass"
    if any(isinstance(term, UsesClock) for term in run.slots.loss):
        return "a term of the loss depends on the time"
    return ""


def not_one_graph(run: Run, updates: Sequence[GroupUpdate] | None) -> str:
    """Return why a run's step is no single graph; empty where it can be one."""
    if updates is None:
        return f"{type(run.optimizer).__name__}, so set, is none of torch's SGD, Adam and AdamW"
    if run.accumulate > 1:
        return "a step has several micro-batches"
    if run.skips_nonfinite:
        return "on_nan=skip looks at the gradient before it"
    return ""
