"""Masks by magnitude: which weights of a network are left after a round of pruning."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from trainer.base.depth import head_of
from trainer.base.layers import decay_parameters

Masks = Mapping[str, Tensor]  # by the name of the weight: 1 where it is left, 0 where it is pruned
SCOPES = ("layer", "global")


def prunable(model: nn.Module, images: Tensor) -> dict[str, bool]:
    """Return the names of the weights that are pruned, matrices and kernels, and whether each is of the output layer.

    Biases, norms and embeddings are left whole.
    """
    wanted, heads = {*decay_parameters(model)}, tuple(f"{name}." for name in head_of(model, images))
    return {name: name.startswith(heads) for name, weight in model.named_parameters() if weight in wanted}


def pruned(weights: Mapping[str, Tensor], masks: Masks, rates: Mapping[str, float], scope: str) -> dict[str, Tensor]:
    """Return masks without the smallest weights that are left: of each layer its rate, rounded to whole weights.

    Args:
        weights: after a training, by name.
        masks: of the round before.
        rates: fraction of the weights left that is pruned, by name.
        scope: `layer`, or `global` for all weights of the same rate together.
    Source: arXiv:1803.03635, section 2; torch.nn.utils.prune for what is the smallest.
    """
    groups: dict[object, list[str]] = {}
    for name in masks:
        groups.setdefault(rates[name] if scope == "global" else name, []).append(name)
    return {name: mask for names in groups.values() for name, mask in together(weights, masks, names, rates).items()}


def together(
    weights: Mapping[str, Tensor], masks: Masks, names: Collection[str], rates: Mapping[str, float]
) -> dict[str, Tensor]:
    """Return the masks of some weights, which are pruned together, at the rate of the first."""
    left = torch.cat([weights[name].detach().cpu().flatten()[masks[name].flatten() == 1] for name in names])
    method = prune.L1Unstructured(amount=float(rates[next(iter(names))]))
    kept = method.compute_mask(left, torch.ones_like(left)) if len(left) else left
    found = {}
    for name in names:
        mask = masks[name].flatten().clone()
        count = int((mask == 1).sum())
        mask[mask == 1], kept = kept[:count].to(mask.dtype), kept[count:]
        found[name] = mask.view_as(masks[name])
    return found


def whole(weights: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Return the masks of an unpruned network."""
    return {name: torch.ones_like(weights[name], device="cpu") for name in names}


def masked(state: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """Return weights and buffers with those that are pruned at 0."""
    return {
        name: value.masked_fill(masks[name].to(value.device) == 0, 0.0) if name in masks else value
        for name, value in state.items()
    }


def fraction_left(masks: Masks) -> float:
    """Return the fraction of the prunable weights that is left."""
    return sum(float(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
