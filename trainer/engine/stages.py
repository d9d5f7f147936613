"""Stages of a pretraining, planned and tried out when a run is built."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.base.protocols import Apply, HasTeacher
from trainer.base.rng import preserved_generators
from trainer.config.hydra_context import Invocation
from trainer.data.splits import Splits
from trainer.engine.contracts import as_config_error, require_kind
from trainer.engine.teacher import load_teacher
from trainer.pretrain.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of a pretraining: stages before the main training, and terms of the main loss."""

    stages: Sequence[Stage] = ()
    lessons: Sequence[Callable] = ()


def plan_pretraining(
    pretraining: object,
    model: nn.Module,
    images: Tensor,
    data: Splits,
    apply: Apply,
    invocation: Invocation,
) -> Plan:
    """Return the plan of a pretraining, tried out on two samples. Errors: ConfigError, DataError.

    Args:
        images: some of the training split, preprocessed by `apply`.
    """
    few, lessons = images[:2], []
    targets = data.train.targets[: len(few)].to(few.device)
    with preserved_generators(few.device), as_config_error("pretrain", invocation, "pretrain", pretraining):
        if isinstance(pretraining, HasTeacher):
            teacher = load_teacher(pretraining.teacher, apply, data, few.device, invocation)
            stages = pretraining.taught_stages(model, teacher, few)
            lessons = [term for term in [pretraining.lesson(teacher)] if term is not None]
        else:
            stages = pretraining.stages(model, few, targets)
        for stage in stages:
            require_kind(stage, Stage, "pretrain", pretraining, invocation.describe("pretrain"))
            try_stage(stage, model, few, targets)
    return Plan(stages=stages, lessons=lessons)


@torch.no_grad()
def try_stage(stage: Stage, model: nn.Module, images: Tensor, targets: Tensor) -> None:
    """Send two samples through what a stage trains. Errors: ValueError."""
    wrapped = stage.wrap(copy.deepcopy(model)).to(images.device).eval()
    wanted, outputs = stage.teach(images) if stage.teach else targets, wrapped(images)
    if outputs.shape != wanted.shape:
        raise ValueError(f"{stage.name}: gives {tuple(outputs.shape)} for targets of {tuple(wanted.shape)}")
