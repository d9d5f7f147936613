"""task=claims: the claims of the lectures as checks, each with what is predicted and what is measured."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.text import Text
from torch.utils.tensorboard.summary import text

from trainer.base.atomic import atomic_write
from trainer.base.device import out_of_memory, use_threads
from trainer.base.errors import CheckFailed, ConfigError, Interrupted, MachineError
from trainer.base.json_text import as_json
from trainer.base.origin import reason
from trainer.base.text import counted, did_you_mean, from_here, markdown_table, printable, wrap
from trainer.claims.claim import Claim, Finding
from trainer.claims.claims import BY_NUMBER, CLAIMS
from trainer.config.hydra_context import Invocation
from trainer.config.keys import Role, role_of
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.rundir.event_file import EventFile
from trainer.task.check import INDENT, STYLES

HEAD = ("", "claim", "lecture", "statement", "predicted", "measured")

Result = tuple[Claim, Finding]


@dataclass(frozen=True, kw_only=True)
class ClaimsRun:
    """Check the claims of the lectures on the project's own techniques, without a run of yours.

    The table is printed, and written as claims.md, claims.json and for TensorBoard, in a directory of its own.

    Args:
        only: numbers of the claims, Y1 to Y22; none means all.
    Errors: ValueError.
    """

    only: Sequence[str] = ()

    def __post_init__(self) -> None:
        for number in self.only:
            if number not in BY_NUMBER:
                raise ValueError(f"only: there is no claim {number}; {did_you_mean(str(number), [*BY_NUMBER])}")

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Do the checks. Errors: CheckFailed where one fails; UserError."""
        require_no_run(invocation)
        use_threads(cfg.threads)
        console, start = Console(), time.monotonic()
        results = []
        for claim in CLAIMS:
            if claim.number in self.only or not self.only:
                with console.status(f"checking {claim.number}: {claim.statement}"):
                    results.append((claim, measured(claim)))
        seconds = time.monotonic() - start
        directory = rundir.create_with_config(cfg, invocation)
        console.print("Claims of the lectures\n")
        for line in lines_of(results, console.terminal.width):
            console.print(line)
        failed = [claim.number for claim, finding in results if not finding.holds]
        what = "claims hold" if len(results) > 1 else "claim holds"
        console.print(f"\n{len(results) - len(failed)} of {len(results)} {what}, in {seconds:.1f} s")
        for path in write(results, seconds, directory):
            console.print(f"saved {from_here(path)}")
        if failed and invocation.sweep is None:
            raise CheckFailed(f"{counted('claim', len(failed))} failed: {', '.join(failed)}")


def require_no_run(invocation: Invocation) -> None:
    """Refuse settings of a run: each claim brings its own. Errors: ConfigError."""
    for key in sorted(invocation.typed_keys):
        if role_of(key) not in (Role.TASK, Role.COMMAND, Role.LAUNCH) and key != "threads":
            raise ConfigError(f"{key}: task=claims checks its own settings; leave {key} out, or type task=check")


def measured(claim: Claim) -> Finding:
    """Return the result of a claim; of one in which a technique raises, that it does not hold, and why.

    Errors: Interrupted, MachineError, those of memory.
    """
    try:
        return claim.measure()
    except (Interrupted, MachineError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        return Finding(predicted="no error", measured=printable(reason(error)), holds=False)


def status(finding: Finding) -> str:
    """Return `pass` or `FAIL`."""
    return "pass" if finding.holds else "FAIL"


def lines_of(results: Sequence[Result], width: int) -> Iterator[Text]:
    """Yield the lines of the table: of each claim its statement, what is predicted, and what is measured.

    Args:
        width: columns of the terminal.
    """
    names = max(len(claim.lectures) for claim, _ in results)
    for claim, finding in results:
        style = STYLES[status(finding)]
        row = f"{claim.number:<3}  {claim.lectures:<{names}}  {claim.statement}"
        for line in wrap(f"{status(finding)}  {row}", width, len(INDENT) + 5 + names).split("\n"):
            yield Text.assemble((line[:4], style), line[4:])
        for name in ("predicted", "measured"):
            for line in wrap(f"{INDENT}   {name:<9}  {getattr(finding, name)}", width, len(INDENT) + 14).split("\n"):
                yield Text(line, style="dim")


def write(results: Sequence[Result], seconds: float, directory: Path) -> list[Path]:
    """Write claims.md and claims.json, and the table for TensorBoard. Return the paths. Errors: MachineError."""
    table = "\n".join(
        markdown_table(
            HEAD,
            [
                [status(finding), claim.number, claim.lectures, claim.statement, finding.predicted, finding.measured]
                for claim, finding in results
            ],
        )
    )
    content = {
        "passed": all(finding.holds for _, finding in results),
        "failed": [claim.number for claim, finding in results if not finding.holds],
        "seconds": round(seconds, 3),
        "claims": [
            {"number": claim.number, "lectures": claim.lectures, "statement": claim.statement, **asdict(finding)}
            for claim, finding in results
        ],
    }
    page, numbers = directory / "claims.md", directory / "claims.json"
    try:
        atomic_write(page, f"# Claims of the lectures\n\n{table}\n".encode())
        atomic_write(numbers, as_json(content, indent=2))
        events = EventFile(directory)
        events.add(text("claims", table), 0)
        events.close()
    except OSError as error:
        raise rundir.cannot_be_written(directory, error, "the claims") from None
    return [page, numbers]
