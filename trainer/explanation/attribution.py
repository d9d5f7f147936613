"""Attributions: how the parts of an input act on one output of a network. Captum computes the gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from trainer.base.classes import class_outputs
from trainer.base.errors import ConfigError

DRAWS, NOISE = 25, 0.15  # of SmoothGrad: noisy copies of an image, their noise over the range of its values
# Points on the path of integrated gradients, the fewest that make the sum right.
POINTS = ((50, "gausslegendre"), (400, "gausslegendre"), (10_000, "riemann_middle"))
EXACT = 0.005  # error of the sum, over the difference of the outputs
VALUES = 2**20  # of inputs in one pass, about

Network = Callable[[Tensor], Tensor]  # inputs (B, ...) -> outputs (B, K)


def is_installed() -> bool:
    """Return whether Captum is there."""
    return find_spec("captum") is not None


def require_captum(what: str) -> None:
    """Check that Captum is installed. Errors: ConfigError."""
    if not is_installed():
        raise ConfigError(f"{what}: needs Captum; pip install 'trainer[explain]'")


def answers_in(module: nn.Module, task: str) -> Network:
    """Return the network with an output for each answer: of binary data -o and o."""

    def network(images: Tensor) -> Tensor:
        outputs = module(images.clone())  # a network may change its input in place
        return class_outputs(outputs) if task == "binary" else outputs

    return network


def grad_cam(network: Network, layer: nn.Module, images: Tensor, outputs: Tensor) -> Tensor:
    """Return Grad-CAM before its ReLU (B, h, w): sum over channels k of a_k A_k, a_k the mean of d output / d A_k.

    Args:
        layer: whose output A (B, channels, h, w) is.
        outputs: the output that is explained (B,), a number in [0, K) for each image.
    Source: arXiv:1610.02391, eq. 1 and 2. Differs from the paper: the caller applies the ReLU.
    """
    from captum.attr import LayerGradCam

    return LayerGradCam(network, layer).attribute(differentiable(images), target=outputs).detach()[:, 0]


def saliency(network: Network, images: Tensor, outputs: Tensor, *, draws: int = DRAWS, noise: float = NOISE) -> Tensor:
    """Return the gradient of an output at the images, the mean over noisy copies of them, with the images' shape.

    All images have the same draws of the noise, so that no map depends on the batch.

    Args:
        outputs: the output that is explained (B,).
        draws: noisy copies, >= 1; 0 for the gradient at the images themselves. Paper: 50.
        noise: its deviation over the range of values of an image. Paper: 0.1 to 0.2.
    Source: arXiv:1312.6034, section 3; arXiv:1706.03825. Differs from the paper: the same noise for all images.
    """
    from captum.attr import Saliency

    gradient = Saliency(network)
    spans = [*range(1, images.dim())]
    deviation = noise * (images.amax(spans, keepdim=True) - images.amin(spans, keepdim=True))
    rng, total = torch.Generator().manual_seed(0), torch.zeros_like(images)
    for _ in range(max(1, draws)):
        drawn = torch.randn(images.shape[1:], generator=rng).to(images) if draws else 0.0
        total += gradient.attribute(differentiable(images + deviation * drawn), target=outputs, abs=False).detach()
    return total / max(1, draws)


def integrated_gradients(network: Network, samples: Tensor, baseline: Tensor, outputs: Tensor) -> Tensor:
    """Return what each value of samples (B, ...) adds to an output, from that of the baseline (1, ...).

    (x - x') times the mean gradient on the straight line from the baseline x' to x: the sum over the values of a sample
    is output(x) - output(x'). A sample gets more points on its line until that holds, 10,000 at most.

    Source: arXiv:1703.01365, eq. 1 to 3, proposition 1. Differs from the paper: Gauss-Legendre points first.
    """
    from captum.attr import IntegratedGradients

    method, size = IntegratedGradients(network), max(len(samples), VALUES // max(1, samples[0].numel()))
    with torch.no_grad():
        difference = (network(samples) - network(baseline)).gather(1, outputs[:, None])[:, 0].abs()
    found, open_ = torch.zeros_like(samples), torch.arange(len(samples), device=samples.device)
    for count, rule in POINTS:
        found[open_], missing = method.attribute(
            differentiable(samples[open_]),
            baselines=baseline.expand_as(samples[open_]),
            target=outputs[open_],
            n_steps=count,
            method=rule,
            internal_batch_size=size,
            return_convergence_delta=True,
        )
        open_ = open_[missing.abs() > EXACT * difference[open_] + 1e-6]
        if not len(open_):
            break
    return found.detach()


def differentiable(images: Tensor) -> Tensor:
    """Return a copy of images at which gradients are taken."""
    return images.detach().clone().requires_grad_()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, with gradients; then give all its modules their modes back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
