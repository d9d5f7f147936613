"""Description of a run's model, from the run."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from omegaconf import DictConfig, OmegaConf

from trainer.base.fitted import to_plain
from trainer.config import keys
from trainer.config.hydra_context import Invocation
from trainer.data.inputs import ImageInput, Inputs
from trainer.engine.run import Run
from trainer.preprocess import FITTED
from trainer.rundir.description import Description
from trainer.rundir.directory import saved_overrides, versions


def describe_model(run: Run, cfg: DictConfig, invocation: Invocation) -> Description:
    """Return what the model takes and gives, and how it is made without the data."""
    data = run.data
    sample, _ = run.train.batch(torch.arange(1, device=run.device))
    typed = saved_overrides(invocation.overrides)
    return Description(
        task=data.task,
        classes=data.classes,
        inputs=with_type(data.inputs, data.train.images.dtype),
        predicted=data.predicted,
        preprocess=fitted(run.train.preprocess),
        input_shape=tuple(sample.shape[1:]),
        outputs=data.outputs,
        config=shaping(cfg),
        choices={group: option for group, option in invocation.choices.items() if keys.shapes_run(group)},
        command=tuple(text for text in typed if is_of_model(keys.key_of(text))),
        versions=versions(),
    )


def with_type(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Return what the inputs are, of images with the type of the data set's samples."""
    if not isinstance(inputs, ImageInput):
        return inputs
    return replace(inputs, dtype="uint8" if dtype == torch.uint8 else "float32")


def fitted(apply: object) -> object:
    """Return a fitted preprocessing as plain values; None where it is neither a dataclass nor made of such values."""
    try:
        return to_plain(apply, FITTED)
    except TypeError:
        return None


def shaping(cfg: DictConfig) -> dict:
    """Return the settings that shape a run, as plain values, without the paths of its data and of this machine."""
    plain: Mapping = OmegaConf.to_container(cfg, resolve=True)
    return without_paths({key: value for key, value in plain.items() if keys.shapes_run(key)})


def without_paths(node: Mapping, prefix: str = "") -> dict:
    """Return nested settings without those that are paths or say what a command may fetch."""
    kept = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        if keys.shapes_run(path) and not keys.is_location(path):
            kept[key] = without_paths(value, f"{path}.") if isinstance(value, Mapping) else value
    return kept


def is_of_model(key: str) -> bool:
    """Return whether a key decides what the model is, on whatever machine, and from whatever place its data came."""
    return keys.makes_another_job(key) and not keys.is_location(key)
