"""K-FAC: the natural gradient, layer by layer, with the Fisher matrix of each as a Kronecker product."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.base.checks import require
from trainer.base.layers import weight_layers, weight_of
from trainer.optimizer.base import Closure, evaluated


class Kfac(Optimizer):
    """Natural gradient with Kronecker factors (Martens & Grosse, 2015; convolutions: Grosse & Martens, 2016).

    For a layer with inputs a (a 1 appended where it has a bias) and g, the gradient of a sample's own loss by the layer's output:
        A = mean of sum_t a_t a_t^T,  G = mean of sum_t g_t g_t^T / T    (t over the T places of a kernel; T = 1 in dense layers)
        A, G averaged over steps with weight min(1 - 1/n, decay) on the past, n the updates so far
        u = (G + sqrt(damping) / p I)^-1 grad (A + p sqrt(damping) I)^-1,  p^2 = (tr A / dim A) / (tr G / dim G)
        v = momentum v + min(1, sqrt(kl_clip / (lr^2 sum of u * grad))) u,  w = w - lr v
    Dense layers and convolutions with groups=1 are preconditioned; other weights (norms, grouped kernels) take u = grad.
    What it needs of a layer it sees through `watch(model)`; without that it is momentum.

    Args:
        params: weights, or groups of them.
        lr: learning rate, > 0. Paper: none, a step from the exact quadratic.
        momentum: share of the velocity kept, in [0, 1). Ba et al.: 0.9.
        damping: of the Fisher matrix, > 0. Papers: adapted, or tuned.
        decay: largest share of the factors kept at an update, in [0, 1). Paper: 0.95.
        kl_clip: bound on lr^2 u^T F u, the change of the outputs' distribution in a step, > 0. Ba et al.: tuned.
        update_every: steps between two updates of the factors, >= 1.
        invert_every: steps between two inversions, >= 1. Paper: 20.
    Errors: ValueError. Source: arXiv:1503.05671, sections 3, 5 and 6.3; arXiv:1602.01407;
    Ba, Grosse & Martens, "Distributed second-order optimization using Kronecker-factored approximations", 2017 (kl_clip).
    Differs from the papers: g by the targets of the batch (the empirical Fisher matrix), not by targets drawn from the outputs;
    fixed damping; momentum in place of the exact quadratic's.
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
        self.seen: dict[nn.Module, dict] = {}  # sums over what each layer met in the passes of a closure
        self.looking = False
        super().__init__(params, {"lr": lr, "step": 0})

    def watch(self, model: nn.Module) -> None:
        """Look at the layers of the model. Errors: ValueError where there is none to precondition."""
        self.layers = [
            layer
            for layer in weight_layers(model)
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        ]
        if not self.layers:
            raise ValueError("kfac needs a dense layer or a convolution to precondition; try optimizer=momentum")

        def look(
            layer: nn.Module, arguments: tuple[Tensor], output: Tensor
        ) -> None:  # a copy of the model must not copy the optimizer
            if self.looking and layer.training and output.requires_grad:
                self._look(layer, arguments[0].detach(), output)

        for layer in self.layers:
            layer.register_forward_hook(look)

    @torch.no_grad()
    def step(self, closure: Closure) -> Tensor:
        step = self.param_groups[0]["step"]
        self.seen, self.looking = {}, step % self.update_every == 0
        loss = evaluated(closure)
        self.looking = False
        for layer, seen in self.seen.items():
            self._average(layer, seen)
        updates = {}
        for layer in self.layers:
            if weight_of(layer).grad is not None and "inputs" in self.state[weight_of(layer)]:
                updates |= self._natural(layer, step % self.invert_every == 0)
        self._descend(updates)
        self.param_groups[0]["step"] = step + 1
        self.seen = {}
        return loss

    def _look(self, layer: nn.Module, inputs: Tensor, output: Tensor) -> None:
        """Take the factor of the inputs now, that of the outputs when their gradient comes."""
        with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
            rows = places(layer, inputs.to(weight_of(layer).dtype)).flatten(0, 1)  # (B T, D)
            factor, samples = rows.T @ rows, len(inputs)
        version = weight_of(layer)._version
        seen = self.seen.get(layer)
        if seen is None or seen["version"] != version:  # what was seen at other weights (SAM's first pass) is of no use
            seen = self.seen[layer] = {"version": version, "samples": 0, "inputs": 0.0, "outputs": 0.0}
        seen["samples"] += samples
        seen["inputs"] += factor

        def look_back(grad: Tensor) -> None:
            rows = grad.detach().to(factor.dtype)
            rows = rows.flatten(2).mT.flatten(0, 1) if isinstance(layer, nn.Conv2d) else rows.flatten(0, -2)
            seen["outputs"] += rows.T @ rows * (samples / len(rows))

        output.register_hook(look_back)

    def _average(self, layer: nn.Module, seen: dict) -> None:
        """Blend in the means over samples. The loss is a mean: a sample's own gradient is `samples` times the one that came."""
        if not isinstance(seen["outputs"], Tensor):
            return  # no loss depended on this layer
        state = self.state[weight_of(layer)]
        state["updates"] = state.get("updates", 0) + 1
        past = min(1 - 1 / state["updates"], self.decay)
        for name, mean in (
            ("inputs", seen["inputs"] / seen["samples"]),
            ("outputs", seen["outputs"] * seen["samples"]),
        ):
            state[name] = mean if name not in state else state[name].lerp_(mean, 1 - past)

    def _natural(self, layer: nn.Module, invert: bool) -> dict[Tensor, Tensor]:
        weight, bias = weight_of(layer), layer.bias
        state = self.state[weight]
        if invert or "inputs_inverse" not in state:
            state["inputs_inverse"], state["outputs_inverse"] = inverses(
                state["inputs"], state["outputs"], self.damping
            )
        grad = weight.grad.flatten(1)
        if bias is not None:
            grad = torch.cat([grad, (torch.zeros_like(bias) if bias.grad is None else bias.grad)[:, None]], dim=1)
        update = state["outputs_inverse"] @ grad @ state["inputs_inverse"]
        if bias is None:
            return {weight: update.view_as(weight)}
        return {weight: update[:, :-1].reshape(weight.shape), bias: update[:, -1]}

    def _descend(self, updates: dict[Tensor, Tensor]) -> None:
        moved = [
            (weight, group["lr"])
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None
        ]
        change = sum((updates[weight] * weight.grad).sum() * lr**2 for weight, lr in moved if weight in updates)
        clip = (self.kl_clip / change).sqrt().clamp(max=1.0) if updates else 1.0
        for weight, lr in moved:
            state = self.state[weight]
            if "velocity" not in state:
                state["velocity"] = torch.zeros_like(weight)
            state["velocity"].mul_(self.momentum).add_(updates[weight] * clip if weight in updates else weight.grad)
            weight.add_(state["velocity"], alpha=-lr)


