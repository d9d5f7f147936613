"""Score of nearest neighbours: what data give without a network."""

import torch
from torch import Tensor


def score_of_neighbours(inputs: Tensor, targets: Tensor, task: str, count: int) -> float:
    """Return accuracy or r2 where each sample is predicted from the others that are nearest to it.

    Of classes the most frequent one, of values the mean.

    Args:
        inputs: samples (N, ...), N > 1.
        targets: (N, K).
        count: neighbours, at most N - 1.
    """
    inputs, targets = inputs.flatten(1).cpu().double(), targets.cpu().double()
    distances = torch.cdist(inputs, inputs).fill_diagonal_(float("inf"))
    nearest = distances.topk(min(count, len(inputs) - 1), largest=False).indices
    predicted = targets[nearest].mean(1)
    if task == "regression":
        return float(1 - (predicted - targets).square().sum() / (targets - targets.mean(0)).square().sum())
    if targets.shape[1] > 1:
        return float((predicted.argmax(1) == targets.argmax(1)).double().mean())
    return float(((predicted > 0.5) == (targets > 0.5)).double().mean())
