"""The one reader of a run's directory: text files of any age and state, from any hand; nothing is built from them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainer.base.errors import DataError
from trainer.base.metrics import monitored
from trainer.base.text import nearest, printable
from trainer.config import catalog
from trainer.config.untrusted import has_resolver, leaves, read_yaml
from trainer.rundir.status import COMPLETE, Status

OVERRIDE = re.compile(r"[ ~+]*['\"]?([A-Za-z_]\w*)[\w./@]*[^=]*(=.*)?", re.DOTALL)


def read_text(path: Path) -> str:
    """Return a text file's content with undecodable bytes replaced; empty where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_mapping(path: Path) -> dict:
    """Return a YAML or JSON file that holds a mapping; empty where it does not, or cannot be read."""
    try:
        content = json.loads(read_text(path)) if path.suffix == ".json" else read_yaml(path)
    except (DataError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_summary(directory: Path) -> dict:
    """Return summary.json; empty where there is none that can be read."""
    return read_mapping(directory / "summary.json")


def read_status(directory: Path) -> Status | None:
    """Return how a run ended; None where its summary does not say it."""
    status = read_summary(directory).get("status")
    return Status(status) if isinstance(status, str) and status in set(Status) else None


def read_rows(directory: Path, *splits: str) -> Iterator[dict]:
    """Yield the rows of metrics.jsonl, of the given splits or of all; lines that are cut off or foreign are left out."""
    names = [f'"{split}"' for split in splits]
    for line in read_text(directory / "metrics.jsonl").splitlines():
        if names and not any(name in line for name in names):
            continue  # not parsed: most lines of a long run are of training
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and (not splits or row.get("split") in splits):
            yield row


def completed_summary(directory: Path) -> dict | None:
    """Return the summary of a run that finished or stopped early; None for another, or where it lacks a run's figures."""
    summary = read_summary(directory)
    whole = isinstance(summary.get("steps"), int) and isinstance(summary.get("best", 0), dict | None)
    return summary if whole and summary.get("status") in COMPLETE else None


def describe_end(summary: Mapping) -> str:
    """Return how an incomplete run ended, as `diverged at step 12`; empty for a complete one."""
    if summary.get("status") in COMPLETE:
        return ""
    when = f" after {summary['steps']} steps" if "steps" in summary else ""
    when = f" at step {summary['diverged_in']}" if "diverged_in" in summary else when
    return f"{summary.get('status', Status.UNFINISHED)}{when}"


def best_score(summary: Mapping, monitor: str) -> float | None:
    """Return the best validation score of a complete run; None without a validation split."""
    best = summary.get("best") or {}
    return best.get(monitored(monitor, best).name)


def read_overrides(directory: Path, name: str = "overrides.txt") -> list[str]:
    """Return the overrides of a run, one a line. Errors: DataError where there are none, or lines that no run writes."""
    try:
        lines = [line for line in (directory / name).read_bytes().decode("utf-8").split("\n") if line]
    except (OSError, ValueError):
        raise DataError(f"resume={printable(directory)}: {why_no_run(directory)}") from None
    for line in lines:
        if not OVERRIDE.fullmatch(line) or printable(line) != line or has_resolver(line):
            what = f"its overrides.txt holds a line that no run writes ({printable(line)[:80]})"
            raise DataError(f"resume={printable(directory)}: {what}")
    return lines


def why_no_run(directory: Path) -> str:
    """Return why a directory is not that of a run, and what may have been meant."""
    if runs := sorted(file.parent for file in directory.glob("*/overrides.txt")):
        unfinished = next((run for run in runs if not completed_summary(run)), None)
        one = f"resume one run of it with resume={printable(unfinished)}, " if unfinished else ""
        again = f"repeat the sweep's command with hydra.sweep.dir={printable(directory)}"
        return f"the folder of a sweep; {one}or {again} to continue all {len(runs)}"
    siblings = [file.parent.name for file in directory.parent.glob("*/overrides.txt")]
    near = nearest(directory.name, siblings, 1)
    hint = f"; did you mean {printable(directory.parent / near[0])}?" if near else ""
    return f"not a run's directory; it must hold overrides.txt, config.yaml and checkpoints/{hint}"


def read_config(directory: Path, key: str = "resume") -> dict:
    """Return config.yaml as plain values with references to other keys, and nothing that could do more.

    Args:
        key: the key that names the directory, for the message.
    Errors: DataError.
    """
    saved = read_yaml(directory / "config.yaml")
    place = f"{key}={printable(directory)}"
    groups = [group for group, option in catalog.defaults().items() if isinstance(option, str)]
    whole = isinstance(saved, dict) and isinstance(saved.get("epochs"), int)
    if not whole or not all(isinstance(saved.get(group), dict) for group in groups):
        raise DataError(f"{place}: its config.yaml is not that of a run")
    for path, value in leaves(saved):
        if has_resolver(str(value)):
            source = "from the environment or a function, which no run's may"
            raise DataError(f"{place}: its config.yaml takes {printable(path)} {source}")
    return saved
