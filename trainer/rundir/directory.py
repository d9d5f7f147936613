"""The run directory: one folder a run, made by nobody else, and what is written into it once."""

import json
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from trainer.base.atomic import atomic_write
from trainer.base.errors import MachineError
from trainer.base.text import printable

SLUG_LENGTH = 100


def slug(overrides: Sequence[str]) -> str:
    """What the user typed as one part of a path, at most 100 letters, digits and `._+-`; `defaults` for nothing.

    `optimizer=adam reg=[l2,dropout]` becomes `optimizer-adam+reg-l2-dropout`: no sign that a shell, a file system or Hydra's
    grammar minds, so that a run's directory can be typed as a value.
    """
    shown = [
        text
        for text in overrides
        if not text.startswith(
            (
                "hydra.",
                "output=",
                "data.root=",
                "device=",
                "allow=",
                "threads=",
                "workers=",
                "residency=",
                "log_every=",
                "save_every=",
                "sweep.",
                "runs=",
            )
        )
    ]
    shown = [re.sub(r"(?<=\de)\+(?=\d)", "", text) for text in shown]  # 1e+30 is 1e30, not 1e-30
    safe = "+".join(re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-") for text in shown)
    return safe[:SLUG_LENGTH].strip("-.+") or "defaults"


def make_unique(parent: Path, name: str) -> Path:
    """Make `parent/name`, or `parent/name-2` and so on where that exists. Making it is what claims it.

    Errors: MachineError where the folder cannot be made.
    """
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
        raise MachineError(
            f"output={printable(parent)}: the run's folder cannot be made there ({error.strerror}); output=DIR names another place"
        ) from None
    except ValueError:
        raise MachineError(
            f"output={printable(parent)}: no file system has such a name; output=DIR names another place"
        ) from None


def create(output: Path, overrides: Sequence[str], sweep: Path | None = None, exact: Path | None = None) -> Path:
    """A run's own folder: `output/DATE/TIME-SLUG`, `SLUG` in a sweep's folder, or exactly the one asked for if it is new or empty."""
    if exact is not None:
        if exact.is_dir() and any(exact.iterdir()):
            raise MachineError(f"hydra.run.dir={exact}: holds something already; a run needs a folder of its own")
        if exact.is_dir():
            return exact
        return make_unique(exact.parent, exact.name)
    if sweep is not None:
        return make_unique(sweep, slug(overrides))
    now = datetime.now()
    return make_unique(output / f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}-{slug(overrides)}")


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold a run's directory for this process; a process that dies lets go of it. Errors: MachineError where another one holds it."""
    held = FileLock(directory / ".lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise MachineError(
            f"{printable(directory)}: another process is writing to this run; wait for it or end it"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise MachineError(
            f"{printable(directory)}: cannot be written to ({getattr(error, 'strerror', None) or error})"
        ) from None
    try:
        yield
    finally:
        held.release()


def write_config(directory: Path, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Write what the run is: config.yaml and overrides.txt, each whole or not at all."""
    own = {key: value for key, value in OmegaConf.to_container(cfg).items() if key not in ("resume", "sweep")}
    atomic_write(directory / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(own)).encode())
    atomic_write(
        directory / "overrides.txt",
        "".join(f"{text}\n" for text in overrides if not text.startswith(("resume.", "sweep."))).encode(),
    )  # last: it makes the folder a run's


def write_summary(directory: Path, summary: dict) -> None:
    """Write summary.json. Not-a-number has no place in JSON and becomes null."""
    plain = json.loads(json.dumps(summary), parse_constant=lambda name: None)
    atomic_write(directory / "summary.json", f"{json.dumps(plain, indent=2)}\n".encode())


def rows(directory: Path, *splits: str) -> Iterator[dict]:
    """Those of a run's metrics.jsonl, of the given splits or of all; a line that is cut off, being written, or anything else, is none."""
    named = [f'"{split}"' for split in splits]
    try:
        lines = (directory / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if named and not any(name in line for name in named):
            continue  # not read at all: most lines of a long run are of training
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and (not splits or row.get("split") in splits):
            yield row


@cache
def versions() -> dict[str, str]:
    """Of Python, the libraries that compute, and this project; with its git revision where it runs from a clone."""
    known = {name: version(name) for name in ("trainer", "torch", "torchvision", "hydra-core", "omegaconf", "numpy")}
    home = Path(__file__).parent.parent.parent
    if (home / ".git").exists():
        try:
            asked = subprocess.run(
                ["git", "-C", str(home), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5
            )
            known["git"] = asked.stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            pass  # no git on this machine: the version stands alone
    return {"python": platform.python_version(), **known}
