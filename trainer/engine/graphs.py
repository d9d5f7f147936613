"""Graphs of torch.compile: of the network, of forward and backward pass, of a whole step.

Forward and backward pass are one graph by torch.func.grad: where autograd calls the two, as behind
torch.compile(model), its calls cost a small network more than its kernels.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from trainer.base.rng import remembered_generators
from trainer.base.statistics import norm
from trainer.base.text import printable
from trainer.engine.contracts import is_own
from trainer.engine.probe import without_trace
from trainer.engine.run import Run
from trainer.optimizer.graph_updates import GroupUpdate

CHECKED = 3  # first steps, whose losses are compared with those of the usual way
Losses = Callable[[Tensor, Tensor], Tensor]
Evaluated = tuple[Tensor, Tensor, Sequence[Tensor]]  # losses (B,), outputs (B, K), penalties


def make_graph(run: Run, function: Callable, whole: bool = True) -> Callable:
    """Return a function compiled for the shapes of its first call, with the random numbers of the usual way.

    Args:
        whole: one graph; else torch may compile parts of it.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # on a machine without a GPU it misses one
    options = {**torch._inductor.list_mode_options(run.compiling.mode), "fallback_random": True}
    options |= guards(run) if whole else {}  # from part to part numbers may pass
    return torch.compile(function, dynamic=False, fullgraph=whole, options=options)


