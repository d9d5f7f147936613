"""Advice before a run: decisions that work against one another, one line each with its reason, three lines at most."""

from collections.abc import Callable, Iterator

from omegaconf import DictConfig
from torch import nn

from trainer.config import catalog, hydra_context
from trainer.engine.run import Run

MOST = 3
QUASI_NEWTON = ("lbfgs", "bfgs", "newton")
RANDOM = ("dropout", "dropout_scaled", "spatial_dropout", "alpha_dropout", "dropconnect", "stochastic_depth")
BOUNDED = ("sigmoid", "hard_sigmoid", "tanh", "softsign")


def advice(cfg: DictConfig, run: Run) -> list[str]:
    """What to say about a run that is built, the weightiest first."""
    chosen = hydra_context.choices() | {"reg": {name for slot in cfg.reg.values() for name in slot}}
    return [line for lint in LINTS for line in lint(cfg, run, chosen)][:MOST]


def curvature_of_noise(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    if chosen["optimizer"] not in QUASI_NEWTON:
        return
    name = chosen["optimizer"]
    if run.batch_size * run.accumulate < len(run.train):
        yield f"optimizer={name} with batch_size={cfg.batch_size}: the loss it measures curvature on changes with every batch; try batch_size=full"
    noise = [*(f"reg={reg}" for reg in sorted(chosen["reg"] & set(RANDOM))), *(f"aug={aug}" for aug in cfg.aug)]
    if noise:
        yield f"optimizer={name} with {noise[0]}: its curvature compares gradients of different random draws; try leave {noise[0]} out, optimizer=adam"


def rate(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    for place in ("optimizer", *(key for key in chosen if key.startswith("optimizer."))):
        group = place.partition(".")[0]
        keys = catalog.keys(catalog.file(group, chosen[place]), place)
        usual = keys[f"{place}.lr"].default if f"{place}.lr" in keys else None
        lr = run.optimizer.param_groups[0]["base_lr"]
        if usual and lr >= 20 * usual:
            digits = ".0f" if lr < 1e6 * usual else ".0e"
            yield f"{place}.lr={catalog.as_typed(lr)}: {lr / usual:{digits}} times the {catalog.as_typed(usual)} that {place}={chosen[place]} begins with; large steps often diverge"


def penalty(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    for name, keys in cfg.reg.get("loss", {}).items():
        if keys.get("strength", 0) >= 0.1:
            yield f"reg.loss.{name}.strength={catalog.as_typed(keys.strength)}: against a mean loss this outweighs the data; try 1e-4"


def decay_twice(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    shrinking = [f"reg={name}" for name in ("l2", "elastic_net", "weight_decay") if name in chosen["reg"]]
    if cfg.optimizer.get("weight_decay"):
        shrinking.append(f"optimizer.weight_decay={catalog.as_typed(cfg.optimizer.weight_decay)}")
    if len(shrinking) > 1:
        yield f"{' and '.join(shrinking)}: both shrink the weights; try one of them"


def self_normalising(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    act, init = chosen["act"], chosen["init"]
    if "alpha_dropout" in chosen["reg"] and act != "selu":
        yield f"reg=alpha_dropout with act={act}: it keeps the mean and variance that only act=selu has; try reg=dropout, act=selu"
    if act == "selu" and init not in ("lecun_normal", "lecun_uniform", "auto", "lsuv", "data_dependent"):
        yield f"act=selu with init={init}: it keeps its variance with init=lecun_normal"


def saturation(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    act, init = chosen["act"], chosen["init"]
    if not any(type(module).__name__.lower() == act.replace("_", "") for module in run.model.modules()):
        return  # no hidden layer, or a model that brings its own
    if act in ("sigmoid", "hard_sigmoid"):
        yield f"act={act}: each layer shrinks the gradient to a quarter or less; try act=relu, act=tanh"
    if act in BOUNDED and str(init).startswith("he_"):
        yield f"init={init} with act={act}: its factor 2 makes up for the half that ReLU cuts off; try init=xavier_{init[3:]}, init=auto"


def unused(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    kinds = {kind.__name__ for module in run.model.modules() for kind in type(module).__mro__}
    for group in ("act", "pool"):
        if chosen[group] != catalog.defaults()[group] and cfg[group]._target_.rpartition(".")[2] not in kinds | {
            "Identity"
        }:
            yield f"{group}={chosen[group]}: model={chosen['model']} has no place for it, so that it does nothing; try model=cnn"
    if chosen["norm"] != "none" and not any("Norm" in kind for kind in kinds):
        yield f"norm={chosen['norm']}: model={chosen['model']} has no place for it, so that it does nothing; try model=mlp, model=cnn"


def own_schedule(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    if chosen["optimizer"] == "schedule_free" and chosen["sched"] != "constant":
        yield f"optimizer=schedule_free with sched={chosen['sched']}: its average stands in for a schedule; try sched=constant"


def unseen_views(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    mirrors = chosen["tta"] in ("flip", "ten_crop") or (chosen["tta"] == "multi_scale" and cfg.tta.mirror)
    if mirrors and "flip" not in cfg.aug:
        yield f"tta={chosen['tta']} without aug=flip: the model has never seen a mirrored image; try aug=[flip]"


def inputs(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    if chosen["preprocess"] == "whiten_zca" and len(run.data.input_shape) == 3:
        yield f"preprocess={chosen['preprocess']} on images: it lifts the noise of fine detail to the strength of the rest; try channel_standardize"
    if chosen["preprocess"] in ("pca", "whiten_pca") and any(
        isinstance(module, nn.Conv2d) for module in run.model.modules()
    ):
        yield f"preprocess={chosen['preprocess']} with model={chosen['model']}: components side by side are no neighbours, as pixels are; try model=mlp"
    if chosen["preprocess"] in ("none", "minmax") and chosen["act"] in BOUNDED:
        yield f"preprocess={chosen['preprocess']} with act={chosen['act']}: inputs that are not centred push its units to one side; try standardize"


def small_batches(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    if chosen["norm"] == "batch" and run.batch_size < 8:
        yield f"norm=batch with batch_size={run.batch_size}: means over so few samples are noise; try norm=group, a larger batch_size"


def without_effect(cfg: DictConfig, run: Run, chosen: dict) -> Iterator[str]:
    kinds = {type(module) for module in run.model.modules()}
    for name, make in zip(cfg.reg.get("layer", {}), run.slots.layer):
        if type(make()) not in kinds:
            yield f"reg={name}: model={chosen['model']} has no layer of the kind that it drops from, so that it does nothing; try model=mlp, model=cnn"


LINTS: tuple[Callable[[DictConfig, Run, dict], Iterator[str]], ...] = (
    curvature_of_noise, rate, penalty, without_effect, saturation, decay_twice, self_normalising, small_batches,
    unseen_views, inputs, unused, own_schedule,
)  # fmt: skip
