"""Training loss over fixed samples as a function of the weights: its value, gradient and Hessian."""

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainer.base.device import out_of_memory
from trainer.base.layers import stop_dropping
from trainer.base.rng import derive, seed_default
from trainer.engine.probe import without_trace
from trainer.engine.run import Run

STEP = {torch.float32: 1e-3, torch.float64: 1e-5}  # of a central difference, over the length of the weights

Batch = tuple[Tensor, Tensor]
Vector = list[Tensor]  # one tensor for each trainable weight


class Objective:
    """Training loss of a run over fixed batches, with its penalties, as a function of the trainable weights.

    The same weights always give the same value: layers that drop are off, others draw the same numbers each time, and
    samples are not augmented. Norms use the statistics of each batch, as in training. To be used within `measuring`.
    """

    def __init__(self, run: Run, batches: Sequence[Batch]) -> None:
        self.run, self.batches = run, batches
        self.weights: Vector = [weight for weight in run.model.parameters() if weight.requires_grad]
        self.samples = sum(len(targets) for _, targets in batches)
        self._seed = derive(run.seed, "objective")
        self.exact = True  # whether the gradient can be differentiated; else differences of gradients are taken
        self._checked = False

    def loss(self) -> float:
        """Return the loss."""
        with torch.no_grad():
            return float(sum(self._losses()))  # host sync

    def gradient(self) -> Vector:
        """Return the gradient."""
        total = [torch.zeros_like(weight) for weight in self.weights]
        for loss in self._losses():
            torch._foreach_add_(total, differentiate(loss, self.weights))
        return total

    def hessian_times(self, vector: Vector) -> Vector:
        """Return H v, the derivative of g . v for the gradient g (Pearlmutter, 1994).

        Where a function of the model cannot be differentiated twice: by central differences of the gradient.
        """
        if self.exact:
            try:
                return self._exact_product(vector)
            except RuntimeError as error:
                if out_of_memory(error):
                    raise
                self.exact = False
        return self._difference(vector)

    def _exact_product(self, vector: Vector) -> Vector:
        total = [torch.zeros_like(weight) for weight in self.weights]
        with twice_differentiable():
            for loss in self._losses():
                slope = dot(self._gradient_with_graph(loss), vector)
                torch._foreach_add_(total, differentiate(slope, self.weights))
        return total

    def _difference(self, vector: Vector) -> Vector:
        length = norm(vector)
        if length == 0:
            return vector
        step = STEP[self.weights[0].dtype] * max(norm([weight.detach() for weight in self.weights]), 1.0) / length
        sides = []
        with restored(self.weights) as start:
            for sign in (1, -1):
                with torch.no_grad():
                    torch._foreach_copy_(self.weights, torch._foreach_add(start, vector, alpha=sign * step))
                sides.append(self.gradient())
        return scaled(torch._foreach_sub(*sides), 1 / (2 * step))

    def hessian(self, seconds: float) -> Tensor:
        """Return the whole Hessian (P, P), row by row. Errors: TimeoutError."""
        end, size = time.monotonic() + seconds, sum(weight.numel() for weight in self.weights)
        try:
            total = self._exact_hessian(size, end)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            self.exact = False
            units = torch.eye(size).to(self.weights[0])
            total = torch.stack([flat(self._difference(like(unit, self.weights))) for unit in before(end, units)])
        return (total + total.T) / 2

    def _exact_hessian(self, size: int, end: float) -> Tensor:
        total = self.weights[0].new_zeros(size, size)
        with twice_differentiable():
            for loss in self._losses():
                gradient = flat(self._gradient_with_graph(loss))
                for row, slope in zip(total, before(end, gradient)):
                    row += flat(differentiate(slope, self.weights, retain_graph=True))
        return total

    def _gradient_with_graph(self, loss: Tensor) -> Vector:
        """Return the gradient of a loss, to be differentiated again. Errors: RuntimeError where it cannot be."""
        gradient = differentiate(loss, self.weights, create_graph=True)
        if not self._checked:
            require_differentiable(gradient)
            self._checked = True
        return gradient

    def _losses(self) -> Iterator[Tensor]:
        """Yield each batch's part of the loss."""
        for images, targets in self.batches:
            yield self.loss_of(images, targets) * (len(targets) / self.samples)

    def loss_of(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of one batch."""
        run = self.run
        seed_default(run.device, self._seed)
        with run.autocast():
            outputs = run.model(images)
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        loss = run.criterion(outputs, targets).mean()
        return loss + sum(penalty(run.model, images, outputs, targets) for penalty in run.slots.loss)


def before(end: float, values: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield values until a time. Errors: TimeoutError."""
    for value in values:
        if time.monotonic() > end:
            raise TimeoutError
        yield value


@contextmanager
def measuring(run: Run) -> Iterator[None]:
    """Put the model into training mode without dropping; modes, buffers and random numbers are restored."""
    with without_trace(run), torch.enable_grad():
        stop_dropping(run.model.train())
        yield


def fixed_batches(run: Run, samples: int | None) -> list[Batch]:
    """Return random training samples, without augmentation, in batches of the run's size; the same in every call.

    Args:
        samples: how many; None for all. Rounded down to whole batches: norms then have as many samples as in training.
    """
    wanted = min(len(run.train), samples or len(run.train))
    size = min(run.batch_size, wanted)
    order = run.random_samples("fixed samples", wanted // size * size)
    return [run.train.batch(indices) for indices in order.split(size)]


def in_double(run: Run, batches: Sequence[Batch]) -> tuple[Run, list[Batch]]:
    """Return a copy of the run's model, and the batches, in float64 on the CPU. Errors: those of copying a model."""
    cpu = torch.device("cpu")
    model = copy.deepcopy(run.model).to(cpu, torch.float64)
    doubled = [(double(images), double(targets)) for images, targets in batches]
    return replace(run, model=model, forward=model, compiling=None, device=cpu, autocast=nullcontext), doubled


def double(values: Tensor) -> Tensor:
    """Return values on the CPU, floating-point ones as float64."""
    return values.to("cpu", torch.float64) if values.is_floating_point() else values.cpu()


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Choose implementations of attention and recurrence whose gradient can be differentiated."""
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def differentiate(
    scalar: Tensor, weights: Vector, create_graph: bool = False, retain_graph: bool | None = None
) -> Vector:
    """Return the gradient of a scalar, zeros where it does not depend on a weight."""
    if not scalar.requires_grad:
        return [torch.zeros_like(weight) for weight in weights]
    found = torch.autograd.grad(
        scalar, weights, create_graph=create_graph, retain_graph=retain_graph or create_graph, allow_unused=True
    )
    return [torch.zeros_like(weight) if grad is None else grad for grad, weight in zip(found, weights)]


def require_differentiable(gradient: Vector) -> None:
    """Refuse gradients in which a function has been differentiated that allows it once.

    torch itself takes the derivative behind such a function for zero where a weight need not have any. Errors:
    RuntimeError.
    """
    nodes, seen = [part.grad_fn for part in gradient], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "torch::autograd::Error":
            raise RuntimeError("a function of the model is marked with @once_differentiable")
        nodes += [before for before, _ in node.next_functions]


def dot(one: Vector, other: Vector) -> Tensor:
    """Return the inner product of two vectors, as a tensor."""
    return sum((a * b).sum() for a, b in zip(one, other))


def norm(vector: Vector) -> float:
    """Return the L2 norm of a vector."""
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(vector)).double()))  # host sync


def flat(vector: Vector) -> Tensor:
    """Return a vector as one tensor (P,)."""
    return torch.cat([part.reshape(-1) for part in vector])


def like(values: Tensor, weights: Vector) -> Vector:
    """Return one tensor (P,) as a vector with the weights' shapes."""
    parts = values.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights)]


def random_unit(weights: Vector, seed: int) -> Vector:
    """Return a random direction of length 1."""
    rng = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(weight.shape, generator=rng).to(weight) for weight in weights]
    return scaled(drawn, 1 / norm(drawn))


def scaled(vector: Vector, factor: float) -> Vector:
    """Return a vector times a number."""
    return list(torch._foreach_mul(vector, factor))


@contextmanager
def restored(weights: Vector) -> Iterator[Vector]:
    """Yield a copy of the weights, and copy it back in the end."""
    before = [weight.detach().clone() for weight in weights]
    try:
        yield before
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, before)
