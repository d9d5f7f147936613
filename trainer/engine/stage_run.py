"""A stage of a pretraining, built as a run."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from trainer.base.clock import Clock
from trainer.base.freezing import freeze
from trainer.base.metrics import score_of
from trainer.base.protocols import FromTeacher, ObservesLoss
from trainer.base.rng import derive, seed_default
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.data.loader import Loader
from trainer.engine.build import make_optimizer
from trainer.engine.build_averaging import make_averaging
from trainer.engine.lengths import samples_per_batch, save_interval
from trainer.engine.progress import Progress
from trainer.engine.run import Run
from trainer.pretrain.stage import Stage

Teach = Callable[[Tensor], Tensor]


def stage_run(run: Run, stage: Stage, number: int, cfg: DictConfig, invocation: Invocation) -> Run:
    """Return a run that trains a copy of another run's network, or a part of it, as a stage says.

    It has the settings of the other run, and randomness of its own; rules that stop a run early are left out.

    Args:
        number: of the stage, from 1.
        cfg: of the run, perhaps with a smaller batch.
    """
    seed = derive(run.seed, f"pretrain {number}")
    seed_default(run.device, seed)
    network = copy.deepcopy(run.model)
    frozen = frozenset(freeze(network, stage.frozen.__contains__))
    model = stage.wrap(network).to(run.device)
    batch_size = samples_per_batch(cfg, len(run.train), invocation)
    clock = Clock(total_steps=run.clock.steps(stage.length), steps_per_epoch=run.clock.steps_per_epoch)
    sched = factory(cfg, "sched", invocation)()
    factors = factors_in(model, network, run)
    save_steps, save_seconds = save_interval(cfg.save_every, clock)
    built = replace(
        run,
        model=model,
        forward=model,
        compiling=None,
        optimizer=make_optimizer(cfg, model, batch_size * cfg.accumulate, invocation, factors),
        sched=factory(cfg, "warmup", invocation)()(sched),
        plateau=sched if isinstance(sched, ObservesLoss) else None,
        slots=replace(run.slots, loss=[*own_terms(run)], stop=()),
        averaging=make_averaging(cfg, model, sched, invocation),
        clock=clock,
        seed=seed,
        batch_size=batch_size,
        accumulate=cfg.accumulate,
        eval_steps=clock.steps(cfg.eval_every),
        save_steps=save_steps,
        save_seconds=save_seconds,
        progress=Progress(losses=torch.zeros(len(run.train), device=run.device)),
        frozen=frozen,
        lr_factors=factors,
        stages=(),
        fit_title="",
    )
    return with_teacher(built, stage) if stage.teach else built


def factors_in(model: nn.Module, network: nn.Module, run: Run) -> dict[str, float]:
    """Return the factors on the learning rates of a run's network, by the names in what holds the network."""
    names = {id(weight): name for name, weight in network.named_parameters()}
    own = ((name, run.lr_factors.get(names.get(id(weight), ""), 1.0)) for name, weight in model.named_parameters())
    return dict(own) if run.lr_factors else {}


def own_terms(run: Run) -> Iterator[Callable]:
    """Yield the terms of a run's loss that do not come from a teacher."""
    return (term for term in run.slots.loss if not isinstance(term, FromTeacher))


def with_teacher(run: Run, stage: Stage) -> Run:
    """Return a run whose targets are a teacher's, a regression."""
    task = "regression"
    train, val, test = (TaughtLoader(split, stage.teach) for split in (run.train, run.val, run.test))
    return replace(
        run,
        data=replace(run.data, task=task, classes=()),
        train=train,
        val=val,
        test=test,
        criterion=stage.criterion or run.criterion,
        slots=replace(run.slots, batch=[*run.slots.batch, Taught(stage.teach)]),
        monitor=score_of(task),
        taught=True,
    )


class Taught:
    """Transform of the `batch` slot: the targets become a teacher's, of the images as they are then."""

    def __init__(self, teach: Teach) -> None:
        self._teach = teach

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return images, self._teach(images)


class TaughtLoader:
    """Batches of a split with a teacher's targets in place of the data's.

    Those for training, `batches`, keep the targets of the data: they are taught behind the augmentations.
    """

    def __init__(self, loader: Loader, teach: Teach) -> None:
        self._loader, self._teach = loader, teach

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the samples of `indices` (B,), and what the teacher says of them."""
        images, _ = self._loader.batch(indices)
        return images, self._teach(images)

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples in the order of the split, `size` at a time."""
        for images, _ in self._loader.in_order(size):
            yield images, self._teach(images)
