"""Averages of weights of one's own."""

import copy

import torch
from torch import nn

from trainer.base.clock import Clock


class MeanOfAll:
    """Mean of the weights after each step from `start` on; the model that trains stays as it is."""

    def __init__(self, model: nn.Module, start: float = 0.5) -> None:
        self.start, self.count = start, 0
        self.averaged = copy.deepcopy(model)

    @torch.no_grad()
    def update(self, model: nn.Module, now: Clock) -> None:
        if now.progress < self.start:
            return
        self.count += 1
        for mean, weight in zip(self.averaged.parameters(), model.parameters()):
            mean.lerp_(weight, 1 / self.count)

    def evaluated(self, model: nn.Module) -> nn.Module:
        return self.averaged if self.count else model

    def state_dict(self) -> dict:
        return {"count": self.count, "weights": self.averaged.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.count = state["count"]
        self.averaged.load_state_dict(state["weights"])
