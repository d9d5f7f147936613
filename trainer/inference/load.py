"""Trained models, loaded without the data that they were trained on. Nothing in a run's files is executed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from trainer.base import device
from trainer.base.errors import ConfigError, DataError
from trainer.base.fitted import from_plain
from trainer.base.paths import expanded
from trainer.base.plain_files import read_plain
from trainer.base.rng import preserved_generators
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.config.targets import LIBRARIES, locate
from trainer.data.splits import Split, Splits
from trainer.engine.build import make_criterion
from trainer.engine.build_model import make_model
from trainer.engine.recovery import newest_state
from trainer.engine.run import Slots
from trainer.inference.model import Ensemble, TrainedModel
from trainer.preprocess import FITTED
from trainer.rundir import checkpoint, description, reader
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.description import TENSORS, Description
from trainer.rundir.integrity import damaged_files
from trainer.rundir.weights_file import WEIGHTS, parsed_safetensors


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


def build(
    described: Description, weights: Mapping[str, Tensor], where: torch.device, allow: tuple[str, ...], source: str
) -> TrainedModel:
    """Return the model that a description is of. Errors: ConfigError, DataError."""
    cfg = OmegaConf.create({**described.config, "compile": False})
    words = (f"allow=[{','.join(allow)}]",) if allow else ()
    invocation = Invocation(overrides=words, choices=described.choices)
    try:
        if OmegaConf.select(cfg, "model.pretrained"):
            cfg.model.pretrained = False  # its weights are here
        module = make_module(cfg, described, where, invocation)
        criterion = make_criterion(cfg, described.task, invocation)
        views = factory(cfg, "tta", invocation)()
        apply = make_preprocess(described, allow)
    except ConfigError as error:
        raise DataError(f"cannot be made from its description: {error}") from None
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        raise DataError(f"its description is damaged ({printable(error)})") from None
    try:
        module.load_state_dict(dict(weights))
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise DataError(f"its weights do not fit its description ({reason})") from None
    return TrainedModel(
        module=module.eval().requires_grad_(False),
        preprocess=apply,
        criterion=criterion,
        views=views,
        description=described,
        device=where,
        autocast=device.autocast(where, cfg.get("precision", "fp32")),
        source=source,
    )


def make_module(cfg: OmegaConf, described: Description, where: torch.device, invocation: Invocation) -> nn.Module:
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
