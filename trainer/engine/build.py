"""From configuration to a run: what the loop takes, made from the nodes of a configuration."""

from collections.abc import Callable
from dataclasses import replace

import torch
import yaml
from omegaconf import DictConfig
from torch import Tensor, nn

from trainer.base import device
from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import decay_parameters
from trainer.base.metrics import SCORE
from trainer.base.rng import derive, seed_default
from trainer.config import catalog
from trainer.config.hydra_context import choice
from trainer.config.instantiate import node
from trainer.config.targets import LIBRARIES, locate
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.engine.dry_run import as_config_error, rehearse
from trainer.engine.run import Progress, Run, Slots
from trainer.search import halving


def slots(cfg: DictConfig, task_kind: str) -> Slots:
    """The regularisers, each in its slot, in the order given."""
    filled = {}
    for slot, techniques in cfg.reg.items():
        if slot not in Slots.__dataclass_fields__:
            raise ConfigError(f"reg.{slot}: no such slot; all: {', '.join(Slots.__dataclass_fields__)}")
        makers = {name: node(cfg, f"reg.{slot}.{name}") for name in techniques}
        if slot == "layer":
            for make in makers.values():
                make()  # a bad number speaks up here, with its key
            filled[slot] = list(makers.values())
        else:
            filled[slot] = [fits(make(), "reg", name, task_kind) for name, make in makers.items()]
    return Slots(**filled)


def fits(technique: object, group: str, option: str | None, task_kind: str) -> object:
    """A technique, if it is meant for this kind of data. Errors: ConfigError, with the options of the group that are."""
    if task_kind in getattr(technique, "tasks", (task_kind,)):
        return technique
    targets = {
        name: yaml.safe_load(catalog.file(group, name).read_text()).get("_target_") for name in catalog.options(group)
    }
    meant = [
        name
        for name, target in targets.items()
        if target and task_kind in getattr(locate(target, group, group, LIBRARIES), "tasks", ())
    ]
    hint = f"; try {', '.join(f'{group}={name}' for name in meant)}" if meant else ""
    raise ConfigError(
        f"{group}={option}: is for {' or '.join(technique.tasks)}, but data={choice('data')} is {task_kind}{hint}"
    )


def build_run(cfg: DictConfig) -> Run:
    """Build and check everything a run is made of. Errors: UserError, before anything is written."""
    device.use_threads(cfg.threads)
    where = device.pick(cfg.device)
    with as_config_error("data"):
        data: Splits = node(cfg, "data")().load()
    with as_config_error("preprocess"):
        apply = node(cfg, "preprocess")().fit(data.train.sample())
    splits = (data.train, data.val, data.test)
    train, val, test = (Loader(split, apply, where, residency=cfg.residency, workers=cfg.workers) for split in splits)
    batch_size = len(train) if cfg.batch_size == "full" else cfg.batch_size
    clock = make_clock(cfg, len(train), batch_size)
    watched = monitor(cfg, data)
    chosen = slots(cfg, data.task)
    chosen = replace(chosen, stop=[*chosen.stop, *halving.stops(watched, cfg.epochs)])
    criterion = fits(node(cfg, "loss")(), "loss", choice("loss"), data.task)
    images = some(train, cfg.seed)
    model = make_model(cfg, data, train, images, chosen, where)
    save_steps, save_seconds = saving(cfg.save_every, clock)
    base_sched = node(cfg, "sched")()
    parts = Run(
        data=data,
        train=train,
        val=val,
        test=test,
        model=model,
        forward=torch.compile(model) if cfg.compile else model,
        criterion=criterion,
        optimizer=make_optimizer(cfg, model, batch_size * cfg.accumulate),
        sched=node(cfg, "warmup")()(base_sched),
        plateau=base_sched if hasattr(base_sched, "observe") else None,
        sampler=fits(node(cfg, "sampler")(), "sampler", choice("sampler"), data.task),
        aug=augmentations(cfg, data.task, images),
        slots=chosen,
        averaging=node(cfg, "averaging")(model),
        tta=node(cfg, "tta")(),
        clock=clock,
        device=where,
        autocast=device.autocast(where, cfg.precision),
        seed=cfg.seed,
        epochs=cfg.epochs,
        batch_size=batch_size,
        accumulate=cfg.accumulate,
        drop_last=cfg.drop_last,
        eval_batch_size=cfg.eval_batch_size,
        eval_steps=clock.steps(cfg.eval_every),
        log_steps=cfg.log_every,
        save_steps=save_steps,
        save_seconds=save_seconds,
        skips=cfg.on_nan == "skip",
        monitor=watched,
        memory=Progress(losses=torch.zeros(len(train), device=where)),
    )
    rehearse(parts, cfg)
    return parts


