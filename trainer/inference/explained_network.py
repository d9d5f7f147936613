"""The network that a map is of, and its inputs: a model's own, or one that takes the pixels themselves."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainer.explanation.maps import Explainer, explainer_of
from trainer.inference.predictions import Member

PROBES = 16  # pixels that are changed


class Preprocessed(nn.Module):
    """Network with its preprocessing."""

    def __init__(self, apply: Callable[[Tensor], Tensor], module: nn.Module) -> None:
        super().__init__()
        self.apply_preprocess = apply
        self.module = module

    def forward(self, samples: Tensor) -> Tensor:
        return self.module(self.apply_preprocess(samples))


def explainer_for(model: Member, samples: Tensor) -> tuple[Explainer, Tensor]:
    """Return what explains a model, and what it takes: preprocessed samples.

    Where the preprocessing leaves no pixel in its place, as principal components, the gradient goes back through it to
    the samples themselves, and the feature maps of the network show no places.
    """
    samples = samples.to(model.device)
    samples = samples.float() / 255 if samples.dtype == torch.uint8 else samples
    images, task = model.preprocess(samples.clone()), model.description.task
    if keeps_places(model.preprocess, samples[:1]):
        return explainer_of(model.module, images, task), images
    explainer = explainer_of(Preprocessed(model.preprocess, model.module), samples, task)
    if explainer.feature_map is not None and images.shape == samples.shape:
        option = model.description.choices.get("preprocess")
        explainer = replace(explainer, feature_map=None, reason=f"preprocess={option} mixes the pixels")
    return explainer, samples


def keeps_places(apply: Callable[[Tensor], Tensor], sample: Tensor) -> bool:
    """Return whether a preprocessing leaves pixels in their places: a change of one acts on itself the most.

    Args:
        sample: (1, C, H, W) or (1, H, W).
    """
    count = sample.shape[-2:].numel()
    places = torch.linspace(0, count - 1, min(count, PROBES)).long().unique()
    changed = sample.flatten(-2).repeat(1 + len(places), *[1] * (sample.dim() - 2))
    changed[torch.arange(1, 1 + len(places)), ..., places] += 0.1
    found = apply(changed.view(-1, *sample.shape[1:]))
    if found.dim() != sample.dim() or found.shape[-2:] != sample.shape[-2:]:
        return False
    change = (found[1:] - found[:1]).abs().flatten(-2)
    change = change.sum(1) if change.dim() == 3 else change
    return (change.argmax(1).cpu() == places).float().mean().item() > 0.5
