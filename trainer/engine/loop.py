"""The training loop: the path of a batch, top to bottom, in one function."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor, nn

from trainer.base.clock import Clock
from trainer.base.errors import Interrupted
from trainer.base.layers import decay_parameters
from trainer.base.rng import derive, seed_default
from trainer.base.signals import Signals
from trainer.base.warp import fused
from trainer.engine.run import Outcome, Run
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

MOST_SKIPPED = 10  # updates in a row; then the run has diverged
MOST_UNSEEN = 1000  # losses that wait to be looked at


def fit(
    run: Run,
    curves: Recorder,
    checkpoints: Checkpoints,
    console: Console,
    save: Callable[..., None] = lambda *ignored: None,
    until: int | None = None,
) -> Outcome:
    """Train `run.model` in place, from where `run.memory` stands.

    Args:
        save: takes the time, the weights that were just scored or None, and whether they are the best so far.
        until: the last update; None for that of the run.
    Errors: Interrupted where a signal comes in the first update.
    """
    model, forward, optimizer, slots, averaging, memory = (
        run.model,
        run.forward,
        run.optimizer,
        run.slots,
        run.averaging,
        run.memory,
    )
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
    decays = decay_parameters(model)
    first, last = memory.step, run.clock.total_steps if until is None else until
    status, done, bad = "finished", run.clock.at(first), 0
    unseen: list[Tensor] = []  # losses of the updates since they were last held to be numbers; on the device
    skipped, in_a_row = 0, 0
    saved = time.monotonic()

    def score(now: Clock) -> tuple[dict[str, Tensor], bool, bool]:
        """Score the validation split: the weights that were scored, whether they are the best so far, whether it is time to stop."""
        curves.before_scoring(now)
        with signals.at_once(), run.evaluated() as scored:
            scores = run.score(scored, run.val)
            kept = {name: value.clone() for name, value in scored.state_dict().items()}
        best = checkpoints.better(now, scores)
        curves.scored("val", now, scores)
        memory.history.append({"step": now.step, "epoch": now.epoch, **scores})
        console.scored(now, run.epochs, curves.since_scoring(), scores)
        if run.plateau:
            run.plateau.observe(scores["loss"])
        return kept, best, any([stop(memory.history) for stop in slots.stop])

    model.train()
    with Signals() as signals, closing(updates), console.progress(run.clock.total_steps, run.epochs) as bar:
        if owes_a_scoring(run):
            kept, best, enough = score(done)
            status = "stopped" if enough else status
            save(done, kept if best else None, best)
        for step in range(first, first if status == "stopped" else last):
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
                    penalties = [
                        penalty(model, images, outputs, targets) * (len(targets) / count) for penalty in others
                    ]
                    # The gradient of losses.dot(mean) + sum(penalties); a node for the dot product would cost 15 us.
                    torch.autograd.backward(
                        [losses, *penalties], [mean, *[None] * len(penalties)], create_graph=create_graph
                    )
                    for part in (losses.detach().dot(mean), *penalties):
                        total = part.detach() if total is None else total + part.detach()
                    seen.append((losses.detach(), outputs.detach(), targets))
                for penalty in closed:
                    total = total + penalty.add_gradient(decays)
                if logging and len(seen) == len(parts):
                    curves.measure_gradient(weights)
                for edit in slots.gradient:
                    edit(model, now)
                if len(seen) == len(parts):
                    unseen.append(total)
                return total

            if logging:
                curves.before_step(weights)
            for prepare in befores:
                prepare(model, now)
            with signals.at_once(when=step == first):  # it may compile for minutes, and nothing is lost
                look = first_look(model, closure) if run.skips else closure
                if look:
                    optimizer.step(look)
            if look:
                for edit in slots.weights:
                    edit(model, now)
                averaging.update(model, now)
            else:
                seen.clear()
                unseen.pop()
            skipped, in_a_row = skipped + (look is None), in_a_row + 1 if look is None else 0
            for part in seen[: len(parts)]:  # later ones are an optimizer's further looks at the same batch
                curves.add(*part)
            if uses_losses:
                for which, part in zip(indices, seen):
                    memory.losses.scatter_reduce_(
                        0, which, part[0], "amax", include_self=False
                    )  # a sample drawn twice keeps the larger
            done = run.clock.at(step + 1, now.lr)
            memory.step = done.step
            bar.advance(done)

            due = (step + 1) % run.save_steps == 0 if run.save_steps else time.monotonic() - saved >= run.save_seconds
            if logging and look:
                point = curves.log(weights, done)
                bar.advance(done, point)
            if logging or scoring or due or signals.number or len(unseen) == MOST_UNSEEN:
                bad = first_bad(unseen, step + 1)
                unseen.clear()
            if bad or in_a_row == MOST_SKIPPED:
                status, bad = "diverged", bad or step + 1
                break
            if scoring and len(run.val) and not signals.number:
                try:
                    kept, best, enough = score(done)
                    status = "stopped" if enough else status
                except Interrupted:
                    pass  # the run that goes on scores first
            if signals.number:
                status = "interrupted"
            if best or due or status == "interrupted":
                save(done, kept if best else None, best)
                saved = time.monotonic()
            if status != "finished":
                break
    return Outcome(status, done, signals.number, bad, skipped)


def owes_a_scoring(run: Run) -> bool:
    """Whether a signal came while the split was scored after the last update, or just before."""
    step, history = run.memory.step, run.memory.history
    due = step and (step % run.eval_steps == 0 or step == run.clock.total_steps)
    return bool(due and len(run.val) and not (history and history[-1]["step"] == step))


def first_look(model: nn.Module, closure: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
    """The closure with its first look already taken, or None where loss or gradient is not finite; then buffers are as they were."""
    before = [buffer.clone() for buffer in model.buffers()]  # a batch norm would never forget
    with torch.enable_grad():
        taken = [closure()]
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    if bool(torch.stack([taken[0], *torch._foreach_norm(grads)]).isfinite().all()):  # host sync
        return lambda: taken.pop() if taken else closure()
    for buffer, kept in zip(model.buffers(), before):
        buffer.copy_(kept)
    return None


def first_bad(losses: Sequence[Tensor], last: int) -> int:
    """The first update whose loss is no number, of those up to the update `last`; 0 where all are."""
    finite = torch.stack(losses).isfinite().tolist() if losses else []  # host sync
    return last - len(finite) + finite.index(False) + 1 if False in finite else 0


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
