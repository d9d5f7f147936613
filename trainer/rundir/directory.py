"""Run directory: created once for each run, and locked while a process writes to it."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from trainer.base.atomic import atomic_write, atomic_write_all, discard_partial
from trainer.base.errors import MachineError
from trainer.base.json_text import as_json, without_nonfinite
from trainer.base.plain_files import require_no_link
from trainer.base.text import printable
from trainer.config import catalog, keys
from trainer.config.hydra_context import Invocation
from trainer.config.private_api import to_yaml
from trainer.config.quoting import unquote
from trainer.rundir import locations
from trainer.rundir.integrity import digest_of_file, digests_of_files, with_digest
from trainer.rundir.reader import SWEEP_OVERRIDES, SWEPT_KEYS
from trainer.rundir.report_folder import REPORT

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

SLUG_LENGTH = 100


def slug(overrides: Sequence[str]) -> str:
    """Return overrides as one part of a path, of at most 100 letters, digits and `._+-`; `defaults` for none.

    `optimizer=adam optimizer.lr=0.1 reg=[l2,dropout]` becomes `adam+lr-0.1+reg-l2-dropout`, without a character that is
    special to a shell, a file system or Hydra's grammar, so that a run's directory can be typed as a value. `reg=[]`
    becomes `reg-none`, and of the path of the data its last part counts.
    """
    named = [re.sub(r"=\[\s*\]$", "=none", text) for text in overrides if keys.is_named(keys.key_of(text))]
    named = [last_part(text) if keys.is_location(keys.key_of(text)) else text for text in named]
    named = [re.sub(r"(?<=\de)\+(?=\d)", "", text) for text in shortened(named)]  # 1e+30 is 1e30, not 1e-30
    safe = "+".join(re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-") for text in named)
    return safe[:SLUG_LENGTH].strip("-.+") or "defaults"


def shortened(overrides: Sequence[str]) -> list[str]:
    """Return overrides so that each begins with what it says, as lists of runs are narrow.

    The option of a group is a word of its own, as `adam` for `optimizer=adam`, but for `none` and a word that stands
    there twice. Of a key the last part is enough, as `lr=0.1` for `optimizer.lr=0.1`, unless two end alike.
    """
    typed = [text.lstrip("+~").partition("=") for text in overrides]
    ends, values = [key.rpartition(".")[2] for key, _, _ in typed], [value for _, _, value in typed]
    return [
        value
        if value != "none" and values.count(value) == 1 and is_option(key.partition(".")[0], value)
        else f"{key if ends.count(end) > 1 else end}{sign}{value}"
        for end, (key, sign, value) in zip(ends, typed)
    ]


def last_part(override: str) -> str:
    """Return an override with the last part of its path: `data.root=cats` for `data.root=/home/me/cats`."""
    key, _, value = override.partition("=")
    return f"{key}={Path(unquote(value)).name}"


def is_option(group: str, value: str) -> bool:
    """Return whether a group has an option of that name."""
    return value in options_of(group, tuple(catalog.extra_folders))


@cache
def options_of(group: str, extra: tuple[Path, ...]) -> frozenset[str]:
    """Return the options of a group.

    Args:
        extra: the folders of the user's own options, for the cache.
    """
    return frozenset(catalog.options(group)) if group in catalog.groups() else frozenset()


def make_unique(parent: Path, name: str, asked: tuple[str, Path] | None = None) -> Path:
    """Make the folder `parent/name`, or the first free one of `parent/name-2`, `parent/name-3`, ...

    Making it claims it: two processes never get the same one. Errors: MachineError if it cannot be made.

    Args:
        asked: key and value that ask for the folder, for the error; None for output=PARENT.
    """
    key, value = asked or ("output", parent)
    subject, hint = f"{key}={printable(value)}", f"choose another place with {key}=DIR"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = parent / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
    except OSError as error:
        raise MachineError(f"{subject}: the folder cannot be made there ({error.strerror}); {hint}") from None
    except ValueError:
        raise MachineError(f"{subject}: not a valid path; {hint}") from None


def folder_of_today(output: Path, *parts: str) -> tuple[Path, datetime]:
    """Return `output/PARTS/DATE`, and the time. Errors: DataError where one of these folders is a link.

    Of a relative output none of the folders on its way may be one: whoever made the current folder may have put it
    there.
    """
    now = datetime.now()
    folder = output.joinpath(*parts, f"{now:%Y-%m-%d}")
    made = [output, *output.parents] if not output.is_absolute() else [output]
    for place in (*made, *(output.joinpath(*parts[: count + 1]) for count in range(len(parts))), folder):
        require_no_link(place, f"output={printable(output)}" if place == output else printable(place))
    return folder, now


def create(output: Path, overrides: Sequence[str], sweep: Path | None = None, exact: Path | None = None) -> Path:
    """Create the directory of a run: `output/DATE/TIME-SLUG`, `SLUG` in a sweep's folder, or `exact`.

    Args:
        exact: the directory to use, which must be new or empty.
    Errors: MachineError, DataError.
    """
    if exact is not None:
        require_no_link(exact, f"hydra.run.dir={printable(exact)}")
        if (there := os.path.isdir(exact)) and any(exact.iterdir()):  # Path.is_dir raises for a name that is too long
            raise MachineError(f"hydra.run.dir={printable(exact)}: not empty; a run needs its own directory")
        return exact if there else make_unique(exact.parent, exact.name, ("hydra.run.dir", exact))
    if sweep is not None:
        return make_unique(sweep, slug(overrides), ("hydra.sweep.dir", sweep))
    folder, now = folder_of_today(output)
    return make_unique(folder, f"{now:%H-%M-%S}-{slug(overrides)}")


def create_for(cfg: DictConfig, invocation: Invocation) -> Path:
    """Create the directory of a command, in the output folder that it was typed with. Errors: as of `create`."""
    return create(Path(cfg.output), invocation.overrides, invocation.sweep, invocation.requested_directory)


def create_with_config(cfg: DictConfig, invocation: Invocation, config: DictConfig | None = None) -> Path:
    """Create the directory of a command that trains nothing, and write its configuration, or another one, into it."""
    directory = create_for(cfg, invocation)
    write_config(directory, cfg if config is None else config, invocation.overrides)
    return directory


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Lock a run's directory for this process, even where its .lock is deleted; that of a dead process is released.

    Errors: MachineError if another process holds it, or it cannot be written to.
    """
    held = FileLock(directory / ".lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise held_error(directory) from None
    except OSError as error:
        raise MachineError(f"{printable(directory)}: cannot be written to ({error.strerror})") from None
    except NotImplementedError as error:  # a file system without locks
        raise MachineError(f"{printable(directory)}: cannot be locked ({error})") from None
    try:
        with held_folder(directory):
            for folder in (directory, directory / REPORT):
                discard_partial(folder)
            yield
    finally:
        held.release()


@contextmanager
def held_folder(directory: Path) -> Iterator[None]:
    """Lock the folder itself, which nobody can replace without the files in it, where the system knows such locks.

    Errors: MachineError if another process holds it.
    """
    if fcntl is None:
        yield
        return
    folder = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise held_error(directory) from None
    except OSError:
        pass  # a file system without locks on folders
    try:
        yield
    finally:
        os.close(folder)


def held_error(directory: Path) -> MachineError:
    """Return the error of a run, or a sweep, that another process holds."""
    what = "another process is writing there; wait until it has ended"
    return MachineError(f"{printable(directory)}: {what}")


def saved_texts(cfg: DictConfig | dict, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """Return the configuration as YAML and the overrides, without what tells only how this command was launched."""
    return to_yaml(saved_config(cfg)), saved_overrides(overrides)


def saved_config(cfg: DictConfig | dict) -> dict:
    """Return the plain values that a run's config.yaml holds, with interpolations as they are written."""
    plain = OmegaConf.to_container(cfg) if OmegaConf.is_config(cfg) else cfg
    return locations.absolute({key: value for key, value in plain.items() if keys.is_saved(key)})


def saved_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that a run's overrides.txt holds."""
    return [text for text in overrides if keys.is_saved(keys.key_of(text))]


def in_lines(texts: Iterable[str]) -> bytes:
    """Return texts as a file with a line for each."""
    return "".join(f"{text}\n" for text in texts).encode()


def write_config(directory: Path, cfg: DictConfig | dict, overrides: Sequence[str]) -> None:
    """Write config.yaml and overrides.txt, each atomically; the second one makes the folder a run's directory.

    Args:
        cfg: the configuration, or its plain values with interpolations as they are written.
    Errors: MachineError where the disk does not take them.
    """
    write_texts(directory, *saved_texts(cfg, overrides))


def write_texts(directory: Path, config: str, overrides: Sequence[str], before: Mapping[str, bytes] = {}) -> None:
    """Write what `saved_texts` returns, as `write_config` does, after other files. Errors: MachineError."""
    own = {"config.yaml": config.encode(), "overrides.txt": in_lines(overrides)}
    try:
        atomic_write_all(directory, {**before, **own})
    except OSError as error:
        raise cannot_be_written(directory, error) from None


def cannot_be_written(directory: Path, error: OSError, files: str = "the run") -> MachineError:
    """Return the error of a run, or of other files, that its directory does not take."""
    what = f"output={printable(directory)}: {files} cannot be written there ({error.strerror})"
    return MachineError(f"{what}; free some space, or choose another place with output=DIR")


def write_job(directory: Path, cfg: DictConfig | dict, overrides: Sequence[str], swept: Iterable[str]) -> None:
    """Write what makes a directory that of a job of a sweep. Errors: MachineError where the disk does not take it.

    Args:
        swept: the keys that the sweep varies.
    """
    config, saved = saved_texts(cfg, overrides)
    write_texts(directory, config, saved, {SWEPT_KEYS: in_lines(swept), SWEEP_OVERRIDES: in_lines(saved)})


def write_summary(directory: Path, summary: dict) -> None:
    """Write summary.json atomically, with digests of the files that a run leaves, and of its own content.

    NaN and Inf, which JSON does not have, become null.
    """
    plain = without_nonfinite(summary)
    config = digest_of_file(directory / "config.yaml")
    signed = with_digest({**plain, "config_sha256": config, "files": digests_of_files(directory)})
    atomic_write(directory / "summary.json", as_json(signed, indent=2))


def write_layers(path: Path, probes: Sequence[Mapping]) -> None:
    """Write layers.json: the statistics of the layers at some steps."""
    atomic_write(path, as_json({"probes": [*probes]}))


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, the libraries that compute, and this project, with its git revision in a clone."""
    known = {name: version(name) for name in ("trainer", "torch", "torchvision", "hydra-core", "omegaconf", "numpy")}
    home = Path(__file__).parent.parent.parent
    if (home / ".git").exists():
        try:
            describe = ["git", "-C", str(home), "describe", "--always", "--dirty"]
            known["git"] = subprocess.run(describe, capture_output=True, text=True, timeout=5).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            pass  # no git on this machine
    return {"python": platform.python_version(), **known}
