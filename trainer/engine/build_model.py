"""The model of a run: its layers, then its weights and biases."""

from collections.abc import Callable

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from trainer.base.errors import ConfigError
from trainer.base.layer_factory import LayerFactory
from trainer.base.protocols import Calibrated, Criterion, KeepsWeights, Pretrained
from trainer.base.rng import derive, seed_default
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.data.splits import Splits
from trainer.engine.dry_run import as_config_error
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
    model = kit.with_input_norm(factory(cfg, "model", invocation)(shape, data.outputs, kit), shape[0])
    for name, change in zip(cfg.reg.get("model", {}), slots.model):
        with as_config_error(f"reg={name}", invocation):
            model = change(model)
    model.to(where)
    for module in model.modules():
        if isinstance(module, Calibrated):
            module.calibrate(images)
    return model


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
    with as_config_error("init", invocation):
        init(model, images, targets, factory(cfg, "act", invocation))
    seed_default(images.device, derive(cfg.seed, "bias"))
    with as_config_error("bias", invocation):
        factory(cfg, "bias", invocation)()(model, targets, criterion)


def require_pretrained_kept(init: Callable, invocation: Invocation) -> None:
    """Refuse an init or bias that was typed for a pretrained model. Errors: ConfigError."""
    for name in ("init", "bias"):
        if name in invocation.typed_keys and not (name == "init" and isinstance(init, KeepsWeights)):
            chosen, weights = invocation.describe(name), f"the pretrained weights of {invocation.describe('model')}"
            raise ConfigError(f"{chosen}: would overwrite {weights}; leave it out")
