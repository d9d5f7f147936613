"""K-FAC: the natural gradient, the Fisher matrix of each layer approximated by a Kronecker product."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.base.layers import weight_layers, weight_of
from trainer.optimizer.base import Closure, evaluate_closure


class Kfac(Optimizer):
    """Natural gradient with Kronecker factors (Martens & Grosse, 2015; convolutions: Grosse & Martens, 2016).

    For a layer with inputs a (a 1 appended where it has a bias) and g, the gradient of a sample's own loss by its
    output, with t over the T places of a kernel (T = 1 in dense layers):
        A = mean of sum_t a_t a_t^T,  G = mean of sum_t g_t g_t^T / T
        A, G averaged over steps with weight min(1 - 1/n, decay) on the past, n the updates of the factors so far
        u = (G + sqrt(damping) / p I)^-1 grad (A + p sqrt(damping) I)^-1,  p^2 = (tr A / dim A) / (tr G / dim G)
        v = momentum v + min(1, sqrt(kl_clip / (lr^2 sum of u * grad))) u,  w = w - lr v
    Dense layers and convolutions with groups=1 are preconditioned; other weights (norms, grouped kernels) take
    u = grad. `watch(model)` gives it the layers; without that call it is momentum.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. Paper: none, a step from the exact quadratic.
        momentum: fraction of the velocity kept, in [0, 1). Ba et al.: 0.9.
        damping: of the Fisher matrix, > 0. Papers: adapted, or tuned.
        decay: largest weight of the past in an update of the factors, in [0, 1). Paper: 0.95.
        kl_clip: bound on lr^2 u^T F u, the change of the outputs' distribution in a step, > 0. Ba et al.: tuned.
        update_every: steps between two updates of the factors, >= 1.
        invert_every: steps between two inversions, >= 1. Paper: 20.
    Errors: ValueError. Source: arXiv:1503.05671, sections 3, 5 and 6.3; arXiv:1602.01407;
    Ba, Grosse & Martens, "Distributed second-order optimization using Kronecker-factored approximations", 2017
    (kl_clip).
    Differs from the papers: g by the targets of the batch (the empirical Fisher matrix), not by targets drawn from the
    outputs; fixed damping; momentum in place of the exact quadratic's.
    """

    def __init__(
        self,
        params,
        *,
        lr: float = 0.02,
        momentum: float = 0.9,
        damping: float = 0.1,
        decay: float = 0.95,
        kl_clip: float = 1e-3,
        update_every: int = 1,
        invert_every: int = 10,
    ) -> None:
        require("> 0", lr=lr, damping=damping, kl_clip=kl_clip)
        require("in [0, 1)", momentum=momentum, decay=decay)
        require(">= 1", update_every=update_every, invert_every=invert_every)
        self.momentum, self.damping, self.decay, self.kl_clip = momentum, damping, decay, kl_clip
        self.update_every, self.invert_every = update_every, invert_every
        self.layers: list[nn.Module] = []
        self.captured: dict[nn.Module, dict] = {}  # each layer's sums over the passes of a closure
        self.capturing = False
        super().__init__(params, {"lr": lr, "step": 0})

    def watch(self, model: nn.Module) -> None:
        """Hook the layers of the model to precondition. Errors: ValueError where there is none."""
        self.layers = [
            layer
            for layer in weight_layers(model)
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        ]
        if not self.layers:
            raise ValueError("kfac needs a dense layer or a convolution to precondition; try optimizer=momentum")

        # A function, not a bound method: a deep copy of the model must not copy the optimizer.
        def capture(layer: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
            if self.capturing and layer.training and output.requires_grad:
                self._capture(layer, arguments[0].detach(), output)

        for layer in self.layers:
            layer.register_forward_hook(capture)

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        step = self.param_groups[0]["step"]
        self.captured, self.capturing = {}, step % self.update_every == 0
        try:
            loss = evaluate_closure(closure)
            for layer, sums in self.captured.items():
                self._update_factors(layer, sums)
        finally:  # the closure may skip the step
            self.captured, self.capturing = {}, False
        directions = {}
        for layer in self.layers:
            if weight_of(layer).grad is not None and "inputs" in self.state[weight_of(layer)]:
                directions |= self._precondition(layer, step % self.invert_every == 0)
        self._descend(directions)
        self.param_groups[0]["step"] = step + 1
        return loss

    def _capture(self, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        """Add the factor of the inputs to the layer's sums, and that of the outputs once their gradient is known."""
        with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
            rows = unfolded(layer, inputs.to(weight_of(layer).dtype)).flatten(0, 1)  # (B T, D)
            factor, samples = rows.T @ rows, len(inputs)
        version = weight_of(layer)._version
        sums = self.captured.get(layer)
        if sums is None or sums["version"] != version:  # sums at other weights (SAM's first pass) are dropped
            sums = self.captured[layer] = {"version": version, "samples": 0, "inputs": 0.0, "outputs": 0.0}
        sums["samples"] += samples
        sums["inputs"] += factor

        def capture_gradient(grad: Tensor) -> None:
            rows = grad.detach().to(factor.dtype)
            rows = rows.flatten(2).mT.flatten(0, 1) if isinstance(layer, nn.Conv2d) else rows.flatten(0, -2)
            sums["outputs"] += rows.T @ rows * (samples / len(rows))

        output.register_hook(capture_gradient)

    def _update_factors(self, layer: nn.Module, sums: dict) -> None:
        """Average the means over samples into the layer's factors.

        The loss is a mean: a sample's own gradient is `samples` times the captured one.
        """
        if not isinstance(sums["outputs"], Tensor):
            return  # no loss depended on this layer
        state = self.state[weight_of(layer)]
        state["updates"] = state.get("updates", 0) + 1
        past = min(1 - 1 / state["updates"], self.decay)
        means = {"inputs": sums["inputs"] / sums["samples"], "outputs": sums["outputs"] * sums["samples"]}
        for name, mean in means.items():
            state[name] = mean if name not in state else state[name].lerp_(mean, 1 - past)

    def _precondition(self, layer: nn.Module, invert: bool) -> dict[Tensor, Tensor]:
        """Return u for the layer's weight and bias."""
        weight, bias = weight_of(layer), layer.bias
        state = self.state[weight]
        if invert or "inputs_inverse" not in state:
            found = inverses(state["inputs"], state["outputs"], self.damping)
            state["inputs_inverse"], state["outputs_inverse"] = found
        grad = weight.grad.flatten(1)
        if bias is not None:
            grad = torch.cat([grad, (torch.zeros_like(bias) if bias.grad is None else bias.grad)[:, None]], dim=1)
        direction = state["outputs_inverse"] @ grad @ state["inputs_inverse"]
        if bias is None:
            return {weight: direction.view_as(weight)}
        return {weight: direction[:, :-1].reshape(weight.shape), bias: direction[:, -1]}

    def _descend(self, directions: dict[Tensor, Tensor]) -> None:
        """Step by the clipped directions; weights without one step by their gradient."""
        moved = [
            (weight, group["lr"])
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None
        ]
        change = sum((directions[weight] * weight.grad).sum() * lr**2 for weight, lr in moved if weight in directions)
        clip = (self.kl_clip / change).sqrt().clamp(max=1.0) if directions else 1.0
        for weight, lr in moved:
            state = self.state[weight]
            if "velocity" not in state:
                state["velocity"] = torch.zeros_like(weight)
            direction = directions[weight] * clip if weight in directions else weight.grad
            state["velocity"].mul_(self.momentum).add_(direction)
            weight.add_(state["velocity"], alpha=-lr)


