"""Layers as models, initialisers, regularisers and optimizers see them: weight layers, fans, norms, residual blocks."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from trainer.base.module_protocols import DropsInTraining, LinearInput, Normalizes, Pretrained
from trainer.base.protocols import Calibrated

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
# _NormBase: batch and instance norms.
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def weight_layers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the dense layers and convolutions with a trainable weight, in the order in which they were made."""
    for module in model.modules():
        if isinstance(module, LAYERS) and weight_of(module).requires_grad:
            yield module


def weight_of(layer: nn.Module) -> Tensor:
    """Return the parameter behind a layer's weight, also where the weight is parametrised (DropConnect)."""
    return layer.parametrizations.weight.original if parametrize.is_parametrized(layer, "weight") else layer.weight


def with_linear_input(layer: nn.Module) -> nn.Module:
    """Return a weight layer, marked as one that takes no activation's output (hook linear_input)."""
    layer.linear_input = True
    return layer


def takes_activation(layer: nn.Module) -> bool:
    """Return whether a weight layer, not the first, takes an activation's output, as far as its model says."""
    return not (isinstance(layer, LinearInput) and layer.linear_input)


def decay_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters that penalties and weight decay act on: matrices and kernels, in order.

    The module that owns a parameter decides: dense layers and convolutions own one, and so does any other module but
    norms and embeddings under a name with the word `weight` (attention's in_proj_weight, an LSTM's weight_hh_l0).
    Biases, scales of norms and of layers, slopes of PReLU, class tokens and tables of positions are left out.
    """
    found = dict.fromkeys(weight for module in model.modules() for weight in matrices_of(module))
    return [weight for weight in found if weight.requires_grad]


def matrices_of(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the matrices and kernels that a module owns itself."""
    if isinstance(module, LAYERS):
        yield weight_of(module)
        return
    for name, weight in module._parameters.items():  # a fifth of the time of named_parameters
        if weight is not None and weight.dim() > 1 and "weight" in name.split("_") and len(weight) < weight.numel():
            if not is_norm(module) and not isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                yield weight


def trained_parameters(model: nn.Module, left_out: Collection[str] = frozenset()) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters with their names, without those that are frozen on purpose.

    Those are the frozen weights of modules that are fitted to the data, or that bring their weights along, and those
    that the user has named. Any other weight is meant to train.

    Args:
        left_out: names that the user has frozen.
    """
    weights = dict(model.named_parameters())
    frozen = {id(weight) for weight in weights.values() if not weight.requires_grad}
    owners = (module for module in model.modules() if brings_weights(module)) if frozen else ()
    on_purpose = frozen & {id(weight) for module in owners for weight in module.parameters()}
    for name, weight in weights.items():
        if id(weight) not in on_purpose and name not in left_out:
            yield name, weight


def brings_weights(module: nn.Module) -> bool:
    """Return whether a module is computed from the data, or comes with trained weights."""
    return isinstance(module, Calibrated) or (isinstance(module, Pretrained) and module.pretrained)


def parameter_groups(model: nn.Module, factors: Mapping[str, float] | None = None) -> list[dict]:
    """Return the trainable parameters as groups of an optimizer: those that decay, then those that do not.

    The key `decays` says which. The second group has weight_decay 0, whichever optimizer, within a wrapper or not.

    Args:
        factors: on the learning rate, by name; each makes groups of its own, which have it as `lr_factor`.
    """
    decaying = dict.fromkeys(decay_parameters(model))
    others = [weight for weight in model.parameters() if weight.requires_grad and weight not in decaying]
    groups = [
        {"params": [*decaying], "decays": True},
        {"params": others, "decays": False, "weight_decay": 0.0},
    ]
    return [part for group in groups if group["params"] for part in by_factor(group, model, factors)]


def by_factor(group: dict, model: nn.Module, factors: Mapping[str, float] | None) -> list[dict]:
    """Return a group as one for each factor on the learning rate, in the order of the parameters."""
    if not factors:
        return [group]
    names, found = {weight: name for name, weight in model.named_parameters()}, {}
    for weight in group["params"]:
        found.setdefault(factors.get(names[weight], 1.0), []).append(weight)
    return [{**group, "params": weights, "lr_factor": factor} for factor, weights in found.items()]


def common_rate(optimizer: Optimizer, key: str = "lr") -> float:
    """Return the learning rate of an optimizer without the factors of its groups.

    Args:
        key: `lr`, or `base_lr` for that without the schedule.
    """
    group = optimizer.param_groups[0]
    return group[key] / group.get("lr_factor", 1.0)


def decaying_by_rate(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[list[Tensor], float]]:
    """Yield, for each group of the optimizer, its weights that decay and its learning rate."""
    decaying = {*decay_parameters(model)}
    for group in optimizer.param_groups:
        if weights := [weight for weight in group["params"] if weight in decaying]:
            yield weights, group["lr"]


def fans(layer: nn.Module) -> tuple[int, int]:
    """Return fan-in and fan-out of a weight layer; for a convolution kernel area x channels of one group."""
    weight = weight_of(layer)  # (outputs, inputs / groups, *kernel)
    area = weight[0, 0].numel()
    return weight.shape[1] * area, weight.shape[0] // getattr(layer, "groups", 1) * area


def is_norm(module: nn.Module) -> bool:
    """Return whether a module normalises its input: a norm of torch.nn, or one with `normalizes`."""
    if is_of_torch(type(module)):
        return isinstance(module, NORMS)
    return isinstance(module, NORMS) or (isinstance(module, Normalizes) and module.normalizes)


def drops_in_training(module: nn.Module) -> bool:
    """Return whether a module leaves something out in training: dropout, or one with `drops_in_training`."""
    if is_of_torch(type(module)):
        return isinstance(module, nn.modules.dropout._DropoutNd)
    own = isinstance(module, DropsInTraining) and module.drops_in_training
    return own or isinstance(module, nn.modules.dropout._DropoutNd)


@cache
def is_of_torch(kind: type[nn.Module]) -> bool:
    """Return whether a class is one of torch.nn, which has no hooks: to ask for them takes 20 us a module."""
    return kind.__module__.startswith("torch.nn.")


@contextmanager
def preserved_modes(model: nn.Module) -> Iterator[None]:
    """Give every module of a model its mode back, training or evaluation, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def stop_dropping(model: nn.Module) -> None:
    """Put the layers of a model that drop something in training into evaluation mode."""
    for module in model.modules():
        if drops_in_training(module):
            module.eval()


class Residual(nn.Module):
    """Residual block, after(branch(x) + shortcut(x)) (He et al., 2016, arXiv:1512.03385, eq. 1 and 2).

    Args:
        branch: layers that learn the residual, in order.
        shortcut: identity, or a module that brings x to the branch's shape.
        after: activation behind the sum, or the identity in networks with pre-activation.
    """

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.branch(x) + self.shortcut(x))
