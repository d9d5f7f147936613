"""Optimizers around an optimizer: `base` is a callable (params, **keys) -> Optimizer, as conf/optimizer's options become.

A wrapper's parameter groups are its base's own, so that whoever writes a learning rate there reaches the base.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.optimizer.base import Closure, evaluated, weights_of


class Lookahead(Optimizer):
    """Let the base run k steps, then go back along the way it came (Zhang et al., 2019).

    After each k steps of the fast weights w:  s = s + alpha (w - s),  w = s. The slow weights s are those to evaluate.

    Args:
        params: weights, or groups of them.
        base: makes the optimizer of the fast weights.
        lr: learning rate, > 0, or None for the base's own.
        k: steps of the base between two of the slow weights, >= 1. Paper: 5.
        alpha: step size of the slow weights, in (0, 1]. Paper: 0.5.
    Errors: ValueError. Source: arXiv:1907.08610, algorithm 1. Differs from the paper: no; the base keeps its momentum when
    the fast weights go back.
    """

    def __init__(
        self, params, base: Callable[..., Optimizer], *, lr: float | None = None, k: int = 5, alpha: float = 0.5
    ) -> None:
        require(">= 1", k=k)
        require("in (0, 1]", alpha=alpha)
        adopt(self, params, base, lr)
        self.k, self.alpha = k, alpha
        self.steps = 0
        self.slow: list[Tensor] = []
        self.fast: list[Tensor] = []  # kept here while the slow weights stand in the model

    def step(self, closure: Closure | None = None) -> Tensor:
        weights = [weight.detach() for weight in weights_of(self)]
        if not self.slow:
            self.slow = [weight.clone() for weight in weights]
        loss = self.base.step(closure)
        self.steps += 1
        if self.steps % self.k == 0:
            torch._foreach_lerp_(self.slow, weights, self.alpha)
            torch._foreach_copy_(weights, self.slow)
        return loss

    def eval(self) -> None:
        tell(self.base, "eval")
        if self.slow and not self.fast:
            weights = [weight.detach() for weight in weights_of(self)]
            self.fast = [weight.clone() for weight in weights]
            torch._foreach_copy_(weights, self.slow)

    def train(self) -> None:
        if self.fast:
            torch._foreach_copy_([weight.detach() for weight in weights_of(self)], self.fast)
            self.fast = []
        tell(self.base, "train")

    def watch(self, model: nn.Module) -> None:
        tell(self.base, "watch", model)

    def state_dict(self) -> dict:
        return {"base": self.base.state_dict(), "steps": self.steps, "slow": list(self.slow), "fast": list(self.fast)}

    def load_state_dict(self, state: dict) -> None:
        load_base(self, state["base"])
        self.steps = state["steps"]
        weights = weights_of(self)
        self.slow, self.fast = (
            [kept.detach().to(weight, copy=True) for kept, weight in zip(state[name], weights)]
            for name in ("slow", "fast")
        )


class Ranger(Optimizer):
    """RAdam with Lookahead, and gradients centralised (Wright, 2019; centralisation: Yong et al., 2020).

    Each weight of 2 or more dimensions has the mean over its inputs taken off its gradient: g = g - mean(g) for each unit.
    Then Lookahead around RAdam.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. Ranger: 1e-3.
        betas: RAdam's decay of the mean and of the mean square, each in [0, 1). Ranger: 0.95 and 0.999.
        eps: added to the root, > 0. Ranger: 1e-5.
        weight_decay: share of lr by which weights shrink a step (decoupled), >= 0. Ranger: 0.
        k: steps of RAdam between two of the slow weights, >= 1. Ranger: 6.
        alpha: step size of the slow weights, in (0, 1]. Ranger: 0.5.
        centralize: take the mean off the gradients.
    Errors: ValueError. Source: arXiv:1908.03265, algorithm 2; arXiv:1907.08610, algorithm 1; arXiv:2004.01461, eq. (1).
    Differs from the papers: no, but that torch's RAdam rectifies from rho > 5 on, the paper from rho > 4.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        k: int = 6,
        alpha: float = 0.5,
        centralize: bool = True,
    ) -> None:
        require("> 0", lr=lr, eps=eps)
        require("in [0, 1)", betas=betas)
        require(">= 0", weight_decay=weight_decay)
        fast = partial(
            torch.optim.RAdam, betas=tuple(betas), eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True
        )
        adopt(self, params, partial(Lookahead, base=fast, k=k, alpha=alpha), lr)
        self.centralize = centralize
        self.eval, self.train = self.base.eval, self.base.train

    def step(self, closure: Closure) -> Tensor:
        def centralized() -> Tensor:
            loss = evaluated(closure)
            for weight in weights_of(self):
                if weight.grad is not None and weight.dim() > 1:
                    weight.grad.sub_(weight.grad.mean(tuple(range(1, weight.dim())), keepdim=True))
            return loss

        return self.base.step(centralized if self.centralize else closure)

    def state_dict(self) -> dict:
        return self.base.state_dict()

    def load_state_dict(self, state: dict) -> None:
        load_base(self, state)


