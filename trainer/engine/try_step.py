"""One step of a copy, where a class of the user's own takes part in it: its mistakes are told before a run is made."""

import copy
from collections.abc import Callable, Iterator

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from trainer.base.hooks import needs_graph
from trainer.base.protocols import PreStepEdit
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.targets import LIBRARIES
from trainer.engine.contracts import as_config_error, broken, is_own, require_kind, shown
from trainer.engine.run import Run


def try_step(
    run: Run, cfg: DictConfig, invocation: Invocation, make_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
) -> None:
    """Make a step on two samples with copies of the model, the regularisers and a new optimizer. Errors: ConfigError.

    Nothing where all classes of a step are of the project's or of a library.
    """
    parts = [(slot, name, part) for slot in ("loss", "gradient", "weights") for name, part in named(run, cfg, slot)]
    own = [run.averaging, *(part for *_, part in parts)]
    if not any(map(is_own, own)) and not names_own(cfg.optimizer):
        return
    model, parts = copy.deepcopy(run.model), copy.deepcopy(parts)
    batch = run.train.batch(torch.arange(min(2, len(run.train)), device=run.device))
    optimizer, now = make_optimizer(model), run.clock.at(0, 0.0)
    slots = {slot: [(name, part) for place, name, part in parts if place == slot] for slot, *_ in parts}
    closure = Closure(run, model, optimizer, batch, slots, invocation)
    edits = slots.get("weights", [])
    for name, edit in edits:
        if isinstance(edit, PreStepEdit):
            with as_config_error(f"reg={name}", invocation, "reg.weights", edit):
                edit.before(model, optimizer, now)
    with as_config_error("optimizer", invocation, "optimizer", base_of(optimizer)):
        optimizer.step(closure)
    if not closure.calls:
        what = "does not call the closure in its step"
        raise broken(invocation.describe("optimizer"), "optimizer", base_of(optimizer), what)
    for name, edit in edits:
        with as_config_error(f"reg={name}", invocation, "reg.weights", edit):
            edit(model, optimizer, now)
    averaging = factory(cfg, "averaging", invocation)(model)
    with as_config_error("averaging", invocation, "averaging", averaging):
        averaging.update(model, now)
        evaluated = averaging.evaluated(model)
    require_kind(evaluated, nn.Module, "averaging", averaging, invocation.describe("averaging"))


class Closure:
    """Loss and gradient of two samples, as the loop's closure; counts its calls."""

    def __init__(
        self,
        run: Run,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: tuple[Tensor, Tensor],
        slots: dict[str, list[tuple[str, Callable]]],
        invocation: Invocation,
    ) -> None:
        self.run, self.model, self.optimizer, self.batch = run, model, optimizer, batch
        self.slots, self.invocation = slots, invocation
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        describe, (images, targets) = self.invocation.describe, self.batch
        if not torch.is_grad_enabled():
            what = "calls the closure without gradients"
            raise broken(describe("optimizer"), "optimizer", base_of(self.optimizer), what)
        for weight in self.model.parameters():
            weight.grad = None
        outputs = self.model(images).float()
        loss = self.run.criterion(outputs, targets).mean()
        for name, penalty in self.slots.get("loss", ()):
            with as_config_error(f"reg={name}", self.invocation, "reg.loss", penalty):
                value = penalty(self.model, images, outputs, targets)
            if not isinstance(value, Tensor) or value.dim():
                raise broken(f"reg={name}", "reg.loss", penalty, f"returns {shown(value)}")
            loss = loss + value
        loss.backward(create_graph=needs_graph(self.optimizer))
        for name, edit in self.slots.get("gradient", ()):
            with as_config_error(f"reg={name}", self.invocation, "reg.gradient", edit):
                edit(self.model, self.run.clock.at(0, 0.0))
        return loss.detach()


def base_of(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the innermost optimizer within wrappers, the one itself where it wraps none."""
    inner = next((part for part in vars(optimizer).values() if isinstance(part, torch.optim.Optimizer)), None)
    return optimizer if inner is None else base_of(inner)


def named(run: Run, cfg: DictConfig, slot: str) -> Iterator[tuple[str, Callable]]:
    """Yield the regularisers of a slot with their names."""
    return zip(cfg.reg.get(slot, {}), getattr(run.slots, slot))


def names_own(node: object) -> bool:
    """Return whether a node, or one within it, names a class outside the project and its libraries."""
    if not isinstance(node, DictConfig):
        return False
    own = str(node.get("_target_", LIBRARIES[0])).partition(".")[0] not in LIBRARIES
    return own or any(names_own(node[key]) for key in node)
