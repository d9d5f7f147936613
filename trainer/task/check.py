"""task=check: the list of checks before a training, each with its number and its threshold."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.text import Text
from torch.utils.tensorboard.summary import text

from trainer.base.atomic import atomic_write
from trainer.base.checks import require
from trainer.base.errors import CheckFailed
from trainer.base.json_text import as_json
from trainer.base.text import as_command, counted, from_here, markdown_table, printable, wrap
from trainer.config import auto_rate
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.inspection.check import Check, Subject
from trainer.inspection.checks import CHECKS, checked, name_of
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.rundir.event_file import EventFile

STYLES = {"pass": "green", "FAIL": "bold red", "n/a": "dim"}
INDENT = " " * 8

Result = tuple[str, Check]  # part and check


@dataclass(frozen=True, kw_only=True)
class CheckRun:
    """Check a run as the command builds it, on copies: nothing is trained that stays.

    The table is printed, and written as check.json and for TensorBoard, in a directory of its own.

    Args:
        steps: of the longest of the short trainings, >= 20.
    Errors: ValueError.
    """

    steps: int = 200

    def __post_init__(self) -> None:
        require(">= 20", steps=self.steps)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Do all checks. Errors: CheckFailed where one fails, but not in a sweep, whose other jobs go on; UserError."""
        console, start = Console(), time.monotonic()
        with console.status("preparing the run"):
            run = build_run(cfg, invocation)
        for note in (*run.data.notes, *auto_rate.notes_on_usual(cfg, invocation.choices)):
            console.print(f"note: {note}")
        subject, results = Subject(run, cfg, invocation, self.steps), []
        for part, functions in CHECKS.items():
            for function in functions:
                with console.status(f"checking: {name_of(function)}"):
                    results.append((part, checked(function, subject)))
        directory = rundir.create_with_config(cfg, invocation)
        seconds = time.monotonic() - start
        console.print(f"Checks of {as_command('train', *invocation.overrides)}\n")
        for line in lines_of(results, console.terminal.width):
            console.print(line)
        failed = print_failures(results, console)
        console.print(f"\n{summary(results)} in {seconds:.1f} s")
        write(results, seconds, directory)
        console.print(f"saved {from_here(directory / 'check.json')}")
        if failed and invocation.sweep is None:
            raise CheckFailed(f"{counted('check', failed)} failed: {', '.join(names_of_failed(results))}")


def lines_of(results: Sequence[Result], width: int) -> Iterator[Text]:
    """Yield two lines for each check, the second one with its detail, in parts.

    Args:
        width: columns of the terminal.
    """
    names, values = (
        max(len(cell) for cell in column) for column in zip(*((check.name, number(check)) for _, check in results))
    )
    before = None
    for part, check in results:
        if part != before:
            yield Text(part, style="bold")
            before = part
        row = f"  {check.name:<{names}}  {number(check):<{values}}  {check.threshold}"
        yield Text.assemble((f"{check.status:<4}", STYLES[check.status]), row.rstrip())
        detail = printable(check.meaning if check.passed is None else check.detail)
        for line in wrap(f"{INDENT}{detail}", width, len(INDENT)).split("\n") if detail else ():
            yield Text(line, style="dim")


def number(check: Check) -> str:
    """Return the value of a check with four digits; nothing where it has none."""
    return "" if check.value is None else f"{check.value:.4g}"


def print_failures(results: Sequence[Result], console: Console) -> int:
    """Print what each failed check means and what to try, and return their number."""
    failed = [check for _, check in results if check.passed is False]
    for check in failed:
        advice = f" {check.advice[0].upper()}{check.advice[1:]}." if check.advice else ""
        console.print(f"\nFAIL  {check.name}: {check.meaning}{advice}")
    return len(failed)


def names_of_failed(results: Sequence[Result]) -> list[str]:
    """Return the names of the failed checks."""
    return [check.name for _, check in results if check.passed is False]


def summary(results: Sequence[Result]) -> str:
    """Return `18 checks passed, 1 failed, 1 not applicable`."""
    passed, failed, others = (sum(check.passed is wanted for _, check in results) for wanted in (True, False, None))
    return f"{counted('check', passed)} passed, {failed} failed, {others} not applicable"


def write(results: Sequence[Result], seconds: float, directory: Path) -> None:
    """Write check.json, and the table as a text for TensorBoard. Errors: MachineError."""
    failed = names_of_failed(results)
    content = {
        "passed": not failed,
        "failed": failed,
        "seconds": round(seconds, 3),
        "checks": [{"part": part, "status": check.status.lower(), **asdict(check)} for part, check in results],
    }
    try:
        atomic_write(directory / "check.json", as_json(content, indent=2))
        events = EventFile(directory)
        events.add(text("check", as_markdown(results)), 0)
        events.close()
    except OSError as error:
        raise rundir.cannot_be_written(directory, error, "the checks") from None


def as_markdown(results: Sequence[Result]) -> str:
    """Return the table in Markdown, with the meaning of each failed check."""
    rows = []
    for part, check in results:
        words = check.detail if check.passed else f"{check.detail} {check.meaning} {check.advice}".strip()
        rows.append([check.status, part, check.name, number(check), check.threshold, printable(words)])
    return "\n".join(markdown_table(["", "part", "check", "value", "threshold", ""], rows))