class Sam(Optimizer):
    """Step by the gradient at the worst point nearby (sharpness-aware minimisation; Foret et al., 2021).

    e = rho g(w) / ||g(w)||, the norm over all weights; then the base's step from w with the gradient g(w + e).
    Two passes a step. The loss it returns is that at w. Batch-norm statistics see both passes.

    Args:
        params: weights, or groups of them.
        base: makes the optimizer that takes the step.
        lr: learning rate, > 0, or None for the base's own.
        rho: radius of the neighbourhood, > 0. Paper: 0.05.
    Errors: ValueError; also around an optimizer that differentiates the gradient.
    Source: arXiv:2010.01412, eq. (2) with p = 2 and eq. (3). Differs from the paper: no.
    """

    def __init__(self, params, base: Callable[..., Optimizer], *, lr: float | None = None, rho: float = 0.05) -> None:
        require("> 0", rho=rho)
        adopt(self, params, base, lr)
        if self.create_graph:
            name = type(self.base).__name__.lower()
            raise ValueError(
                f"base={name} needs second derivatives, which SAM's second pass would mix; try optimizer.base=momentum"
            )
        self.rho = rho
        for name in ("eval", "train", "watch"):
            setattr(self, name, partial(tell, self.base, name))

    def step(self, closure: Closure) -> Tensor:
        def sharp() -> Tensor:
            loss = evaluated(closure)
            with torch.no_grad():
                moved = [weight for weight in weights_of(self) if weight.grad is not None]
                before = [weight.clone() for weight in moved]
                grads = [weight.grad for weight in moved]
                scale = self.rho / (get_total_norm(grads) + 1e-12)
                torch._foreach_add_(moved, torch._foreach_mul(grads, scale))
            evaluated(closure)
            with torch.no_grad():
                torch._foreach_copy_(moved, before)
            return loss

        return self.base.step(sharp)

    def state_dict(self) -> dict:
        return self.base.state_dict()

    def load_state_dict(self, state: dict) -> None:
        load_base(self, state)


def adopt(wrapper: Optimizer, params, base: Callable[..., Optimizer], lr: float | None) -> None:
    """Make the base and let the wrapper show the base's groups and state as its own."""
    if lr is None:
        wrapper.base = base(params)
    else:
        require("> 0", lr=lr)
        wrapper.base = base(params, lr=lr)
    Optimizer.__init__(wrapper, wrapper.base.param_groups, wrapper.base.defaults)
    wrapper.param_groups, wrapper.state = wrapper.base.param_groups, wrapper.base.state
    wrapper.create_graph = getattr(wrapper.base, "create_graph", False)


def load_base(wrapper: Optimizer, state: dict) -> None:
    wrapper.base.load_state_dict(state)
    wrapper.param_groups, wrapper.state = wrapper.base.param_groups, wrapper.base.state  # torch has put new ones there


def tell(base: Optimizer, method: str, *arguments: object) -> None:
    """Pass on what not every base listens to."""
    if hasattr(base, method):
        getattr(base, method)(*arguments)
