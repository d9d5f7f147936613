"""The weight decay that a recipe searches: the key that holds it, and what has to be added where a run has none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed
from trainer.config.rule import is_number
from trainer.rundir.saved_options import flat, selected_options

ADDED = "weight_decay"  # the option of reg that is added: with it every optimizer decays alike
ADDED_KEY = "reg.weights.weight_decay.strength"
PENALTIES = ("weight_decay", "l2")  # options of reg whose strength is one
USUAL = 0.01  # where the run's own is 0


@dataclass(frozen=True, kw_only=True)
class Decay:
    """Key of the weight decay.

    Args:
        key: None where none is searched.
        value: of the run; 0 where it has none.
        added: overrides that a run needs besides, as `reg=[weight_decay]`.
    """

    key: str | None
    value: float = 0.0
    added: tuple[str, ...] = ()

    @property
    def middle(self) -> float:
        """The value around which it is searched."""
        return self.value or USUAL


def find_decay(cfg: DictConfig, wanted: str) -> Decay:
    """Return the weight decay of a run.

    Args:
        wanted: `auto` for that of reg or of the optimizer, or else one that is added; `none`; or its key.
    Errors: ConfigError if the key does not exist, or its value is not a number.
    """
    if wanted == "none":
        return Decay(key=None)
    values = dict(flat(OmegaConf.to_container(cfg)))
    if wanted != "auto":
        if not is_number(values.get(wanted)):
            known = f"its value {as_typed(values[wanted])} is not a number" if wanted in values else ""
            fault = known or "this run has no such key"
            raise ConfigError(f"task.decay={wanted}: {fault}; write the key of a weight decay, auto or none")
        return Decay(key=wanted, value=values[wanted])
    for key in decays_in(values):
        return Decay(key=key, value=values[key])
    names = [name for name in selected_options("reg", OmegaConf.to_container(cfg.reg), "").split("+") if name != "none"]
    return Decay(key=ADDED_KEY, added=(f"reg=[{','.join([*names, ADDED])}]",))


def decays_in(values: Mapping[str, object]) -> Iterator[str]:
    """Yield the keys of a configuration, flat, that hold a weight decay: of reg first, then of the optimizer."""
    numbers = [key for key, value in values.items() if is_number(value)]
    ends = tuple(f".{name}.strength" for name in PENALTIES)
    yield from (key for key in numbers if key.startswith("reg.") and key.endswith(ends))
    yield from (key for key in numbers if key.startswith("optimizer.") and key.endswith(".weight_decay"))
