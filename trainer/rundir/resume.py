"""Going on with a run: which one, with which words, and what has changed since. Reads the run's own files; builds nothing from them."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError, DataError
from trainer.base.text import nearest, printable
from trainer.config import catalog
from trainer.config.untrusted import has_resolver, leaves, quote, read_yaml, unquote

ENDED = ("finished", "stopped")  # as a run should
OWN = ("resume", "hydra", "output", "allow", "runs", "task", "sweep")  # words of this command, not of the run
TOLERANT = ("compare",)  # tasks that show text of a run and make nothing of it
WORD = re.compile(r"[ ~+]*['\"]?([A-Za-z_]\w*)[\w./@]*[^=]*(=.*)?", re.DOTALL)
UNLIKE = ("optimizer._target_", "model._target_", "averaging._target_")  # whose state fits nothing else
HARMLESS = (
    "output",
    "resume",
    "allow",
    "runs",
    "device",
    "threads",
    "workers",
    "residency",
    "log_every",
    "save_every",
    "eval_batch_size",
    "epochs",
    "on_nan",
    "on_oom",
    "sweep",
)


def expand(texts: Sequence[str]) -> list[str]:
    """The words of a command that resumes, with those of the run before them; what is typed now wins.

    `resume=auto` without a run to take up is left out: a new run begins. Errors: ConfigError, DataError.
    """
    named = {text.partition("=")[0]: text.partition("=")[2] for text in texts}
    wanted = named.get("resume", named.get("resume.run"))
    more = named.get("epochs", "").startswith("+")
    if wanted is None:
        if more:
            raise ConfigError(
                f"epochs={named['epochs']}: epochs can only be added to a run that is resumed; write resume=RUN epochs={named['epochs']}"
            )
        return list(texts)
    if not wanted:
        raise ConfigError("resume=: needs a run's directory, or auto for the newest unfinished run of the same words")
    own = [text for text in texts if text.partition("=")[0] not in ("resume", "resume.run")]
    directory = (
        newest_unfinished(own, Path(unquote(named.get("output", "outputs"))))
        if wanted == "auto"
        else Path(unquote(wanted))
    )
    if directory is None:
        print("train: note: resume=auto found no unfinished run of these words; a new one begins", file=sys.stderr)
        return own
    before = overrides(directory)
    if more:
        own = [
            f"epochs={saved_config(directory)['epochs'] + int(named['epochs'])}" if text.startswith("epochs=") else text
            for text in own
        ]
    typed = {text.partition("=")[0] for text in own}
    kept = [text for text in before if text.partition("=")[0] not in typed and WORD.fullmatch(text)[1] not in OWN]
    return [*kept, *own, f"resume.run={quote(directory)}"]


def newest_unfinished(texts: Sequence[str], output: Path) -> Path | None:
    """The run that was begun last with the same words and has not ended as it should."""
    wanted = sorted(text for text in texts if not text.startswith((*HARMLESS, "hydra.")))
    for file in sorted(output.glob("*/*/overrides.txt"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            same = (
                sorted(text for text in overrides(file.parent) if not text.startswith((*HARMLESS, "hydra."))) == wanted
            )
        except DataError:
            continue
        if same and status(file.parent) not in ENDED:
            return file.parent
    return None


def overrides(directory: Path, name: str = "overrides.txt") -> list[str]:
    """The words of a run, one a line. Errors: DataError where there are none, or one that no run writes."""
    try:
        lines = [line for line in (directory / name).read_bytes().decode("utf-8").split("\n") if line]
    except (OSError, ValueError):
        raise DataError(f"resume={printable(directory)}: {no_run(directory)}") from None
    for line in lines:
        if not WORD.fullmatch(line) or printable(line) != line or has_resolver(line):
            raise DataError(
                f"resume={printable(directory)}: its overrides.txt holds what no run writes ({printable(line)[:80]})"
            )
    return lines


def no_run(directory: Path) -> str:
    """Why a directory cannot be resumed, and what was perhaps meant."""
    if runs := sorted(file.parent for file in directory.glob("*/overrides.txt")):
        one = next((f"one run of it goes on with resume={printable(run)}, " for run in runs if not ended(run)), "")
        return f"a sweep's folder; {one}the sweep's own words with hydra.sweep.dir={printable(directory)} go on with all {len(runs)}"
    near = nearest(directory.name, [file.parent.name for file in directory.parent.glob("*/overrides.txt")], 1)
    hint = f"; did you mean {printable(directory.parent / near[0])}?" if near else ""
    return f"not a run's directory; it must hold overrides.txt, config.yaml and checkpoints/{hint}"


def summary(directory: Path) -> dict:
    """summary.json; empty where there is none that can be read."""
    try:
        told = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def status(directory: Path) -> str | None:
    """How the run ended; None where it never came to say."""
    return summary(directory).get("status")


def ended(directory: Path) -> dict | None:
    """The summary of a run that ended as it should; None for another, or where it does not say what a run's does."""
    told = summary(directory)
    whole = isinstance(told.get("steps"), int) and isinstance(told.get("best", 0), dict | None)
    return told if whole and told.get("status") in ENDED else None


