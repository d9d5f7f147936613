"""Parts of trained models, from the files of their runs: description, weights, network, preprocessing.

None of it needs the data, and nothing in a run's files is executed.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from trainer.base.errors import ConfigError, DataError, UserError
from trainer.base.fitted import from_plain
from trainer.base.plain_files import read_plain
from trainer.base.protocols import Apply
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.targets import LIBRARIES, locate
from trainer.data.splits import Split, Splits
from trainer.engine.build_model import make_model, with_own_weights
from trainer.engine.recovery import newest_state
from trainer.engine.run import Slots
from trainer.preprocess import FITTED
from trainer.rundir import checkpoint, description, reader
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.description import TENSORS, Description
from trainer.rundir.integrity import damaged_files
from trainer.rundir.weights_file import WEIGHTS, parsed_safetensors


def read_model(place: Path, where: torch.device) -> tuple[Description, dict[str, Tensor], str]:
    """Return the description and the best weights of a run, and a note where those are not of the file that has them.

    That is weights.safetensors; of a run that has not ended, or whose file is damaged, the newest checkpoint, if there
    is any.
    Errors: DataError.
    """
    if place.is_file():
        return *read_weights(place, where), ""
    if not place.is_dir():
        raise DataError("no such run or file")
    summary = reader.completed_summary(place)
    if summary is not None and WEIGHTS not in [*damaged_files(place, summary)] and (place / WEIGHTS).is_file():
        return *read_weights(place / WEIGHTS, where), ""
    state, _ = newest_state(place, where)
    if state is None:
        if (place / WEIGHTS).is_file() and summary is None:
            return *read_weights(place / WEIGHTS, where), ""
        if summary is not None and (place / WEIGHTS).is_file():
            raise DataError(f"its {WEIGHTS} is damaged, and it has no checkpoint")
        raise DataError(f"not a run with weights; it must hold {WEIGHTS} or checkpoints/")
    best = checkpoint.best_step(state)
    weights = state["weights"] if best is None else Checkpoints(place).weights_of(best, where)
    note = "" if summary is None else f"{WEIGHTS} is damaged or gone; its weights are read from a checkpoint"
    return description.from_state(state.get("description")), weights, note


def read_weights(path: Path, where: torch.device) -> tuple[Description, dict[str, Tensor]]:
    """Return the description and the weights in a file. Errors: DataError."""
    try:
        tensors, text = parsed_safetensors(read_plain(path))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"not a file of weights in the format safetensors ({error})") from None
    if text is None:
        raise DataError("has weights without a description of their model; it is not of this program, or too old")
    weights = {name: value.to(where) for name, value in tensors.items() if not is_of_preprocess(name, text)}
    return description.from_json(text, tensors), weights


def is_of_preprocess(name: str, text: str) -> bool:
    """Return whether a tensor is one of the preprocessing, as its description says."""
    return name.startswith(f"{TENSORS}.") and json.dumps(name) in text


def make_network(
    described: Description, weights: Mapping[str, Tensor], where: torch.device, allow: tuple[str, ...]
) -> tuple[nn.Module, Apply]:
    """Return the frozen network of a description with its weights, and its fitted preprocessing. Errors: DataError."""
    cfg, invocation = settings_of(described, allow)
    with damage_told():
        module = make_module(cfg, described, where, invocation)
        apply = make_preprocess(described, allow)
    try:
        module.load_state_dict(dict(weights))
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise DataError(f"its weights do not fit its description ({reason})") from None
    return module.eval().requires_grad_(False), apply


def settings_of(described: Description, allow: tuple[str, ...]) -> tuple[DictConfig, Invocation]:
    """Return the configuration of a description, and its options."""
    cfg = with_own_weights(OmegaConf.create({**described.config, "compile": "off"}))
    words = (f"allow=[{','.join(allow)}]",) if allow else ()
    return cfg, Invocation(overrides=words, choices=described.choices)


@contextmanager
def damage_told() -> Iterator[None]:
    """Turn what goes wrong where parts are made from a description into a DataError."""
    try:
        yield
    except ConfigError as error:
        raise DataError(f"cannot be made from its description: {error}") from None
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise DataError(f"its description is damaged ({printable(error)})") from None


def make_module(cfg: DictConfig, described: Description, where: torch.device, invocation: Invocation) -> nn.Module:
    """Return the fresh model of a description, with the layers that the run added to it. Errors: ConfigError."""
    rng = torch.Generator().manual_seed(0)
    samples = torch.rand((4, *described.input_shape), generator=rng).to(where)  # of no meaning; for their shape
    split = Split(samples, torch.zeros(len(samples), described.outputs))
    data = Splits(train=split, val=split, test=split, task=described.task, classes=described.classes)
    layers, changes = (OmegaConf.select(cfg, f"reg.{slot}") or {} for slot in ("layer", "model"))
    slots = Slots(
        layer=[factory(cfg, f"reg.layer.{name}", invocation) for name in layers],
        model=[factory(cfg, f"reg.model.{name}", invocation)() for name in changes],
    )
    return make_model(cfg, data, samples, slots, where, invocation)


def make_preprocess(described: Description, allow: tuple[str, ...]) -> object:
    """Return the fitted preprocessing. Errors: ConfigError for a class of a package that is not allowed, DataError."""
    if described.preprocess is None:
        option = described.choices.get("preprocess")
        what = f"preprocess={option}" if option else "its preprocessing"
        raise DataError(f"{what} could not be stored; let its `fit` return a dataclass of tensors, numbers and lists")

    def find(name: str) -> type:
        return FITTED[name] if name in FITTED else locate(name, "preprocess", "preprocess", (*LIBRARIES, *allow))

    try:
        apply = from_plain(described.preprocess, find)
        if apply(torch.zeros(1, *described.inputs.shape)).shape != (1, *described.input_shape):
            raise ValueError("it makes samples of another shape")
        return apply
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DataError(f"the description of its preprocessing is damaged ({printable(error)})") from None
