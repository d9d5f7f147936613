"""The training loop: the path of a batch, top to bottom, in one function."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainer.checkpoint import Checkpoints
from trainer.clock import Clock
from trainer.console import Console
from trainer.curves import Curves
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.evaluate import evaluate
from trainer.layers import decayed
from trainer.rng import derive, seed_default
from trainer.signals import Signals
from trainer.warp import fused


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Where regularisers act; each list in the order the user gave."""

    layer: Sequence[Callable] = ()
    model: Sequence[Callable] = ()
    batch: Sequence[Callable] = ()
    loss: Sequence[Callable] = ()
    gradient: Sequence[Callable] = ()
    weights: Sequence[Callable] = ()
    stop: Sequence[Callable] = ()


@dataclass(kw_only=True)
class Memory:
    """What a run has become besides its weights.

    Args:
        step: updates done.
        history: scorings of the validation split, oldest first.
        losses: of each training sample when it was last seen, for samplers that ask.
        order: of the samples in the present epoch.
    """

    losses: Tensor
    step: int = 0
    order: Tensor | None = None
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything a run is made of, built and checked."""

    data: Splits
    train: Loader
    val: Loader
    test: Loader
    model: nn.Module
    forward: nn.Module  # the model, compiled where asked
    criterion: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    sched: Callable[[Clock], float]  # with its warm-up
    plateau: object | None  # the schedule without its warm-up, if it has memory: observe(loss), state_dict()
    sampler: Callable[[int, Tensor, Tensor, torch.Generator], Tensor]
    aug: Sequence[Callable]
    slots: Slots
    averaging: object
    tta: Callable[[nn.Module, Tensor], Tensor]
    clock: Clock
    device: torch.device
    autocast: Callable[[], AbstractContextManager]
    seed: int
    epochs: int
    batch_size: int
    accumulate: int
    drop_last: bool
    eval_batch_size: int
    eval_steps: int
    log_steps: int
    save_steps: int | None
    save_seconds: float
    monitor: str
    memory: Memory

    @property
    def uses_losses(self) -> bool:
        return getattr(self.sampler, "uses_losses", False)

    @contextmanager
    def evaluated(self) -> Iterator[nn.Module]:
        """The model to score and to keep: averaged where that was asked for, at the optimizer's point of evaluation where it has one."""
        between = hasattr(self.optimizer, "eval")  # it trains at one point and means another
        if between:
            self.optimizer.eval()
        try:
            yield self.averaging.evaluated(self.model, self.train)
        finally:
            if between:
                self.optimizer.train()

    def score(self, model: nn.Module, split: Loader, views: Callable | None = None) -> dict[str, float]:
        seed_default(self.device, derive(self.seed, "views"))
        return evaluate(model, split, self.criterion, self.data.task, self.eval_batch_size, self.autocast, views)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: finished, stopped (early), diverged or interrupted (by a signal), and when."""

    status: str
    now: Clock
    signal: int = 0


def fit(run: Run, curves: Curves, checkpoints: Checkpoints, console: Console, save: Callable[..., None] = lambda *ignored: None) -> Outcome:
    """Train `run.model` in place, from where `run.memory` stands.

    Args:
        save: takes the time, the weights that were just scored or None, and whether they are the best so far.
    """
    model, forward, optimizer, slots, averaging, memory = run.model, run.forward, run.optimizer, run.slots, run.averaging, run.memory
    weights = list(model.parameters())
    rng = torch.Generator(run.device)
    transforms = fused((*run.aug, *slots.batch))
    begins = [transform.begin for transform in transforms if hasattr(transform, "begin")]  # those that go by the time
    transforms_seed, layers_seed = derive(run.seed, "transforms"), derive(run.seed, "layers")
    updates = batches(run)
    uses_losses = run.uses_losses
    befores = [edit.before for edit in slots.weights if hasattr(edit, "before")]
    create_graph = getattr(optimizer, "create_graph", False)  # second-order methods differentiate the gradient
    # Penalties whose gradient is known in closed form add it themselves, at a third of what autograd takes.
    closed = [penalty for penalty in slots.loss if hasattr(penalty, "add_gradient") and not create_graph]
    others = [penalty for penalty in slots.loss if penalty not in closed]
    decays = decayed(model)
    status, done = "finished", run.clock.at(memory.step)
    saved = time.monotonic()
    model.train()

    with Signals() as signals, closing(updates), console.progress(run.clock.total_steps, run.epochs) as bar:
        for step in range(memory.step, run.clock.total_steps):
            multiplier = run.sched(run.clock.at(step))
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * multiplier
            now = run.clock.at(step, optimizer.param_groups[0]["lr"])
            scoring = (step + 1) % run.eval_steps == 0 or step + 1 == run.clock.total_steps
            logging = (step + 1) % run.log_steps == 0 or step + 1 == run.clock.total_steps
            kept, best = None, False  # weights that were scored

            indices, parts = next(updates)  # on the device; one part unless gradients are accumulated
            if transforms:
                rng.manual_seed(transforms_seed + step)
                for begin in begins:
                    begin(now)
                for transform in transforms:
                    parts = [transform(images, targets, rng) for images, targets in parts]
            count = sum([len(targets) for _, targets in parts])
            seen = []  # the criterion's view of each part, for the curves

            def closure() -> Tensor:
                for weight in weights:
                    weight.grad = None  # what zero_grad does, 8 us faster
                seed_default(run.device, layers_seed + step)  # the same dropout masks, however often an optimizer asks
                total = None
                for images, targets in parts:
                    with run.autocast():
                        outputs = forward(images)
                    outputs = outputs.float()
                    losses = run.criterion(outputs, targets)  # (B,)
                    mean = torch.full_like(losses, 1 / count)  # over all parts of the update
                    penalties = [penalty(model, images, outputs, targets) * (len(targets) / count) for penalty in others]
                    # The gradient of losses.dot(mean) + sum(penalties); a node for the dot product would cost 15 us.
                    torch.autograd.backward([losses, *penalties], [mean, *[None] * len(penalties)], create_graph=create_graph)
                    for part in (losses.detach().dot(mean), *penalties):
                        total = part.detach() if total is None else total + part.detach()
                    seen.append((losses.detach(), outputs.detach(), targets))
                for penalty in closed:
                    total = total + penalty.add_gradient(decays)
                if logging and len(seen) == len(parts):
                    curves.measure_gradient(weights)
                for edit in slots.gradient:
                    edit(model, now)
                return total

            if logging:
                curves.before_step(weights)
            for prepare in befores:
                prepare(model, now)
            optimizer.step(closure)
            for edit in slots.weights:
                edit(model, now)
            averaging.update(model, now)
            for part in seen[: len(parts)]:  # later ones are an optimizer's further looks at the same batch
                curves.add(*part)
            if uses_losses:
                for which, part in zip(indices, seen):
                    memory.losses.scatter_reduce_(0, which, part[0], "amax", include_self=False)  # a sample drawn twice keeps the larger
            done = run.clock.at(step + 1, now.lr)
            memory.step = done.step
            bar.advance(done)

            if logging:
                point = curves.log(weights, done)
                bar.advance(done, point)
                if not math.isfinite(point["loss"]):
                    status = "diverged"
                    break
            if scoring and len(run.val):
                train_scores = curves.before_scoring(done)
                if not math.isfinite(train_scores["loss"]):
                    status = "diverged"
                    break
                with run.evaluated() as scored:
                    scores = run.score(scored, run.val)
                    if best := checkpoints.better(done, scores):
                        kept = {name: value.clone() for name, value in scored.state_dict().items()}
                curves.scored("val", done, scores)
                memory.history.append({"step": done.step, "epoch": done.epoch, **scores})
                console.scored(done, run.epochs, train_scores, scores)
                if run.plateau:
                    run.plateau.observe(scores["loss"])
                if any(stop(memory.history) for stop in slots.stop):
                    status = "stopped"
            if signals.number:
                status = "interrupted"
            due = (step + 1) % run.save_steps == 0 if run.save_steps else time.monotonic() - saved >= run.save_seconds
            if best or due or status == "interrupted":
                save(done, kept, best)
                saved = time.monotonic()
            if status != "finished":
                break
    return Outcome(status, done, signals.number)


def batches(run: Run) -> Iterator[tuple[Sequence[Tensor], list[tuple[Tensor, Tensor]]]]:
    """Indices and batches of each update that is left, in the order that (seed, epoch) and the samples' losses give."""
    rng = torch.Generator(run.device)
    memory = run.memory
    first_epoch, done = divmod(memory.step, run.clock.steps_per_epoch)
    for epoch in range(first_epoch, run.epochs):
        rng.manual_seed(derive(run.seed, "order", epoch))
        if memory.order is None or not done:  # else the run was taken up within an epoch whose order stands
            memory.order = run.sampler(epoch, run.train.targets, memory.losses, rng)
        order = memory.order
        if run.drop_last:
            order = order[: len(order) - len(order) % (run.batch_size * run.accumulate)]
        parts = order.split(run.batch_size)[done * run.accumulate :]
        done = 0
        with closing(run.train.batches(parts)) as arriving:
            for first in range(0, len(parts), run.accumulate):
                update = parts[first : first + run.accumulate]
                yield update, [next(arriving) for _ in update]