def shortcoming(told: dict) -> str:
    """How a run ended that did not end as it should, from its summary; empty for one that did."""
    if told.get("status") in ENDED:
        return ""
    when = (
        (f" in update {told['diverged_in']}" if "diverged_in" in told else f" after {told['steps']} updates")
        if "steps" in told
        else ""
    )
    return f"{told.get('status', 'not ended')}{when}"


def best_score(told: dict, monitor: str) -> float | None:
    """What a finished run returns, from its summary."""
    best = told.get("best") or {}
    return best.get(
        next((name for name in ("accuracy", "r2") if name in best), "loss") if monitor == "auto" else monitor
    )


def saved_config(directory: Path, word: str = "resume") -> dict:
    """config.yaml as plain values, references to other keys among them, and nothing that could do more. Errors: DataError."""
    saved = read_yaml(directory / "config.yaml")
    groups = [group for group, option in catalog.defaults().items() if isinstance(option, str)]
    whole = (
        isinstance(saved, dict)
        and isinstance(saved.get("epochs"), int)
        and all(isinstance(saved.get(group), dict) for group in groups)
    )
    if not whole:
        raise DataError(f"{word}={printable(directory)}: its config.yaml is not that of a run")
    for path, value in leaves(saved):
        if has_resolver(str(value)):
            raise DataError(
                f"{word}={printable(directory)}: its config.yaml takes {printable(path)} from the environment or a function, which no run's may"
            )
    return saved


def look_at(lists: Iterable[object], task: str | None) -> None:
    """The configurations of the runs that a task reads, before anything else reads them.

    Errors: DataError, unless the task takes a run as far as it can be read.
    """
    if task in TOLERANT:
        return
    for directory in (Path(str(each)) for runs in lists if isinstance(runs, list) for each in runs):
        if (directory / "config.yaml").is_file():
            saved_config(directory, "runs")


def changes(directory: Path, cfg: DictConfig) -> dict[str, tuple[object, object]]:
    """Keys whose value is another than the run had, with both values; what belongs to the command and not to the run left out."""
    before, now = (dict(flat(node)) for node in (saved_config(directory), OmegaConf.to_container(cfg)))
    paths = [
        path
        for path in {**before, **now}
        if not path.startswith(("resume.", "sweep.", "output", "allow", "runs", "task."))
    ]
    return {path: (before.get(path), now.get(path)) for path in paths if before.get(path) != now.get(path)}


def digest(cfg: DictConfig) -> str:
    """SHA-256 of the keys that shape a run."""
    shaping = [
        f"{path}={value!r}"
        for path, value in flat(OmegaConf.to_container(cfg))
        if path.partition(".")[0] not in (*HARMLESS, "task")
    ]
    return sha256("\n".join(sorted(shaping)).encode()).hexdigest()


def flat(node: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def require_allowed(changed: dict[str, tuple[object, object]], allowed: Sequence[str]) -> None:
    """Errors: ConfigError where a key that shapes the run is another and nobody allowed it."""
    shorter = "epochs" in changed and changed["epochs"][1] < changed["epochs"][0]  # longer is harmless
    harmless = [key for key in HARMLESS if key != "epochs" or not shorter]
    blocked = [
        path
        for path in changed
        if path.partition(".")[0] not in harmless and not any(f"{path}.".startswith(f"{key}.") for key in allowed)
    ]
    if others := [path.partition(".")[0] for path in changed if path in UNLIKE]:
        raise ConfigError(
            f"resume: another {others[0]} cannot take up what the run's own has learned; leave {others[0]}= out, or begin a new run"
        )
    if blocked:
        shown = ", ".join(
            f"{printable(path)} was {one_line(changed[path][0])}, is {one_line(changed[path][1])}"
            for path in blocked[:5]
        )
        raise ConfigError(
            f"resume: another configuration makes another run: {shown}\nwrite resume.allow=[{printable(','.join(blocked))}] to go on all the same"
        )


def one_line(value: object) -> str:
    return printable(catalog.as_typed(value)).replace("\n", " ")[:80]
