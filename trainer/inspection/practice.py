"""Short trainings of copies of a model, without regularisation and augmentation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.base.accumulator import MetricAccumulator
from trainer.base.hooks import needs_graph
from trainer.base.layers import common_rate, stop_dropping
from trainer.base.metrics import score_of
from trainer.base.protocols import HasEvaluationPoint
from trainer.base.rng import derive, seed_default
from trainer.engine.build import make_optimizer
from trainer.engine.contracts import broken
from trainer.engine.probe import probe
from trainer.inspection.check import Batch, Check, Subject, not_applicable, scaled

BATCH = 64  # samples of a step, at most
FEW = 5  # steps, over which a loss is averaged
STUCK = 0.02  # of the initial loss: what training lowers it by at least
LEFT = 0.05  # of its initial value, that a running average may hold at the end

MakeOptimizer = Callable[[Subject, nn.Module], torch.optim.Optimizer]


def own_optimizer(subject: Subject, model: nn.Module) -> torch.optim.Optimizer:
    """Return the run's optimizer, made anew for a model, without weight decay."""
    run = subject.run
    optimizer = make_optimizer(subject.cfg, model, run.batch_size * run.accumulate, subject.invocation, run.lr_factors)
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    return optimizer


def adam(rate: float) -> MakeOptimizer:
    """Return what makes Adam, which trains nearly any network that can be trained, to compare with."""

    def make(subject: Subject, model: nn.Module) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=rate)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
        return optimizer

    return make


class Practice:
    """A short training of a copy of the fresh model.

    The learning rate follows the run's own schedule with its warm-up, squeezed into the steps. Nothing is dropped,
    penalised, augmented or averaged; gradients are clipped as in the run.

    Args:
        subject: the run.
        steps: in all.
        make: makes the optimizer.
    """

    def __init__(self, subject: Subject, steps: int, make: MakeOptimizer = own_optimizer) -> None:
        self.run, self.steps, self.done = subject.run, steps, 0
        self.model = subject.copy_model()
        settle_averages(self.model, steps, self.run.clock.total_steps)
        self.optimizer = make(subject, self.model)
        self.follows_schedule = make is own_optimizer
        self.create_graph = needs_graph(self.optimizer)
        self.seed = derive(self.run.seed, "layers")
        self.losses: list[float] = []  # before each step
        self.before = [weight.detach().clone() for weight in self.model.parameters()]

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        """Make a step on a batch, and return the outputs before it."""
        run, model = self.run, self.model
        multiplier = self._multiplier()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * multiplier
        now = run.clock.at(self._place(), common_rate(self.optimizer))
        evaluations: list[tuple[Tensor, Tensor]] = []

        def closure() -> Tensor:
            model.zero_grad()
            seed_default(run.device, self.seed + self.done)
            with run.autocast():
                outputs = model(images)
            outputs = outputs.float()
            loss = run.criterion(outputs, targets).mean()
            if loss.requires_grad:
                loss.backward(create_graph=self.create_graph)
            for edit in run.slots.gradient:
                edit(model, now)
            evaluations.append((loss.detach(), outputs.detach()))
            return loss.detach()

        self.optimizer.step(closure)
        if not evaluations:
            raise broken("optimizer", "optimizer", self.optimizer, "does not call the closure in its step")
        self.done += 1
        self.losses.append(float(evaluations[0][0]))
        return evaluations[0][1]

    def is_stuck(self) -> bool:
        """Return whether the loss is not finite, or has not fallen after half of the steps."""
        latest = self.losses[-FEW:]
        if not math.isfinite(latest[-1]):
            return True
        fallen = sum(latest) / len(latest) < (1 - STUCK) * sum(self.losses[:FEW]) / len(self.losses[:FEW])
        return 2 * self.done >= self.steps and not fallen

    def _place(self) -> int:
        return self.done * self.run.clock.total_steps // self.steps

    def _multiplier(self) -> float:
        if not self.follows_schedule or not self.run.clock.total_steps:
            return 1.0
        return float(self.run.sched(self.run.clock.at(self._place())))

    def losses_on(self, batches: list[Batch], training: bool = False) -> Tensor:
        """Return the loss of each sample, at the optimizer's point of evaluation.

        Args:
            training: in training mode, so that batch norms take the statistics of each batch, and keep none.
        """
        return torch.cat(
            [self.run.criterion(outputs, targets) for outputs, targets in self._outputs(batches, training)]
        )

    def score_on(self, batches: list[Batch], training: bool = False) -> float:
        """Return accuracy or r2."""
        accumulator = MetricAccumulator(self.run.data.task)
        for outputs, targets in self._outputs(batches, training):
            accumulator.add(self.run.criterion(outputs, targets), outputs, targets)
        return accumulator.compute_and_reset()[score_of(self.run.data.task).name]

    @torch.no_grad()
    def _outputs(self, batches: list[Batch], training: bool) -> list[Batch]:
        elsewhere = isinstance(self.optimizer, HasEvaluationPoint)
        if elsewhere:
            self.optimizer.eval()
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        self.model.train(training)
        stop_dropping(self.model)
        try:
            return [(self.model(images).float(), targets) for images, targets in batches]
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
            self.model.train()
            stop_dropping(self.model)
            if elsewhere:
                self.optimizer.train()