def make_clock(cfg: DictConfig, samples: int, batch_size: int) -> Clock:
    update = batch_size * cfg.accumulate
    if batch_size > samples:
        raise ConfigError(
            f"batch_size={batch_size}: larger than the {samples} training samples of data={choice('data')}; try batch_size=full"
        )
    if update > samples:
        raise ConfigError(
            f"accumulate={cfg.accumulate}: {cfg.accumulate} batches of {batch_size} are more than the {samples} training samples; try accumulate={samples // batch_size}"
        )
    steps = samples // update if cfg.drop_last else -(-samples // update)
    return Clock(total_steps=steps * cfg.epochs, steps_per_epoch=steps)


def saving(every: str, clock: Clock) -> tuple[int | None, float]:
    """Updates between two checkpoints, or None and the seconds."""
    if every.endswith("min"):
        return None, 60 * float(every.removesuffix("min"))
    return clock.steps(every), 0.0


def make_model(
    cfg: DictConfig, data: Splits, train: Loader, images: Tensor, chosen: Slots, where: torch.device
) -> nn.Module:
    """Layers, then the model slot, then weights and biases, each from a seed of its own; on the device.

    Args:
        images: some of the training split, for what is fitted to them.
    """
    act = node(cfg, "act")
    kit = LayerFactory(act=act, norm=node(cfg, "norm")(), pool=node(cfg, "pool"), drops=chosen.layer)
    shape = tuple(images.shape[1:])  # as the preprocessing leaves it
    seed_default(torch.device("cpu"), derive(cfg.seed, "model"))
    network = node(cfg, "model")(shape, data.outputs, kit)
    model = kit.with_input_norm(network, shape[0])
    for name, change in zip(cfg.reg.get("model", {}), chosen.model):
        with as_config_error(f"reg={name}"):
            model = change(model)
    model.to(where)
    for module in model.modules():
        if hasattr(module, "calibrate"):
            module.calibrate(images)  # layers that are computed from data rather than learned
    if getattr(network, "pretrained", False):
        return untouched(model)
    for name in ("init", "bias"):
        seed_default(where, derive(cfg.seed, name))
        with as_config_error(name):
            node(cfg, name)()(model, images, train.targets, act)
    return model


def some(train: Loader, seed: int) -> Tensor:
    """A random batch of the training split, for what is fitted to it once: up to 256 samples."""
    rng = torch.Generator(train.targets.device)
    rng.manual_seed(derive(seed, "init batch"))
    return train.batch(torch.randperm(len(train), generator=rng, device=rng.device)[:256])[0]


def augmentations(cfg: DictConfig, task_kind: str, images: Tensor) -> list[Callable]:
    """In the order given; those that go by the data's colours have seen some."""
    made = [fits(node(cfg, f"aug.{name}")(), "aug", name, task_kind) for name in cfg.aug]
    for name, transform in zip(cfg.aug, made):
        if hasattr(transform, "calibrate"):
            with as_config_error(f"aug={name}"):
                transform.calibrate(images)
    return made


def untouched(model: nn.Module) -> nn.Module:
    """A model that brings its weights along. Errors: ConfigError where a word asks for others."""
    for name in ("init", "bias"):
        if choice(name) not in (None, catalog.defaults()[name]):
            raise ConfigError(
                f"{name}={choice(name)}: would overwrite the pretrained weights of model={choice('model')}; try {name}={catalog.defaults()[name]}"
            )
    return model


def make_optimizer(cfg: DictConfig, model: nn.Module, update: int) -> torch.optim.Optimizer:
    """The optimizer over the weights that decay and those that do not, at the rate for `update` samples a step."""
    weights, decays = [weight for weight in model.parameters() if weight.requires_grad], {*decay_parameters(model)}
    groups = [
        {"params": [weight for weight in weights if weight in decays]},
        {"params": [weight for weight in weights if weight not in decays]},
    ]
    if "weight_decay" in cfg.optimizer:
        groups[1]["weight_decay"] = 0.0
    optimizer = node(cfg, "optimizer")([group for group in groups if group["params"]])
    if hasattr(optimizer, "watch"):
        optimizer.watch(model)  # methods that need more of a layer than its gradient
    scale = update / cfg.optimizer.base_batch if cfg.optimizer.scale_lr == "linear" else 1.0
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"] = group["lr"] * scale
    return optimizer


def monitor(cfg: DictConfig, data: Splits) -> str:
    score = SCORE[data.task]
    if cfg.monitor not in ("auto", "loss", score):
        raise ConfigError(
            f"monitor={cfg.monitor}: data={choice('data')} is {data.task} and has loss and {score}; try monitor={score}"
        )
    if not len(data.val) and (cfg.reg.get("stop") or choice("sched") == "plateau"):
        raise ConfigError(
            "data.val_fraction=0: early stopping and plateau need a validation split; try data.val_fraction=0.1"
        )
    return score if cfg.monitor == "auto" else cfg.monitor