def guards(run: Run) -> dict[str, Callable]:
    """Return what torch is to look at before each call of a graph, as an option of torch.compile.

    In a class of the user's own anything may change from step to step; else only the tensors of the batch do, and to
    look at all else would take a third of a small network's step.
    """
    parts = (run.criterion, run.optimizer, *run.slots.loss, *run.slots.gradient, *run.model.modules())
    return {} if any(map(is_own, parts)) else {"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe}


class OtherLosses(Exception):
    """Losses of a graph that are not those of the usual way: torch has compiled it wrongly."""


def replays(run: Run) -> bool:
    """Return whether the graphs are CUDA graphs, which write each step's results to the same memory."""
    return run.device.type == "cuda" and run.compiling.mode != "default"


def full_batch(run: Run) -> int:
    """Return the samples of a batch that is compiled."""
    return min(run.batch_size, len(run.train))


class CompiledModel:
    """Forward pass of a run's network, compiled for full batches; for any other the usual one."""

    def __init__(self, run: Run) -> None:
        self.run, self.size = run, full_batch(run)
        self.graph: Callable | None = make_graph(run, run.model, whole=False)
        run.compiling.compiled = "the network"

    def __call__(self, images: Tensor) -> Tensor:
        if self.graph is None or len(images) != self.size:
            return self.run.model(images)
        try:
            outputs = self.graph(images)
        except torch._dynamo.exc.TorchDynamoException as error:
            self.graph, self.run.compiling.compiled = None, ""
            self.run.compiling.leave_out(f"the network: {reason_of(error)}")
            return self.run.model(images)
        return outputs.clone() if replays(self.run) else outputs


class Objective(nn.Module):
    """Loss of a batch as a module, so that its weights can be replaced by others (torch.func.functional_call)."""

    def __init__(self, run: Run, penalties: Sequence[Callable]) -> None:
        super().__init__()
        self.model, self.autocast, self.penalties = run.model, run.autocast, penalties

    def forward(
        self,
        images: Tensor,
        targets: Tensor,
        truth: Tensor,
        criterion: Losses,
        per_sample: Tensor,
    ) -> tuple[Tensor, Evaluated]:
        """Return what is differentiated, and losses, outputs and penalties.

        A number among the arguments would be one of the graph's inputs, and have torch compile twice.
        """
        with self.autocast():
            outputs = self.model(images)
        outputs = outputs.float()
        losses = criterion(outputs, truth).float()  # (B,)
        fraction = per_sample[0] * len(per_sample)  # of the step's samples
        penalties = [penalty(self.model, images, outputs, targets) * fraction for penalty in self.penalties]
        return sum(penalties, losses.dot(per_sample)), (losses, outputs, penalties)


class GradientGraph:
    """Forward pass, losses and backward pass of a micro-batch as one graph; the gradients are added to `.grad`."""

    place_of_losses = 0  # in what a call returns

    def __init__(self, run: Run, penalties: Sequence[Callable]) -> None:
        self.objective, self.run, self.checks = Objective(run, penalties), run, 0
        self.buffers = dict(self.objective.named_buffers())
        self.weights = used_weights(self.objective, run)
        if replays(run):
            for tensor in (*self.weights.values(), *self.buffers.values()):
                torch._dynamo.mark_static_address(tensor)
        self.graph = make_graph(run, self._made)

    def __call__(self, *batch: object) -> Evaluated:
        with torch.no_grad():
            losses, outputs, penalties, gradients = self.graph(*batch)
            if replays(self.run):
                losses, outputs, gradients = losses.clone(), outputs.clone(), [grad.clone() for grad in gradients]
            for weight, gradient in zip(self.weights.values(), gradients):
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        return losses, outputs, penalties

    def checked(self, *batch: object) -> tuple:
        """Return what a call returns. Errors: OtherLosses in one of the first calls, which has changed nothing."""
        if self.checks == CHECKED:
            return self(*batch)
        tensors, restore_generators = self.changed(), remembered_generators(self.run.device)
        before = [tensor.detach().clone() for tensor in tensors]
        gradients = [None if weight.grad is None else weight.grad.clone() for weight in self.weights.values()]
        with torch.no_grad():
            _, (expected, _, _) = self.objective(*batch)
        copy_into(tensors, before)
        restore_generators()
        with self.run.autocast():
            tolerance = 0.05 if torch.is_autocast_enabled(self.run.device.type) else 1e-3
        found = self(*batch)
        losses = found[self.place_of_losses]
        if torch.allclose(losses, expected, rtol=tolerance, atol=tolerance, equal_nan=True):  # host sync
            self.checks += 1
            return found
        copy_into(tensors, before)
        for weight, gradient in zip(self.weights.values(), gradients):
            weight.grad = gradient
        restore_generators()
        raise OtherLosses

    def changed(self) -> list[Tensor]:
        """Return the tensors that a call changes in place."""
        return [*self.buffers.values()]

    def _made(self, *batch: object) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Return losses, outputs, penalties and gradients; buffers change as in a forward pass."""
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}  # torch.func changes no others
        found = torch.func.grad_and_value(self._value, has_aux=True)(self._detached(), buffers, *batch)
        gradients, (_, (losses, outputs, penalties, changed)) = found
        for buffer, value in zip(self.buffers.values(), changed.values()):
            buffer.copy_(value)
        return losses, outputs, penalties, [*gradients.values()]

    def _detached(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self.weights.items()}

    def _value(self, weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], *batch: object) -> tuple:
        value, found = torch.func.functional_call(self.objective, (weights, buffers), batch)
        return value, (*found, buffers)


class StepGraph(GradientGraph):
    """A whole step as one graph: forward and backward pass, penalties, edits of the gradient, the optimizer's update.

    Args:
        decaying: weights that the analytic penalties act on.
        updates: of the optimizer's groups.
    """

    place_of_losses = 1

    def __init__(
        self,
        run: Run,
        penalties: Sequence[Callable],
        analytic: Sequence[Callable],
        decaying: Sequence[Tensor],
        updates: Sequence[GroupUpdate],
    ) -> None:
        super().__init__(run, penalties)
        self.analytic, self.decaying, self.edits = analytic, decaying, run.slots.gradient
        used, penalised = {*self.weights.values()}, {*(decaying if analytic else ())}
        self.unused = [*(penalised - used)]
        self.updates = [update.of(used | penalised) for update in updates]
        if replays(run):
            for update in self.updates:
                for tensor in (*update.tensors(), update.rate):
                    torch._dynamo.mark_static_address(tensor)

    def __call__(self, *batch: object) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Make a step, and return loss, losses, outputs and the gradient's norm before its edits; None without."""
        with torch.no_grad():
            for weight in self.unused:
                weight.grad = None
            for update in self.updates:
                update.rate.fill_(update.group["lr"])
            found = self.graph(*batch)
            return tuple(value if value is None else value.clone() for value in found) if replays(self.run) else found

    def changed(self) -> list[Tensor]:
        """Return the tensors that a call changes in place, those of the optimizer among them."""
        updated = [tensor for update in self.updates for tensor in (*update.weights, *update.tensors())]
        return [*super().changed(), *updated]

    def _made(self, *batch: object) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Make the step."""
        losses, outputs, penalties, gradients = super()._made(*batch)
        *_, per_sample = batch
        for weight, gradient in zip(self.weights.values(), gradients):
            weight.grad = gradient
        loss = sum(penalties, losses.dot(per_sample))
        for penalty in self.analytic:
            loss = loss + penalty.add_gradient(self.decaying)
        before = norm([weight.grad for weight in self.weights.values()]) if self.edits else None
        for edit in self.edits:
            edit(self.run.model, TIMELESS)
        for update in self.updates:
            update()
        return loss, losses, outputs, before


@torch.no_grad()
def copy_into(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Give tensors their values, in place."""
    for tensor, value in zip(tensors, values):
        tensor.copy_(value)


TIMELESS = object()  # in place of the time: an edit that asks for it cannot be part of a graph


def used_weights(objective: Objective, run: Run) -> dict[str, nn.Parameter]:
    """Return the trainable weights that a batch passes through, by name; the others have no gradient."""
    weights = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
    images, targets = run.train.batch(torch.arange(min(2, len(run.train)), device=run.device))
    with without_trace(run), torch.enable_grad():
        run.model.train()
        per_sample = torch.ones(len(images), device=run.device)
        value, _ = objective(images, targets, targets, run.criterion, per_sample)
        found = torch.autograd.grad(value, [*weights.values()], allow_unused=True)
    return {name: weight for (name, weight), grad in zip(weights.items(), found) if grad is not None}


def reason_of(error: Exception) -> str:
    """Return the first line of torch's reason for not compiling."""
    return f"torch cannot compile a part of it ({printable(str(error).strip().partition(chr(10))[0])[:160]})"
