"""Maps of where in an image a network finds an answer: Grad-CAM, or saliency where it has no convolutional map.

maps = maps_of(module, images, classes)  # (B, H, W) in [0, 1]
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.explanation.attribution import VALUES, answers_in, evaluating, grad_cam, saliency
from trainer.explanation.feature_maps import FeatureMap, find_feature_map

MOST = 64  # images in one pass


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Map of each image for one answer of a network: 1 where the most comes from, 0 where nothing.

    Of a class Grad-CAM shows what speaks for it, of a value what moves it up or down.

    Args:
        module: the network, images (B, C, H, W) -> outputs (B, K).
        task: classification; binary, one output for the classes 0 and 1; or regression.
        feature_map: that of Grad-CAM; None for saliency.
        reason: why there is none.
    """

    module: nn.Module
    task: str = "classification"
    feature_map: FeatureMap | None = None
    reason: str = ""

    @property
    def method(self) -> str:
        """Its name, with the places of its map: `Grad-CAM, 7 x 7`, `saliency`."""
        found = self.feature_map
        return f"Grad-CAM, {found.height} x {found.width}" if found else "saliency"

    def __call__(self, images: Tensor, answers: Tensor) -> Tensor:
        """Return a map (B, H, W) in [0, 1] for each image.

        Args:
            images: (B, C, H, W) as the network takes them, on its device; without Grad-CAM (B, H, W), too.
            answers: the class (B,) that is explained, or the output of a regression.
        """
        if not len(images):
            return images.new_zeros(0, *images.shape[-2:], dtype=torch.float32)
        size = min(MOST, max(1, VALUES // images[0].numel()))
        answers = torch.as_tensor(answers, device=images.device)
        with evaluating(self.module):
            parts = zip(images.float().split(size), answers.split(size))
            return torch.cat([scaled(self._map(part, chosen)) for part, chosen in parts])

    def _map(self, images: Tensor, answers: Tensor) -> Tensor:
        network = answers_in(self.module, self.task)
        if self.feature_map is None:
            sizes = saliency(network, images, answers).abs()
            return sizes.amax(1) if sizes.dim() == 4 else sizes
        found = grad_cam(network, self.feature_map.layer, images, answers)
        found = found.abs() if self.task == "regression" else found.relu()
        return F.interpolate(found[:, None], images.shape[2:], mode="bilinear")[:, 0]


def explainer_of(module: nn.Module, images: Tensor, task: str = "classification") -> Explainer:
    """Return what explains a network: Grad-CAM at its last convolutional feature map where it has one, else saliency.

    Args:
        images: one or more, as the network takes them, on its device.
    """
    if images.dim() != 4:
        return Explainer(module=module, task=task, reason="the samples are not images")
    with evaluating(module):
        found = find_feature_map(module, images[:1].float())
    if isinstance(found, str):
        return Explainer(module=module, task=task, reason=found)
    return Explainer(module=module, task=task, feature_map=found)


def maps_of(module: nn.Module, images: Tensor, answers: Tensor, task: str = "classification") -> Tensor:
    """Return a map (B, H, W) in [0, 1] for each image, of where the network finds an answer.

    The network is as before: its modes, its weights, their gradients.

    Args:
        module: images (B, C, H, W) -> outputs (B, K).
        images: as the network takes them, on its device.
        answers: the class (B,) that is explained, or the output of a regression.
        task: classification; binary, one output for the classes 0 and 1; or regression.
    """
    return explainer_of(module, images, task)(images, answers)


def scaled(maps: Tensor) -> Tensor:
    """Return maps (B, H, W) of values >= 0, the largest of each 1; all 0 stays so, and NaN becomes 0."""
    maps = maps.nan_to_num(0.0, 0.0, 0.0)
    largest = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1.0)
