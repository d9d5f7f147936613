"""Trained models, loaded without the data that they were trained on. Nothing in a run's files is executed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.base import device
from trainer.base.errors import DataError
from trainer.base.paths import expanded
from trainer.base.rng import preserved_generators
from trainer.base.text import printable
from trainer.config.instantiate import factory
from trainer.engine.build import make_criterion
from trainer.engine.trained import damage_told, make_network, read_model, settings_of
from trainer.inference.model import Ensemble, TrainedModel
from trainer.rundir.description import Description


def load(
    run: str | Path | Sequence[str | Path],
    *,
    device: str = "auto",
    allow: Sequence[str] = (),
    tta: Mapping | None = None,
    precision: str | None = None,
) -> TrainedModel | Ensemble:
    """Return the model of a run with its best weights, ready to predict.

    Args:
        run: its directory, or a weights.safetensors alone; several, for the average of their answers.
        device: auto, cpu, cuda, mps or cuda:N.
        allow: packages of your own whose classes the model is made of.
        tta: node of a test-time augmentation in place of the run's own.
        precision: fp32 or bf16 in place of the run's own.
    Errors: ConfigError, DataError, MachineError.
    """
    if not isinstance(run, str | Path):
        kept = {"device": device, "allow": allow, "tta": tta, "precision": precision}
        return Ensemble(members=[load(each, **kept) for each in run])
    place, where = expanded(run), pick(device)
    name = printable(place)
    try:
        described, weights, note = read_model(place, where)
        changed = {key: value for key, value in (("tta", tta), ("precision", precision)) if value is not None}
        described = replace(described, config={**described.config, **changed})
        with preserved_generators(where):
            return replace(build(described, weights, where, tuple(allow), name), note=note)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def pick(name: str) -> torch.device:
    """Return the device of a name. Errors: ConfigError, MachineError."""
    return device.pick(name)


def build(
    described: Description, weights: Mapping[str, Tensor], where: torch.device, allow: tuple[str, ...], source: str
) -> TrainedModel:
    """Return the model that a description is of. Errors: DataError."""
    module, apply = make_network(described, weights, where, allow)
    cfg, invocation = settings_of(described, allow)
    with damage_told():
        criterion = make_criterion(cfg, described.task, invocation)
        views = factory(cfg, "tta", invocation)()
    return TrainedModel(
        module=module,
        preprocess=apply,
        criterion=criterion,
        views=views,
        description=described,
        device=where,
        autocast=device.autocast(where, cfg.get("precision", "fp32")),
        source=source,
    )
