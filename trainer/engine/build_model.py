"""The model of a run: its layers, then its weights and biases."""

import copy
from collections.abc import Callable

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from trainer.base.errors import ConfigError
from trainer.base.layer_factory import LayerFactory
from trainer.base.module_protocols import Pretrained
from trainer.base.origin import origin
from trainer.base.protocols import Calibrated, Criterion, KeepsWeights
from trainer.base.rng import derive, seed_default
from trainer.config import by_name
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import Factory, factory
from trainer.data.splits import Splits
from trainer.engine.contracts import as_config_error, is_lazy, is_own, require_kind, require_outputs
from trainer.engine.memory_format import use_channels_last
from trainer.engine.run import Slots


def make_model(
    cfg: DictConfig,
    data: Splits,
    images: Tensor,
    slots: Slots,
    where: torch.device,
    invocation: Invocation,
) -> nn.Module:
    """Make the layers, fill the model slot, and move the model to the device.

    Args:
        images: some of the training split, for parts that are fitted to them.
    """
    act, norm = factory(cfg, "act", invocation), factory(cfg, "norm", invocation)()
    kit = LayerFactory(act=act, norm=norm, pool=factory(cfg, "pool", invocation), drops=slots.layer)
    shape = tuple(images.shape[1:])  # as the preprocessing leaves it
    seed_default(torch.device("cpu"), derive(cfg.seed, "model"))
    made = make_layers(factory(cfg, "model", invocation), shape, data.outputs, kit)
    model = kit.with_input_norm(made, shape[0])
    if is_own(made) or is_lazy(model):
        try_forward(model, made, images[:2].cpu(), data, invocation)
    for name, change in zip(cfg.reg.get("model", {}), slots.model):
        with as_config_error(f"reg={name}", invocation, "reg.model", change):
            model = change(model)
        require_kind(model, nn.Module, "reg.model", change, f"reg={name}")
    model.to(where)
    use_channels_last(cfg, model, where)
    for module in model.modules():
        if isinstance(module, Calibrated):
            module.calibrate(images)
    return model


def with_own_weights(cfg: DictConfig) -> DictConfig:
    """Return the configuration of a run whose own weights are loaded later: none are fetched for it."""
    if not OmegaConf.select(cfg, "model.pretrained"):
        return cfg
    made = copy.deepcopy(cfg)
    made.model.pretrained = False
    return made


def make_layers(make: Factory, shape: tuple[int, ...], outputs: int, kit: LayerFactory) -> nn.Module:
    """Make a model by the names of its class's parameters.

    Errors: ConfigError; also where an option would have no effect, because the class takes no kit.
    """
    positional, named = by_name.arguments(make.kind, by_name.offers(shape, outputs, kit), make.partial.keywords)
    if unused := [] if kit in (*positional, *named.values()) else [*kit.unlike_default().values()]:
        what = f"has no effect, because {origin(make.kind)} takes no kit; leave it out"
        raise ConfigError(f"{make.invocation.describe('model')}: {unused[0]}, which {what}")
    return make(*positional, **named)


def initialize(
    cfg: DictConfig, model: nn.Module, images: Tensor, targets: Tensor, criterion: Criterion, invocation: Invocation
) -> None:
    """Draw weights, then biases, each from a seed of its own. A pretrained model keeps those it brings along.

    Args:
        images, targets: of the training split, for parts that are fitted to them.
    """
    init = factory(cfg, "init", invocation)()
    if any(isinstance(module, Pretrained) and module.pretrained for module in model.modules()):
        require_pretrained_kept(init, invocation)
        return
    seed_default(images.device, derive(cfg.seed, "init"))
    with as_config_error("init", invocation, "init", init):
        init(model, images, targets, factory(cfg, "act", invocation))
    seed_default(images.device, derive(cfg.seed, "bias"))
    bias = factory(cfg, "bias", invocation)()
    with as_config_error("bias", invocation, "bias", bias):
        bias(model, targets, criterion)


@torch.no_grad()
def try_forward(model: nn.Module, made: nn.Module, images: Tensor, data: Splits, invocation: Invocation) -> None:
    """Send samples through a model before anything else is made for it: lazy layers take their shapes.

    Args:
        made: the model without what the run has added to it.
    Errors: ConfigError where it does not give outputs (B, K).
    """
    training = model.training
    with as_config_error("model", invocation, "model", made):
        outputs = model.eval()(images)
    model.train(training)
    require_outputs(outputs, data.train.targets[: len(images)], made, invocation.describe("model"))


def require_pretrained_kept(init: Callable, invocation: Invocation) -> None:
    """Refuse an init or bias that was typed for a pretrained model. Errors: ConfigError."""
    for name in ("init", "bias"):
        if name in invocation.typed_keys and not (name == "init" and isinstance(init, KeepsWeights)):
            chosen, weights = invocation.describe(name), f"the pretrained weights of {invocation.describe('model')}"
            raise ConfigError(f"{chosen}: would overwrite {weights}; leave it out")
