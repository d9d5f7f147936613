"""A run built from its configuration: each part of the loop from its node."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
import yaml
from omegaconf import DictConfig
from torch import Tensor, nn

from trainer.base import device
from trainer.base.compiler import leave_out_compiler
from trainer.base.errors import ConfigError, MachineError
from trainer.base.hooks import tasks_of
from trainer.base.layers import parameter_groups
from trainer.base.metrics import Metric, metric_named, score_of
from trainer.base.module_protocols import HasNormalization
from trainer.base.pixel_space import PixelSpace, changes_pixels
from trainer.base.protocols import (
    Apply,
    Calibrated,
    ChosenByTask,
    Criterion,
    GoesByModel,
    Invertible,
    ObservesLoss,
    UsesCriterion,
    WatchesModel,
)
from trainer.base.rng import derive
from trainer.config import auto_rate, catalog
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.model_first import settled, settled_invocation
from trainer.config.targets import LIBRARIES, locate
from trainer.data.inspection import notes_on
from trainer.data.loader import Loader
from trainer.data.splits import Splits
from trainer.engine.build_averaging import make_averaging
from trainer.engine.build_data import load_data
from trainer.engine.build_model import initialize, make_model, with_own_weights
from trainer.engine.compilation import Compilation
from trainer.engine.contracts import as_config_error, require_kind, require_learning_rates
from trainer.engine.decide import decide
from trainer.engine.dry_run import dry_run
from trainer.engine.fine_tuning import FineTuning, prepare
from trainer.engine.lengths import make_clock, samples_per_batch, save_interval
from trainer.engine.optimizer_groups import merge_equal_groups
from trainer.engine.parameter_rates import with_factors_of_init
from trainer.engine.progress import Progress
from trainer.engine.run import Run, Slots
from trainer.engine.stages import Plan, plan_pretraining
from trainer.engine.try_step import try_step


def build_run(
    cfg: DictConfig, invocation: Invocation | None = None, data: Splits | None = None, begins: bool = True
) -> Run:
    """Build and check everything a run is made of, with its data where they are loaded already.

    Args:
        begins: whether the run begins here, with model.weights; else its own weights are loaded later.
    Errors: UserError, before anything is written.
    """
    invocation = settled_invocation(invocation or Invocation())
    cfg = settled(cfg if begins else with_own_weights(cfg), invocation.overrides)
    try:
        return assemble(cfg, invocation, data, begins)
    except Exception as error:
        if not device.out_of_memory(error):
            raise
        what = f"the run does not fit into the memory of {device.pick(cfg.device)}"
        raise MachineError(f"{invocation.describe('model')}: {what}; try a smaller model, residency=stream") from None


def assemble(cfg: DictConfig, invocation: Invocation, data: Splits | None, begins: bool) -> Run:
    """Make the parts of a run from their nodes, and try them out. Errors: UserError, those of memory."""
    device.use_threads(cfg.threads)
    where = device.pick(cfg.device)
    data = data or load_data(cfg, invocation)
    data = with_notes(data, notes_on(data))
    apply, splits = fit_preprocess(cfg, data, invocation), (data.train, data.val, data.test)
    train, val, test = (Loader(split, apply, where, residency=cfg.residency, workers=cfg.workers) for split in splits)
    batch_size, clock = samples_per_batch(cfg, len(train), invocation), make_clock(cfg, len(train), invocation)
    sched = factory(cfg, "sched", invocation)()
    monitor = make_monitor(cfg, data, sched, invocation)
    criterion = make_criterion(cfg, data.task, invocation)
    slots = make_slots(cfg, data.task, criterion, invocation)
    sampler = factory(cfg, "sampler", invocation)()
    images = sample_batch(train, cfg.seed)
    model = make_model(cfg, data, images, slots, where, invocation)
    initialize(cfg, model, images, train.targets, criterion, invocation)
    tuning, plan = begin_with(cfg, model, images, data, apply, invocation, begins)
    samples = batch_size * cfg.accumulate
    save_steps, save_seconds = save_interval(cfg.save_every, clock)
    run = Run(
        data=with_notes(data, tuning.notes),
        train=train,
        val=val,
        test=test,
        model=model,
        forward=model,
        compiling=None if cfg.compile == "off" else Compilation(part=cfg.compile, mode=cfg.compile_mode),
        criterion=criterion,
        optimizer=make_optimizer(cfg, model, samples, invocation, tuning.factors),
        sched=factory(cfg, "warmup", invocation)()(sched),
        plateau=sched if isinstance(sched, ObservesLoss) else None,
        sampler=require_task(sampler, "sampler", invocation.choice("sampler"), data.task, invocation),
        aug=make_augmentations(cfg, data.task, images, apply, invocation),
        slots=replace(slots, loss=[*slots.loss, *plan.lessons]),
        averaging=make_averaging(cfg, model, sched, invocation),
        tta=factory(cfg, "tta", invocation)(),
        clock=clock,
        device=where,
        autocast=device.autocast(where, cfg.precision),
        seed=cfg.seed,
        batch_size=batch_size,
        accumulate=cfg.accumulate,
        drop_last=cfg.drop_last,
        eval_batch_size=cfg.eval_batch_size,
        eval_steps=clock.steps(cfg.eval_every),
        log_steps=cfg.log_every,
        save_steps=save_steps,
        save_seconds=save_seconds,
        skips_nonfinite=cfg.on_nan == "skip",
        monitor=monitor,
        progress=Progress(losses=torch.zeros(len(train), device=where), start=tuning.summary),
        frozen=tuning.frozen,
        stages=plan.stages,
        lr_factors=tuning.factors,
    )
    dry_run(run, cfg, invocation)
    try_step(run, cfg, invocation, lambda copied: make_optimizer(cfg, copied, samples, invocation, tuning.factors))
    return decide(cfg, run)


def begin_with(
    cfg: DictConfig,
    model: nn.Module,
    images: Tensor,
    data: Splits,
    apply: Apply,
    invocation: Invocation,
    begins: bool,
) -> tuple[FineTuning, Plan]:
    """Return how an initialised model is fine-tuned and pretrained. Errors: ConfigError, DataError."""
    pretraining = factory(cfg, "pretrain", invocation)()
    tuning = prepare(cfg, model, images, data, invocation, begins, pretraining)
    return tuning, plan_pretraining(pretraining, model, images, data, apply, invocation)


def with_notes(data: Splits, notes: Iterable[str]) -> Splits:
    """Return the data with more notes, each once."""
    return replace(data, notes=tuple(dict.fromkeys((*data.notes, *notes))))


def fit_preprocess(cfg: DictConfig, data: Splits, invocation: Invocation) -> Apply:
    """Return the preprocessing, fitted to the training split. Errors: ConfigError."""
    preprocess, model = factory(cfg, "preprocess", invocation)(), factory(cfg, "model", invocation)
    with as_config_error("preprocess", invocation, "preprocess", preprocess):
        if isinstance(preprocess, GoesByModel) and isinstance(model.kind, HasNormalization):
            mean, deviation = model.kind.normalization(**model.partial.keywords)
            apply = preprocess.for_channels(mean, deviation, data.input_shape[0])
        else:
            apply = preprocess.fit(data.train.sample())
    require_kind(apply, Callable, "preprocess", preprocess, invocation.describe("preprocess"))
    return apply


def make_slots(cfg: DictConfig, task: str, criterion: Criterion, invocation: Invocation) -> Slots:
    """Make the regularisers, each in its slot, in the order given. Errors: ConfigError."""
    filled = {}
    for slot, options in cfg.reg.items():
        if slot not in Slots.__dataclass_fields__:
            raise ConfigError(f"reg.{slot}: no such slot; choose one of {', '.join(Slots.__dataclass_fields__)}")
        factories = {name: factory(cfg, f"reg.{slot}.{name}", invocation) for name in options}
        made = {name: make() for name, make in factories.items()}  # a layer's settings are checked here, too
        if slot == "layer":
            filled[slot] = list(factories.values())
        else:
            filled[slot] = [require_task(part, "reg", name, task, invocation) for name, part in made.items()]
    for transform in filled.get("batch", ()):
        if isinstance(transform, UsesCriterion):
            transform.use(criterion)
    return Slots(**filled)


def make_criterion(cfg: DictConfig, task: str, invocation: Invocation) -> Criterion:
    """Make the loss, or the one that it chooses for this kind of data. Errors: ConfigError."""
    criterion = factory(cfg, "loss", invocation)()
    if isinstance(criterion, ChosenByTask):
        return criterion.for_task(task)
    return require_task(criterion, "loss", invocation.choice("loss"), task, invocation)


def require_task(technique: object, group: str, option: str | None, task: str, invocation: Invocation) -> object:
    """Return a technique that is meant for this kind of data. Errors: ConfigError, which names the options that are."""
    tasks = tasks_of(technique)
    if tasks is None or task in tasks:
        return technique
    targets = {
        name: yaml.safe_load(catalog.file(group, name).read_text()).get("_target_") for name in catalog.options(group)
    }
    known = {name: tasks_of(locate(target, group, group, LIBRARIES)) for name, target in targets.items() if target}
    fitting = [f"{group}={name}" for name, kinds in known.items() if kinds and task in kinds]
    hint = f"; try {', '.join(fitting)}" if fitting else ""
    data = f"{invocation.describe('data')} is {task}"
    chosen = f"{group}={option}" if option else group
    raise ConfigError(f"{chosen}: is for {' or '.join(tasks)}, but {data}{hint}")


def sample_batch(train: Loader, seed: int) -> Tensor:
    """Return up to 256 random training samples, for parts that are fitted to some of the data once."""
    rng = torch.Generator(train.targets.device)
    rng.manual_seed(derive(seed, "init batch"))
    return train.batch(torch.randperm(len(train), generator=rng, device=rng.device)[:256])[0]


def make_augmentations(
    cfg: DictConfig, task: str, images: Tensor, apply: Apply, invocation: Invocation
) -> list[Callable]:
    """Make the augmentations in the order given, and calibrate those that are computed from preprocessed images.

    Those of pixels act between the inverse of the preprocessing `apply` and the preprocessing. Errors: ConfigError.
    """
    made = []
    for name in cfg.aug:
        transform = require_task(factory(cfg, f"aug.{name}", invocation)(), "aug", name, task, invocation)
        on_pixels = changes_pixels(transform)
        if on_pixels and not isinstance(apply, Invertible):
            why = f"acts on pixels in [0, 1], and {invocation.describe('preprocess')} has no way back to them"
            raise ConfigError(f"aug={name}: {why}; give what its `fit` returns a method `invert(values)`")
        if isinstance(transform, Calibrated):
            with as_config_error(f"aug={name}", invocation):
                transform.calibrate(apply.invert(images) if on_pixels else images)
        made.append(PixelSpace(transforms=[transform], apply=apply) if on_pixels else transform)
    return made


def make_optimizer(
    cfg: DictConfig, model: nn.Module, samples: int, invocation: Invocation, factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Make the optimizer over parameters that decay and others, at the learning rate for `samples` a step.

    Where that is `auto`, at the usual one of the optimizer: task=train measures it on the run that was built.

    Args:
        factors: on the learning rate, by the name of each parameter; none for 1.
    """
    optimizer = unwatched_optimizer(cfg, model, samples, invocation, factors)
    if isinstance(optimizer, WatchesModel):
        with as_config_error("optimizer", invocation, "optimizer", optimizer):
            optimizer.watch(model)
    return optimizer


