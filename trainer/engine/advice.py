"""Advice before a run: settings that work against one another, one line each with its reason, three lines at most.

This file and remarks.py are the only ones of the machinery that name techniques: they are about them.
"""

from collections.abc import Callable, Iterator

from omegaconf import OmegaConf
from torch import nn

from trainer.base.layers import common_rate
from trainer.base.text import as_typed
from trainer.config import auto_rate, catalog, schema
from trainer.engine.setup import Setup

MAX_LINES = 3
QUASI_NEWTON = ("lbfgs", "bfgs", "newton")
RANDOM = (
    "dropout",
    "dropout_scaled",
    "spatial_dropout",
    "alpha_dropout",
    "dropconnect",
    "stochastic_depth",
)
BOUNDED = ("sigmoid", "hard_sigmoid", "tanh", "softsign")
SELU_INITS = ("lecun_normal", "lecun_uniform", "auto", "lsuv", "data_dependent")
MIRRORING = ("flip", "ten_crop")
SHRINKING_REGS = ("l2", "elastic_net", "weight_decay")
SHRINKING_KEYS = ("weight_decay", "l2_strength")  # of optimizers
AVERAGING_OPTIMIZERS = ("lookahead", "ranger", "schedule_free")
MUCH_FASTER = 20  # times the usual learning rate
STRONG_PENALTY = 0.1
SMALL_BATCH = 8  # samples, for statistics of a batch


def advice(setup: Setup) -> list[str]:
    """Return lines of advice on a built run, the weightiest first."""
    return [line for rule in RULES for line in rule(setup)][:MAX_LINES]


def curvature_of_noise(setup: Setup) -> Iterator[str]:
    name, run = setup.chosen["optimizer"], setup.run
    if name not in QUASI_NEWTON:
        return
    if run.batch_size * run.accumulate < len(run.train):
        reason = "the loss it measures curvature on changes with every batch"
        yield f"optimizer={name} with batch_size={setup.cfg.batch_size}: {reason}; try batch_size=full"
    noise = [*(f"reg={reg}" for reg in sorted(setup.chosen["reg"] & set(RANDOM)))]
    noise += [f"aug={aug}" for aug in setup.cfg.aug]
    if noise:
        reason = "its curvature compares gradients of different random draws"
        yield f"optimizer={name} with {noise[0]}: {reason}; try it without {noise[0]}, or optimizer=adam"


def high_learning_rate(setup: Setup) -> Iterator[str]:
    for path, option in setup.optimizers.items():
        known = schema.keys(catalog.file("optimizer", option), path)
        usual = known[f"{path}.lr"].default if f"{path}.lr" in known else None
        lr = common_rate(setup.run.optimizer, "base_lr")
        measured = any(map(auto_rate.is_auto, setup.invocation.overrides))
        typed = setup.invocation.typed_keys
        chosen = measured or ("experiment" in typed and not {path, f"{path}.lr"} & typed)
        if usual and lr >= MUCH_FASTER * usual and not chosen:
            times = f"{lr / usual:{'.0f' if lr < 1e6 * usual else '.0e'}} times"
            default = f"the {as_typed(usual)} that is the default of {path}={option}"
            yield f"{path}.lr={as_typed(lr)}: {times} {default}; large steps often diverge"


def strong_penalty(setup: Setup) -> Iterator[str]:
    for name, settings in setup.cfg.reg.get("loss", {}).items():
        if settings.get("strength", 0) >= STRONG_PENALTY:
            key = f"reg.loss.{name}.strength"
            reason = "against a mean loss this outweighs the data"
            yield f"{key}={as_typed(settings.strength)}: {reason}; try {key}=1e-4"


def decay_twice(setup: Setup) -> Iterator[str]:
    decays = {**setup.cfg.reg.get("loss", {}), **setup.cfg.reg.get("weights", {})}
    shrinking = [f"reg={name}" for name in SHRINKING_REGS if name in decays and decays[name].strength]
    for key in (f"{path}.{name}" for path in setup.optimizers for name in SHRINKING_KEYS):
        if strength := OmegaConf.select(setup.cfg, key):
            shrinking.append(f"{key}={as_typed(strength)}")
    if len(shrinking) > 1:
        yield f"{' and '.join(shrinking)}: both shrink the weights; try only one of them"