def at_the_start(subject: Subject, measure: Callable[[dict], Check]) -> Check:
    """Return the check of the fresh network; where it fails, that of the network after a short training.

    Some initialisations begin with branches or outputs of 0 on purpose; the first steps end that.
    """
    if subject.probe is None:
        return not_applicable("the statistics of the layers do not fit into memory")
    fresh = measure(subject.probe)
    if fresh.passed is not False:
        return fresh
    practice = short_training(subject)
    later = probe(replace(subject.run, model=practice.model), practice.done)
    found = measure(later) if later else fresh
    return replace(found, detail=f"{found.detail}, after {practice.done} steps") if found.passed else fresh


def short_training(subject: Subject) -> Practice:
    """Return a training of a quarter of the steps, or as many as the run itself has where those are fewer."""
    if "short training" not in subject.cache:
        steps = min(subject.steps // 4, subject.run.clock.total_steps or subject.steps)
        practice = Practice(subject, steps)
        for images, targets in training_batches(subject, steps):
            practice.step(images, targets)
        subject.cache["short training"] = practice
    return subject.cache["short training"]


def training_batches(subject: Subject, steps: int, indices: Tensor | None = None) -> Iterator[Batch]:
    """Yield batches of training samples for so many steps, in random order, epoch after epoch.

    Args:
        indices: of the samples; None for all.
    """
    run = subject.run
    order = subject.some(len(run.train), "practice") if indices is None else indices
    size = min(run.batch_size, BATCH, len(order))
    whole = order[: len(order) // size * size].split(size)
    for step in range(steps):
        yield run.train.batch(whole[step % len(whole)])


def settle_averages(model: nn.Module, steps: int, total: int) -> None:
    """Let running averages that settle within the run's own steps settle within fewer."""
    for module in model.modules():
        momentum = module.momentum if isinstance(module, _BatchNorm) else None
        if momentum and (1 - momentum) ** steps > LEFT >= (1 - momentum) ** total:
            module.momentum = 1 - LEFT ** (1 / steps)


@dataclass(frozen=True)
class Sample:
    """A few training samples, to be learnt by heart, as batches of one size, with the samples themselves."""

    images: Tensor
    targets: Tensor
    batches: list[Batch]


def small_sample(subject: Subject, batches: int) -> Sample:
    """Return so many batches of distinct training samples, of at most 64 each."""
    size = min(subject.run.batch_size, BATCH)
    images, targets = subject.run.train.batch(subject.some(batches * size, "small sample"))
    _, groups = images.flatten(1).unique(dim=0, return_inverse=True)
    first = torch.full((int(groups.max()) + 1,), len(groups), device=groups.device)
    first.scatter_reduce_(0, groups, torch.arange(len(groups), device=groups.device), "amin")
    return in_batches(images[first.sort().values], targets[first.sort().values], size)


def in_batches(images: Tensor, targets: Tensor, size: int) -> Sample:
    """Return samples with their batches, which are about equally large."""
    parts = max(math.ceil(len(targets) / size), 1)
    return Sample(images, targets, [*zip(images.tensor_split(parts), targets.tensor_split(parts))])


def far_apart(sample: Sample, count: int) -> Sample:
    """Return so many samples, each the one that lies farthest from those before it, in standardised inputs."""
    inputs = scaled(sample.images).flatten(1)
    chosen = [0]
    distances = (inputs - inputs[0]).norm(dim=1)
    while len(chosen) < min(count, len(inputs)):
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (inputs - inputs[chosen[-1]]).norm(dim=1))
    return in_batches(sample.images[chosen], sample.targets[chosen], count)
