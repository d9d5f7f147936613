"""Resume a run: find it, merge its overrides with those typed, and check what has changed. No torch here."""

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from trainer.base.clock import steps_of
from trainer.base.errors import ConfigError, DataError
from trainer.base.plain_files import require_plain
from trainer.base.text import as_command, as_typed, from_here, printable
from trainer.config import auto_rate, catalog, keys, synonyms
from trainer.config.hydra_context import Invocation
from trainer.config.keys import Role, key_of, role_of
from trainer.config.quoting import as_value, quote, unquote
from trainer.config.schema import Key
from trainer.rundir import locations
from trainer.rundir.reader import at_present, completed_summary, read_config, read_overrides
from trainer.rundir.saved_options import defaults_of, flat
from trainer.rundir.status import Status

TOLERANT_TASKS = ("compare",)  # show runs as far as their files can be read
RESUMED = ("train", "recipe", "lottery")  # tasks that go on where they stopped
LISTED = 5  # keys that have changed
FIXED_PARTS = ("optimizer", "model", "averaging")  # the state of one class does not fit another


def expand(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a command; of one that resumes, those of its run followed by those typed, which win.

    `resume=auto` without an unfinished run is dropped: a new run starts. Errors: ConfigError, DataError.
    """
    typed = {key_of(text): text.partition("=")[2] for text in overrides}
    target = typed.get("resume", typed.get("resume.run"))
    epochs = typed.get("epochs", "")
    if target is None:
        if epochs.startswith("+"):
            what = "epochs can only be added to a run that is resumed"
            raise ConfigError(f"epochs={epochs}: {what}; write resume=RUN epochs={epochs}")
        return list(overrides)
    if not target:
        raise ConfigError("resume=: needs a run's directory, or auto for the newest unfinished run of this command")
    own = [text for text in overrides if key_of(text) not in ("resume", "resume.run")]
    if target == "auto":
        directory = newest_unfinished(own, Path(unquote(typed.get("output", "outputs"))))
    else:
        directory = Path(unquote(target))
    if directory is None:
        print("train: note: resume=auto found no unfinished run of this command; starting a new one", file=sys.stderr)
        return own
    require_plain(directory, f"resume={printable(directory)}")
    before = read_overrides(directory)
    if epochs.startswith("+"):
        total = extended(directory, epochs)
        own = [f"epochs={total}" if key_of(text) == "epochs" else text for text in own]
    if measured := next((text for text in own if auto_rate.is_auto(text) and text not in before), None):
        what = "a run that is resumed keeps its learning rate"
        raise ConfigError(f"{measured}: {what}; leave it out, or type a number and resume.allow=[{key_of(measured)}]")
    task = require_resumable(directory, before, typed.get("task"))
    saved = read_config(directory)
    before = [*before, *defaults_of(saved, before), *locations.pinned(saved, before)]
    kept = {key_of(text): text for text in before if key_of(text) not in typed and is_kept(plain_key(text), task)}
    require_options(directory, kept.values())
    return [*kept.values(), *own, f"resume.run={quote(directory)}"]


def require_resumable(directory: Path, before: Iterable[str], typed: str | None) -> str:
    """Return the task that a directory is of, one that goes on. Errors: DataError where it does not, ConfigError.

    Args:
        before: the overrides of the directory.
        typed: task=... beside resume=; None where there is none.
    """
    task = next((unquote(text.partition("=")[2]) for text in before if key_of(text) == "task"), RESUMED[0])
    if typed is None and task not in RESUMED:
        what = f"holds what task={printable(task)} has written, and no training to resume"
        raise DataError(f"resume={printable(directory)}: {what}; repeat its command without resume=")
    if typed in RESUMED and typed != task:
        raise ConfigError(f"task={typed} resume={printable(directory)}: is of task={printable(task)}; leave task= out")
    return task


def is_kept(key: str, task: str) -> bool:
    """Return whether a command that resumes takes a key from its directory, where none is typed.

    Args:
        task: that the directory is of.
    """
    return keys.is_kept(key) or (task != RESUMED[0] and role_of(key) is Role.TASK and not key.endswith("_target_"))


def require_options(directory: Path, overrides: Iterable[str]) -> None:
    """Check that the options of a run are there, of which some may be the user's own. Errors: ConfigError."""
    for text in overrides:
        group, _, option = text.partition("=")
        known = group not in catalog.groups() or group in catalog.MULTI_SELECT or option in catalog.options(group)
        if not known and not synonyms.meant_option(group, option):
            what = f"its {printable(text)} is an option of your own; add --config-dir DIR, the folder that holds it"
            raise ConfigError(f"resume={printable(directory)}: {what}, and allow=[PACKAGE] where it names one")


def command_to_resume(directory: Path, invocation: Invocation) -> str:
    """Return the command that resumes a run, with what counts on the command line alone, to paste into a shell."""
    given = [*catalog.config_dirs(), *invocation.allow_overrides]
    return as_command("train", f"resume={as_value(from_here(directory))}", *given)


def extended(directory: Path, added: str) -> int | str:
    """Return `epochs` of a run that is to train longer: by `+10` epochs, or by `+500st` steps.

    They are added to the length that the run was to have, but to the steps it has done where it stopped early.
    Errors: ConfigError, DataError.
    """
    match = re.fullmatch(r"\+(\d+)(st)?", added)
    if match is None:
        raise ConfigError(f"epochs={added}: must add a whole number of epochs or steps, as epochs=+10 or epochs=+500st")
    saved, number = read_config(directory)["epochs"], int(match[1])
    total, summary = steps_of(saved), completed_summary(directory) or {}
    stopped_early = summary.get("status") == Status.STOPPED
    if not stopped_early and (total is None) == (match[2] is None):
        return saved + number if total is None else f"{total + number}st"
    if not summary.get("epochs"):
        counted, unit = ("epochs", "N") if total is None else ("steps", "Nst")
        raise ConfigError(f"epochs={added}: the run counts {counted} (epochs={saved}); write epochs=+{unit}")
    per_epoch = round(summary["steps"] / summary["epochs"])
    before = summary["steps"] if stopped_early else saved * per_epoch if total is None else total
    after = before + (number if match[2] else number * per_epoch)
    return f"{after}st" if after % per_epoch or total is not None else after // per_epoch


def plain_key(override: str) -> str:
    """Return the key of an override without the signs and quotes that may surround it in a file of foreign origin."""
    return key_of(override).strip(" ~+'\"")


def newest_unfinished(overrides: Sequence[str], output: Path) -> Path | None:
    """Return the newest incomplete run with the same task and overrides, disregarding those that change no result."""

    def shaping(texts: Iterable[str]) -> list[str]:
        kept = (text for text in texts if keys.shapes_run(key_of(text)) or role_of(key_of(text)) is Role.TASK)
        return sorted(text.lstrip("+") for text in kept)

    for file in sorted(output.glob("*/*/overrides.txt"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            same = shaping(read_overrides(file.parent)) == shaping(overrides)
        except DataError:
            continue
        linked = file.parent.is_symlink() or file.parent.parent.is_symlink()
        if same and not linked and completed_summary(file.parent) is None:
            return file.parent
    return None


def check_runs(lists: Iterable[object], task: str | None) -> None:
    """Check the config.yaml of every run that a task will read. Errors: DataError, but for tolerant tasks."""
    if task in TOLERANT_TASKS:
        return
    for directory in (Path(str(each)) for runs in lists if isinstance(runs, list) for each in runs):
        if (directory / "config.yaml").is_file():
            read_config(directory, "runs")


def changes(directory: Path, cfg: DictConfig, known: Mapping[str, Key]) -> dict[str, tuple[object, object]]:
    """Return the keys whose values differ from those of the run in the directory, with old and new value.

    A key that the version which made the run did not have has its default there.

    Args:
        known: the keys of the configuration.
    """
    both = read_config(directory), OmegaConf.to_container(cfg)
    before, now = (dict(flat(locations.absolute(node))) for node in both)
    classes = {path.removesuffix("_target_") for path in now if path.endswith("_target_")}
    replaced = tuple(place for place in classes if before.get(f"{place}_target_") != now[f"{place}_target_"])
    lacking = [path for path in known if path in now and path not in before and not path.startswith(replaced)]
    before |= {path: known[path].default for path in lacking}
    paths = [path for path in {**before, **now} if keys.belongs_to_run(path)]
    return {path: (before.get(path), now.get(path)) for path in paths if before.get(path) != now.get(path)}


def require_same(state: Mapping, config: Mapping, allowed: Collection[str] = ()) -> None:
    """Check that a checkpoint was written under a configuration, which a file may have lost or changed since.

    Args:
        state: of the checkpoint; one of an older version does not hold its configuration.
        config: plain values.
        allowed: keys that may differ, and groups of which every key may.
    Errors: DataError.
    """
    saved = state.get("config")
    before = dict(flat(at_present(saved))) if isinstance(saved, dict) else {}
    now = dict(flat(config))
    pairs = {path: (value, now.get(path)) for path, value in before.items() if role_of(path) is Role.SHAPES}
    changed = {path: pair for path, pair in pairs.items() if repr(pair[0]) != repr(pair[1])}
    if blocked := [path for path in changed if not is_below(path, allowed)]:
        what = "its config.yaml is not the one that its checkpoints were written under"
        raise DataError(f"{what}: {listed({path: changed[path] for path in blocked})}")


def listed(changed: Mapping[str, tuple[object, object]]) -> str:
    """Return `seed was 0, is 1` for each of the first keys that have changed."""
    values = [(path, *map(one_line, pair)) for path, pair in changed.items()]
    return ", ".join(f"{printable(path)} was {before}, is {now}" for path, before, now in values[:LISTED])


def require_allowed(changed: Mapping[str, tuple[object, object]], allowed: Sequence[str]) -> None:
    """Refuse changed keys that make another run, unless resume.allow names them. Errors: ConfigError."""
    for part in FIXED_PARTS:
        if f"{part}._target_" in changed:
            what = f"another {part} cannot continue from the run's state"
            raise ConfigError(f"resume: {what}; leave {part}= out, or start a new run")
    if blocked := not_allowed(changed, allowed):
        shown = listed({path: changed[path] for path in blocked})
        hint = f"to change it all the same, add resume.allow=[{printable(','.join(blocked))}]"
        if any(role_of(path) is Role.LENGTH for path in blocked):
            hint = f"to train longer, write epochs=+N; {hint}"
        raise ConfigError(f"resume: the configuration of a run cannot change: {shown}\n{hint}")


def not_allowed(changed: Mapping[str, tuple[object, object]], allowed: Sequence[str]) -> list[str]:
    """Return those of the changed keys that make another run, and that resume.allow does not name."""
    return [path for path in changed if not is_below(path, allowed) and makes_another_run(path, *changed[path])]


def is_below(path: str, allowed: Iterable[str]) -> bool:
    """Return whether a key is one of those allowed, or in a group that is."""
    return any(f"{path}.".startswith(f"{key}.") for key in allowed)


def makes_another_run(key: str, before: object, now: object) -> bool:
    """Return whether a changed value makes another run; a longer run is the same."""
    return keys.shapes_run(key) or (role_of(key) is Role.LENGTH and is_shorter(now, before))


def is_shorter(now: int | str, before: int | str) -> bool:
    """Return whether one length is shorter than another; of epochs and steps, only the run itself can tell."""
    if isinstance(now, str) and isinstance(before, str):
        return steps_of(now) < steps_of(before)
    return isinstance(now, int) and isinstance(before, int) and now < before


def one_line(value: object) -> str:
    """Return a value as it is typed, in one line of at most 80 characters."""
    return printable(as_typed(value)).replace("\n", " ")[:80]