def averaged_zeros(setup: Setup) -> Iterator[str]:
    means = [f"averaging={setup.chosen['averaging']}"] if setup.chosen["averaging"] != "none" else []
    means += [f"{path}={name}" for path, name in setup.optimizers.items() if name in AVERAGING_OPTIMIZERS]
    if means and "l1_proximal" in setup.chosen["reg"]:
        reason = "a mean of weights is 0 only where all of them are, so that few zeros are left"
        other = "averaging=none" if means[0].startswith("averaging") else "optimizer=adam"
        yield f"reg=l1_proximal with {means[0]}: {reason}; try {other}"


def self_normalising(setup: Setup) -> Iterator[str]:
    act, init = setup.chosen["act"], setup.chosen["init"]
    if "alpha_dropout" in setup.chosen["reg"] and act != "selu":
        reason = "it keeps the mean and variance that only act=selu has"
        yield f"reg=alpha_dropout with act={act}: {reason}; try reg=dropout, or act=selu"
    if act == "selu" and init not in SELU_INITS:
        yield f"act=selu with init={init}: it keeps its variance with init=lecun_normal"


def saturation(setup: Setup) -> Iterator[str]:
    act, init = setup.chosen["act"], str(setup.chosen["init"])
    if act not in BOUNDED or not setup.has_layer("act"):
        return
    if act in ("sigmoid", "hard_sigmoid"):
        yield f"act={act}: each layer shrinks the gradient to a quarter or less; try act=relu, act=tanh"
    if init.startswith("he_"):
        reason = "its factor 2 makes up for the half that ReLU cuts off"
        yield f"init={init} with act={act}: {reason}; try init=xavier_{init.removeprefix('he_')}, init=auto"


def unused(setup: Setup) -> Iterator[str]:
    for group, alternatives in (("act", "model=cnn"), ("pool", "model=cnn"), ("norm", "model=mlp, model=cnn")):
        if setup.chosen[group] != catalog.defaults()[group] and not setup.has_layer(group):
            reason = f"model={setup.chosen['model']} has no place for it, so that it does nothing"
            yield f"{group}={setup.chosen[group]}: {reason}; try {alternatives}"


def own_schedule(setup: Setup) -> Iterator[str]:
    found = next((f"{path}={name}" for path, name in setup.optimizers.items() if name == "schedule_free"), None)
    if found and setup.chosen["sched"] != "constant":
        reason = "its average takes the place of a schedule"
        yield f"{found} with sched={setup.chosen['sched']}: {reason}; try sched=constant"


def unseen_views(setup: Setup) -> Iterator[str]:
    tta = setup.chosen["tta"]
    mirrors = tta in MIRRORING or (tta == "multi_scale" and setup.cfg.tta.mirror)
    if mirrors and "flip" not in setup.cfg.aug:
        yield f"tta={tta} without aug=flip: the model has never seen a mirrored image; try aug=[flip]"


def inputs(setup: Setup) -> Iterator[str]:
    option, act, run = setup.chosen["preprocess"], setup.chosen["act"], setup.run
    if option == "whiten_zca" and len(run.data.input_shape) == 3:
        reason = "it lifts the noise of fine detail to the strength of the rest"
        yield f"preprocess={option} on images: {reason}; try preprocess=channel_standardize"
    if option in ("pca", "whiten_pca") and any(isinstance(module, nn.Conv2d) for module in run.model.modules()):
        reason = "components side by side are no neighbours, as pixels are"
        yield f"preprocess={option} with model={setup.chosen['model']}: {reason}; try model=mlp"
    if option in ("none", "minmax") and act in BOUNDED:
        reason = "inputs that are not centred push its units to one side"
        yield f"preprocess={option} with act={act}: {reason}; try preprocess=standardize"


def small_batches(setup: Setup) -> Iterator[str]:
    size = setup.run.batch_size
    if setup.chosen["norm"] == "batch" and size < SMALL_BATCH:
        reason = "means over so few samples are noise"
        yield f"norm=batch with batch_size={size}: {reason}; try norm=group, or a larger batch_size"


def without_effect(setup: Setup) -> Iterator[str]:
    types = {type(module) for module in setup.run.model.modules()}
    for name, make in zip(setup.cfg.reg.get("layer", {}), setup.run.slots.layer):
        if type(make()) not in types:
            reason = (
                f"model={setup.chosen['model']} has no layer of the kind that it drops from, so that it does nothing"
            )
            yield f"reg={name}: {reason}; try model=mlp, model=cnn"


RULES: tuple[Callable[[Setup], Iterator[str]], ...] = (
    curvature_of_noise,
    high_learning_rate,
    strong_penalty,
    without_effect,
    saturation,
    decay_twice,
    averaged_zeros,
    self_normalising,
    small_batches,
    unseen_views,
    inputs,
    unused,
    own_schedule,
)
