"""Optimizers of the library pytorch_optimizer, by name."""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest

import numpy as np
import pytorch_optimizer
import torch
from torch import Tensor

from trainer.base.protocols import HasEvaluationPoint
from trainer.base.text import did_you_mean
from trainer.config import libraries
from trainer.optimizer.base import Closure, Wrapper, evaluate_closure, matrices, parameters_of

LIBRARY = pytorch_optimizer.__name__
SECOND_ORDER = ("AdaHessian", "SophiaH")  # differentiate the gradient
OTHER_GENERATORS = ("Kron", "SaRA")  # draw from NumPy's and from Python's
HOLDING_WEIGHTS = ("AccSGD", "DAdaptAdaGrad", "DAdaptSGD", "FTRL", "MADGRAD", "Ranger", "Ranger21", "SRMM")
MATRICES_ALONE = ("AdaGO", "AdaMuon", "Muon", "MuonClip", "NorMuon")  # are told which weights are hidden matrices
PLAIN = (bool, int, float, str, type(None), Tensor, torch.dtype)  # not of a class that inherits from one of them


class PytorchOptimizer(Wrapper):
    """An optimizer of pytorch_optimizer, or one of torch.optim that it lists.

    Every keyword argument of its class is a key: optimizer.betas=[0.9,0.99]. Its weight decay, decoupled or not as the
    class has it, acts on matrices and kernels, as everywhere. Muon and its relatives get the hidden matrices and
    kernels, all but the last one, and leave the rest to AdamW.

    Args:
        params: weights, or groups of them.
        name: of the class.
        lr: learning rate, > 0, or None for the class's own default.
        weight_decay: >= 0, or None for the class's own default.
        settings: other keyword arguments of the class.
    Errors: ValueError. Source: each class's documentation in pytorch_optimizer.
    Differs from the library: schedules of the classes' own are off (AdaFactor, ApolloDQN, Ranger21). Draws from NumPy's
    and Python's generators are seeded in every step, so that a run can be resumed.
    """

    def __init__(
        self,
        params,
        *,
        name: str = "AdaBelief",
        lr: float | None = None,
        weight_decay: float | None = None,
        **settings: object,
    ) -> None:
        if why := libraries.refusal(LIBRARY, name):
            raise ValueError(f"name={name} {why}")
        if name not in libraries.class_names(LIBRARY):
            raise ValueError(f"name={name}: {did_you_mean(name, libraries.class_names(LIBRARY))}")
        known = libraries.arguments(LIBRARY, name)
        given = {**({} if weight_decay is None else {"weight_decay": weight_decay}), **settings}
        for key in given:
            if key not in known:
                raise ValueError(f"{name} has no {key}; {did_you_mean(key, [*known])}")
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        fixed = libraries.fixed_arguments(LIBRARY, name)

        def make(groups, **rate: float) -> torch.optim.Optimizer:
            groups = with_hidden_matrices(groups) if name in MATRICES_ALONE else groups
            return getattr(pytorch_optimizer, name)(groups, **rate, **given, **fixed)

        super().__init__(params, make, lr)
        self.create_graph = name in SECOND_ORDER
        self.holds_weights = name in HOLDING_WEIGHTS or isinstance(self.base, HasEvaluationPoint)
        self.seeds = name in OTHER_GENERATORS
        self.kept: list[Tensor] = []  # the weights to train, while the model holds those to evaluate

    def step(self, closure: Closure) -> Tensor:
        def seeded() -> Tensor:
            loss = evaluate_closure(closure)
            if self.seeds:  # by the seed of torch's, which the loop sets in every step
                seed = torch.default_generator.initial_seed() % 2**32
                np.random.seed(seed)
                random.seed(seed)
            return loss

        return self.base.step(seeded)

    def eval(self) -> None:
        """Put the weights to evaluate into the model; those to train are kept, which the library's way back rounds."""
        if isinstance(self.base, HasEvaluationPoint) and not self.kept:
            self.kept = [weight.detach().clone() for weight in parameters_of(self)]
            with self._weights_with_state():
                self.base.eval()

    def train(self) -> None:
        """Put the weights to train back."""
        if self.kept:
            with self._weights_with_state():
                self.base.train()
            torch._foreach_copy_([weight.detach() for weight in parameters_of(self)], self.kept)
            self.kept = []

    @contextmanager
    def _weights_with_state(self) -> Iterator[None]:
        """Leave weights that never had a gradient out of the groups: SPlus looks for a state of every weight."""
        every = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            group["params"] = [weight for weight in group["params"] if weight in self.state]
        try:
            yield
        finally:
            for group, params in zip(self.param_groups, every):
                group["params"] = params

    def state_dict(self) -> dict:
        state = super().state_dict()
        groups = [{key: value for key, value in group.items() if is_plain(value)} for group in state["param_groups"]]
        return {**state, "state": encoded(state["state"]), "param_groups": groups, "kept": list(self.kept)}

    def load_state_dict(self, state: dict) -> None:
        self.kept = [kept.detach().to(weight, copy=True) for kept, weight in zip(state["kept"], parameters_of(self))]
        now = self.base.state_dict()["param_groups"]
        groups = [
            {**without_plain(before), **{key: as_in(before.get(key), value) for key, value in group.items()}}
            for before, group in zip(now, state["param_groups"], strict=True)
        ]
        state = {key: value for key, value in state.items() if key != "kept"}
        super().load_state_dict({**state, "state": decoded(state["state"]), "param_groups": groups})


def with_hidden_matrices(params) -> list[dict]:
    """Return groups of the hidden matrices and of the other weights, which the key `use_muon` tells apart."""
    params = list(params)
    groups = params if isinstance(params[0], dict) else [{"params": params}]
    hidden = {id(weight) for weight in matrices(groups)[:-1]}
    found = []
    for group in groups:
        for use_muon in (True, False):
            chosen = [weight for weight in group["params"] if (id(weight) in hidden) == use_muon]
            if chosen:
                found.append({**group, "params": chosen, "use_muon": use_muon})
    return found


def is_plain(value: object) -> bool:
    """Return whether a checkpoint can hold a value of a group."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return type(value) in PLAIN


def without_plain(group: dict) -> dict:
    """Return what a checkpoint does not hold of a group: a count of steps that it lacks has not begun."""
    return {key: value for key, value in group.items() if not is_plain(value)}


def as_in(before: object, value: object) -> object:
    """Return a value from a checkpoint, which holds tuples as lists, with tuples where they were before."""
    if isinstance(before, list | tuple) and isinstance(value, list | tuple):
        return type(before)(as_in(one, other) for one, other in zip_longest(before, value))
    return value


def encoded(value: object) -> object:
    """Return a state without queues, which a checkpoint cannot hold."""
    if isinstance(value, dict):
        return {key: encoded(child) for key, child in value.items()}
    if isinstance(value, deque):
        return {"queue": list(value), "longest": value.maxlen}
    return value


def decoded(value: object) -> object:
    """Return an encoded state with its queues."""
    if isinstance(value, dict) and value.keys() == {"queue", "longest"}:
        return deque(value["queue"], maxlen=value["longest"])
    return {key: decoded(child) for key, child in value.items()} if isinstance(value, dict) else value