def unwatched_optimizer(
    cfg: DictConfig, model: nn.Module, samples: int, invocation: Invocation, factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Make the optimizer without hooks in the model."""
    if cfg.get("compile", "off") == "off":
        leave_out_compiler()
    cfg = auto_rate.with_defaults(cfg, invocation.choices)
    make = factory(cfg, "optimizer", invocation)
    factors = with_factors_of_init(factors or {}, cfg, model, make, invocation)
    optimizer = make(parameter_groups(model, factors))
    require_learning_rates(optimizer, invocation.describe("optimizer"), bool(factors))
    scale = samples / cfg.base_batch if cfg.scale_lr == "linear" else 1.0
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"] = group["lr"] * scale * group.get("lr_factor", 1.0)
    merge_equal_groups(optimizer)
    return optimizer


def learning_rates(cfg: DictConfig, run: Run, invocation: Invocation) -> list[float]:
    """Return the base learning rates of a run's parameter groups under another configuration. Errors: ConfigError."""
    other = unwatched_optimizer(cfg, run.model, run.batch_size * run.accumulate, invocation, run.lr_factors)
    return [group["base_lr"] for group in other.param_groups]


def make_monitor(cfg: DictConfig, data: Splits, sched: Callable, invocation: Invocation) -> Metric:
    """Return the metric by which the best evaluation is chosen. Errors: ConfigError where the data cannot give it."""
    score = score_of(data.task)
    if cfg.monitor not in ("auto", "loss", score.name):
        has = f"{invocation.describe('data')} is {data.task} and has loss and {score.name}"
        raise ConfigError(f"monitor={cfg.monitor}: {has}; try monitor={score.name}")
    if not len(data.val) and (cfg.reg.get("stop") or isinstance(sched, ObservesLoss)):
        uses = [f"reg={name}" for name in cfg.reg.get("stop", {})] or [invocation.describe("sched")]
        raise ConfigError(f"data.val_fraction=0: {uses[0]} needs a validation split; try data.val_fraction=0.1")
    return score if cfg.monitor == "auto" else metric_named(cfg.monitor)
