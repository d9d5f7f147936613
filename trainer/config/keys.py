"""The one table of what each key of the configuration is. Every list of keys elsewhere is a filter of it.

A resumed run keeps its own values of all keys but those of ACCESS, TASK, COMMAND and LAUNCH. Beside resume=, keys of
RECOVERY, RECORDING and MACHINE may be typed with other values, LENGTH with a larger one, and SHAPES, LOCATION and START
only where resume.allow names them (rundir/resume.py). No torch here.
"""

from collections.abc import Iterable
from enum import Enum
from functools import cache


class Role(Enum):
    """Role of a key: the part of a run or a command that it decides."""

    SHAPES = "the run itself: another value trains another model"
    LOCATION = "the folder or the file of the data, or of a teacher: another one may hold other data"
    START = "the weights that a fresh run begins with: a resumed one does not read them again"
    LENGTH = "how long the run is: a longer run continues a shorter one"
    RECOVERY = "what a run does when its loss is not finite or a batch does not fit"
    RECORDING = "when a run logs and saves"
    MACHINE = "where and with what the run computes: results are the same"
    ACCESS = "what the command may write or fetch outside the run's directory: only what is typed for it counts"
    TASK = "which task is executed"
    COMMAND = "what this command reads and where it writes"
    LAUNCH = "how this command was launched: never saved with a run"


# Keys of conf/config.yaml. A longer key comes before the group it belongs to; a group's own keys shape the run.
ROLES = {
    "seed": Role.SHAPES,
    "epochs": Role.LENGTH,
    "batch_size": Role.SHAPES,
    "accumulate": Role.SHAPES,
    "drop_last": Role.SHAPES,
    "eval_every": Role.SHAPES,
    "precision": Role.SHAPES,
    "compile": Role.SHAPES,
    "compile_mode": Role.SHAPES,
    "monitor": Role.SHAPES,
    "scale_lr": Role.SHAPES,
    "base_batch": Role.SHAPES,
    "on_nan": Role.RECOVERY,
    "on_oom": Role.RECOVERY,
    "log_every": Role.RECORDING,
    "save_every": Role.RECORDING,
    "device": Role.MACHINE,
    "devices": Role.MACHINE,
    "threads": Role.MACHINE,
    "channels_last": Role.MACHINE,
    "residency": Role.MACHINE,
    "workers": Role.MACHINE,
    "eval_batch_size": Role.MACHINE,
    "data.root": Role.LOCATION,
    "data.path": Role.LOCATION,
    "model.weights": Role.START,
    "pretrain.run": Role.START,
    "pretrain.teacher": Role.LOCATION,
    "data.cache": Role.ACCESS,
    "data.download": Role.ACCESS,
    "task": Role.TASK,
    "output": Role.COMMAND,
    "runs": Role.COMMAND,
    "allow": Role.COMMAND,
    "resume": Role.LAUNCH,
    "sweep": Role.LAUNCH,
    "hydra": Role.LAUNCH,
}
EVALUATION = (
    "precision",
    "compile",
    "tta",
    "norm.fuse",
    "data.root",
    "data.path",
)  # task=evaluate takes them beside the machine's


@cache
def role_of(key: str) -> Role:
    """Return the role of a key: that of its longest prefix in the table; a key of a group shapes the run."""
    parts = key.lstrip("+~").partition("@")[0].replace("/", ".").split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((ROLES[prefix] for prefix in prefixes if prefix in ROLES), Role.SHAPES)


def key_of(override: str) -> str:
    """Return the key of an override KEY=VALUE, without the plus signs of one that Hydra is to add."""
    return override.partition("=")[0].lstrip("+")


def owner_of(key: str, places: Iterable[str]) -> str | None:
    """Return the group, or the key that holds an option, to which a key belongs: its longest prefix in `places`."""
    return max((place for place in places if key.startswith(f"{place}.")), key=len, default=None)


def belongs_to_run(key: str) -> bool:
    """Return whether the key is a setting of a run: tables and HParams show it."""
    return role_of(key) not in (Role.TASK, Role.COMMAND, Role.LAUNCH)


def is_kept(key: str) -> bool:
    """Return whether a resumed run keeps its own value of the key where none is typed."""
    return belongs_to_run(key) and role_of(key) is not Role.ACCESS


def is_of_command(key: str) -> bool:
    """Return whether the key changes no result: a task over finished runs takes it from its own command line."""
    return role_of(key) in (Role.MACHINE, Role.ACCESS)


def is_saved(key: str) -> bool:
    """Return whether config.yaml and overrides.txt of a run hold the key."""
    return role_of(key) is not Role.LAUNCH


def shapes_run(key: str) -> bool:
    """Return whether another value of the key makes another run, which a checkpoint cannot continue.

    Those of LOCATION and START may: another folder can hold other data.
    """
    return role_of(key) in (Role.SHAPES, Role.LOCATION, Role.START)


def makes_another_job(key: str) -> bool:
    """Return whether two values of the key make two jobs of a sweep."""
    return shapes_run(key) or role_of(key) is Role.LENGTH


def is_location(key: str) -> bool:
    """Return whether the value of the key is a path: of the data, of a teacher, of weights that a run begins with."""
    return role_of(key) in (Role.LOCATION, Role.START)


def is_of_fresh_run(key: str) -> bool:
    """Return whether only a fresh run reads the key."""
    return role_of(key) is Role.START


def is_named(key: str) -> bool:
    """Return whether the name of a run's directory holds the key."""
    return role_of(key) in (Role.SHAPES, Role.LOCATION, Role.START, Role.LENGTH, Role.TASK)


def counts_in_evaluation(key: str) -> bool:
    """Return whether task=evaluate takes the key from the command line instead of the run's config.yaml."""
    known = (key.partition("@")[0] == name or key.startswith(f"{name}.") for name in EVALUATION)
    return is_of_command(key) or any(known)
