"""The data of a run: a data set of the project, a class that loads splits, or a Dataset of torch."""

from collections.abc import Sequence
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import class_at, factory
from trainer.data import dataset
from trainer.data.splits import Splits, keep_train_samples, select_half
from trainer.engine.contracts import as_config_error, require_splits
from trainer.engine.lengths import ALL, samples_per_batch


def load_data(cfg: DictConfig, invocation: Invocation) -> Splits:
    """Load the data set, `data.half` of its classes, and `data.train_samples` of its training samples.

    Errors: UserError.
    """
    made = make_data(cfg, invocation)
    with as_config_error("data", invocation, "data", made):
        data: Splits = made.load()
    require_splits(data, made, invocation.describe("data"))
    half = cfg.data.get("half", ALL)
    try:
        data = data if half == ALL else select_half(data, half)
    except ValueError as error:
        raise ConfigError(f"data.half={half}: {error}") from error
    wanted = cfg.data.get("train_samples", ALL)
    try:
        data = data if wanted == ALL else keep_train_samples(data, wanted, cfg.data.get("split_seed", 0))
    except ValueError as error:
        raise ConfigError(f"data.train_samples={as_typed(wanted)}: {error}") from error
    count = len(data.train)
    if cfg.batch_size == "full" or samples_per_batch(cfg, count, invocation) == cfg.batch_size:
        return data
    note = (
        f"batch_size={cfg.batch_size}: larger than the {count:,} training samples, so that each step takes all of them"
    )
    return replace(data, notes=(*data.notes, note))


def make_data(cfg: DictConfig, invocation: Invocation) -> object:
    """Return the data set: what the class makes, or one that reads its samples where it is a Dataset of torch.

    Keys of the node that such a class has no argument for are those of the reader: data.val_fraction, data.task.
    """
    kind = class_at(cfg, "data", invocation)
    if not dataset.is_dataset(kind):
        return factory(cfg, "data", invocation)()
    of_reader = [key for key in dataset.KEYS if key in cfg.data and key not in dataset.parameters_of(kind)]
    settings = {key: cfg.data[key] for key in of_reader}
    make = factory(without(cfg, of_reader), "data", invocation)
    where = invocation.describe("data")
    with as_config_error("data", invocation):
        return dataset.OwnDataset(make=make, where=where, keep=cfg.residency != "stream", **settings)


def without(cfg: DictConfig, keys: Sequence[str]) -> DictConfig:
    """Return a configuration whose node `data` lacks some keys."""
    rest = cfg.copy()
    rest.data = OmegaConf.masked_copy(cfg.data, [key for key in cfg.data if key not in keys])
    return rest