def places(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What each unit sums, (B, places, D): patches for a convolution; a 1 at the end where there is a bias."""
    if isinstance(layer, nn.Conv2d):
        padding = layer._reversed_padding_repeated_twice  # (left, right, top, bottom), whatever padding was given as
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        rows = F.unfold(F.pad(inputs, padding, mode), layer.kernel_size, layer.dilation, 0, layer.stride).mT
    else:
        rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
    return rows if layer.bias is None else F.pad(rows, (0, 1), value=1.0)


def inverses(inputs: Tensor, outputs: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """(A + p sqrt(damping) I)^-1 and (G + sqrt(damping) / p I)^-1; p is held to 1e-4 .. 1e4, where one factor is nearly nothing."""
    ratio = (inputs.trace() / len(inputs)) / (outputs.trace() / len(outputs)).clamp(min=torch.finfo(outputs.dtype).tiny)
    p = ratio.sqrt().clamp(1e-4, 1e4)
    root = damping**0.5
    return damped_inverse(inputs, p * root), damped_inverse(outputs, root / p)


def damped_inverse(factor: Tensor, damping: Tensor) -> Tensor:
    eye = torch.eye(len(factor), device=factor.device, dtype=factor.dtype)
    try:
        return torch.cholesky_inverse(torch.linalg.cholesky(factor + damping * eye))
    except torch.linalg.LinAlgError:  # numbers that are not finite: the loop calls that diverged
        return torch.full_like(factor, torch.nan)