def unfolded(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return the vectors that enter each unit, (B, T, D), with a 1 at the end where there is a bias.

    For a convolution these are the patches under its kernel.
    """
    if isinstance(layer, nn.Conv2d):
        padding = layer._reversed_padding_repeated_twice  # (left, right, top, bottom), also for padding="same"
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        rows = F.unfold(F.pad(inputs, padding, mode), layer.kernel_size, layer.dilation, 0, layer.stride).mT
    else:
        rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    return rows if layer.bias is None else F.pad(rows, (0, 1), value=1.0)


def inverses(inputs: Tensor, outputs: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Return (A + p sqrt(damping) I)^-1 and (G + sqrt(damping) / p I)^-1.

    p is kept within 1e-4 .. 1e4, in case one factor is nearly 0.
    """
    ratio = (inputs.trace() / len(inputs)) / (outputs.trace() / len(outputs)).clamp(min=torch.finfo(outputs.dtype).tiny)
    p = ratio.sqrt().clamp(1e-4, 1e4)
    root = damping**0.5
    return damped_inverse(inputs, p * root), damped_inverse(outputs, root / p)


def damped_inverse(factor: Tensor, damping: Tensor) -> Tensor:
    """Return (factor + damping I)^-1, NaN where the factor is not finite: the loop calls that diverged."""
    eye = torch.eye(len(factor), device=factor.device, dtype=factor.dtype)
    try:
        return torch.cholesky_inverse(torch.linalg.cholesky(factor + damping * eye))
    except torch.linalg.LinAlgError:
        return torch.full_like(factor, torch.nan)
