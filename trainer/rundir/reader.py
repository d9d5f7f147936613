"""Reader of a run's files, tolerant of missing, cut and foreign ones; nothing in them is executed. No torch here."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainer.base.errors import DataError
from trainer.base.metrics import monitored
from trainer.base.plain_files import read_plain
from trainer.base.text import nearest, printable
from trainer.config import catalog
from trainer.config.quoting import as_argument
from trainer.config.truth_words import in_words
from trainer.config.untrusted import has_resolver, leaves, read_yaml
from trainer.rundir import locations
from trainer.rundir.row import row_in
from trainer.rundir.status import COMPLETE, Status

# The overrides of a job in its sweep; overrides.txt has others where the job alone was resumed with more epochs.
SWEEP_OVERRIDES = ".sweep-overrides"
SWEPT_KEYS = ".swept-keys"  # the keys that the sweep varies
LARGEST = 2**30  # bytes of a text file
RENAMED_CLASSES = {"trainer.init.fixed_scale.Default": "trainer.init.fixed_scale.Torch"}  # of older versions
OVERRIDE = re.compile(r"[ ~+]*['\"]?([A-Za-z_]\w*)[\w./@]*[^=]*(=.*)?", re.DOTALL)


def read_text(path: Path) -> str:
    """Return the content of a text file, with undecodable bytes replaced; empty if it cannot be read, or is a link."""
    try:
        return read_plain(path, LARGEST).decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_mapping(path: Path) -> dict:
    """Return the mapping of a YAML or JSON file; empty if it holds anything else, or cannot be read."""
    try:
        content = json.loads(read_text(path)) if path.suffix == ".json" else read_yaml(path)
    except (DataError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def with_present_classes(node: dict) -> dict:
    """Return nested mappings with the classes of older versions under their present names."""

    def present(key: str, value: object) -> object:
        if isinstance(value, dict):
            return with_present_classes(value)
        return RENAMED_CLASSES.get(value, value) if key == "_target_" and isinstance(value, str) else value

    return {key: present(key, value) for key, value in node.items()}


def at_present(config: dict) -> dict:
    """Return the configuration of a run with the classes and the words that the present version has for it."""
    return with_present_classes({**config, **in_words(config)})


def read_summary(directory: Path) -> dict:
    """Return summary.json; empty if it is missing or cannot be read."""
    return read_mapping(directory / "summary.json")


def notes_of(summary: Mapping) -> list[str]:
    """Return the notes that a run has printed, from its summary."""
    notes = summary.get("notes")
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def problems_of(summary: Mapping) -> list[str]:
    """Return the codes of the problems that a run was found to have, from its summary, in words."""
    found = summary.get("verdicts")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    codes = [row.get("code") for row in rows if row.get("level") == "problem"]
    return [code.replace("_", " ") for code in codes if isinstance(code, str)]


def read_status(directory: Path) -> Status | None:
    """Return the status of a run; None if its summary does not hold one."""
    status = read_summary(directory).get("status")
    return Status(status) if isinstance(status, str) and status in set(Status) else None


def read_rows(directory: Path, *splits: str) -> Iterator[dict]:
    """Yield the rows of metrics.jsonl, of the given splits or of all, without lines that are cut off or foreign."""
    names = [f'"{split}"' for split in splits]
    for line in read_text(directory / "metrics.jsonl").splitlines():
        if names and not any(name in line for name in names):
            continue  # not parsed: most lines of a long run are of training
        row = row_in(line)
        if row and (not splits or row["split"] in splits):
            yield row


def damaged_rows(directory: Path) -> int:
    """Return the number of lines of metrics.jsonl that hold no row; the last one may be incomplete."""
    *lines, _ = read_text(directory / "metrics.jsonl").split("\n")
    return sum(row_in(line) is None for line in lines)


def completed_summary(directory: Path) -> dict | None:
    """Return the summary of a run that finished or stopped early; None for any other, or if it lacks figures."""
    summary = read_summary(directory)
    valid = isinstance(summary.get("steps"), int) and isinstance(summary.get("best", 0), dict | None)
    return summary if valid and summary.get("status") in COMPLETE else None


def describe_end(summary: Mapping) -> str:
    """Return the end of an incomplete run, as `diverged at step 12`; empty for a complete one."""
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
    """Return the overrides of a run, one per line.

    Errors: DataError if the file is missing or holds lines that no run writes.
    """
    try:
        lines = [line for line in read_plain(directory / name, LARGEST).decode("utf-8").split("\n") if line]
    except (OSError, ValueError):
        raise DataError(f"resume={printable(directory)}: {why_no_run(directory)}") from None
    for line in lines:
        if not OVERRIDE.fullmatch(line) or printable(line) != line or has_resolver(line):
            what = f"its overrides.txt holds a line that no run writes ({printable(line)[:80]})"
            raise DataError(f"resume={printable(directory)}: {what}")
    return lines


def read_swept(directory: Path) -> tuple[list[str], list[str]]:
    """Return the keys that the sweep of a job varies, and its overrides there; nothing for a run without a sweep."""
    keys = read_text(directory / SWEPT_KEYS).splitlines()
    return keys, read_text(directory / SWEEP_OVERRIDES).splitlines() if keys else []


def why_no_run(directory: Path) -> str:
    """Return the reason why a directory cannot be resumed, and a hint."""
    if runs := sorted(file.parent for file in directory.glob("*/overrides.txt")):
        unfinished = next((run for run in runs if not completed_summary(run)), None)
        one = f"resume one run with {as_argument('resume', unfinished)}, or " if unfinished else ""
        again = f"repeat the sweep's command with {as_argument('hydra.sweep.dir', directory)}"
        return f"the folder of a sweep; {one}{again} to continue all {len(runs)}"
    siblings = [file.parent.name for file in directory.parent.glob("*/overrides.txt")]
    near = nearest(directory.name, siblings, 1)
    hint = f"; did you mean {printable(directory.parent / near[0])}?" if near else ""
    return f"not a run's directory; it must hold overrides.txt, config.yaml and checkpoints/{hint}"


def is_config(content: object) -> bool:
    """Return whether the content of a config.yaml has its length and every group, as that of any run."""
    groups = [group for group, option in catalog.defaults().items() if isinstance(option, str)]
    valid = isinstance(content, dict) and isinstance(content.get("epochs"), int | str)
    return valid and all(isinstance(content.get(group), dict) for group in groups)


def read_config(directory: Path, key: str = "resume") -> dict:
    """Return config.yaml as plain values and references to other keys, with the path where its data lie now.

    Args:
        key: the key that names the directory, for the message.
    Errors: DataError.
    """
    saved = read_yaml(directory / "config.yaml")
    place = f"{key}={printable(directory)}"
    if not is_config(saved):
        raise DataError(f"{place}: its config.yaml is not that of a run")
    for path, value in leaves(saved):
        if has_resolver(str(value)):
            source = "from the environment or a function, which a run's config.yaml never does"
            raise DataError(f"{place}: its config.yaml takes {printable(path)} {source}")
    return at_present(locations.moved(saved, read_text(directory / "overrides.txt").splitlines()))
