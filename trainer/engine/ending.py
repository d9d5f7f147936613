"""End of a run that an error or a signal ends: its line in run.log, whatever has become of the terminal."""

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainer.base import signals
from trainer.base.errors import Diverged, Interrupted, UserError
from trainer.config.hydra_context import Invocation
from trainer.engine.run import Outcome
from trainer.rundir.append_only import append
from trainer.rundir.reader import completed_summary
from trainer.rundir.resume import command_to_resume
from trainer.rundir.status import Status


@contextmanager
def errors_in_log(directory: Path, invocation: Invocation) -> Iterator[None]:
    """Append the error that ends the block to the run.log of a directory; after a signal, with the command to resume.

    A job of a sweep has none: the sweep prints how to continue all of them.

    Errors: that of the block; Interrupted after a signal.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        cause = signals.cause_of(error)
        if not isinstance(cause, KeyboardInterrupt | Interrupted):
            append_to_log(directory, str(error) if isinstance(error, UserError) else traceback.format_exc())
            raise
        with signals.ignored():
            interrupted = with_command(cause, directory, invocation)
            append_to_log(directory, str(interrupted))
        raise interrupted from None


def with_command(error: KeyboardInterrupt | Interrupted, directory: Path, invocation: Invocation) -> Interrupted:
    """Return the error of a signal with the command that resumes the run, if there is one yet, and of no sweep."""
    known = isinstance(error, Interrupted)
    number = error.code - 128 if known else getattr(error, "number", signal.SIGINT)
    what = str(error) if known else "interrupted"
    begun = (directory / "overrides.txt").is_file()
    if begun and invocation.sweep is None and not completed_summary(directory):
        what = f"{what}; resume it with: {command_to_resume(directory, invocation)}"
    return Interrupted(what, number)


def append_to_log(directory: Path, text: str) -> None:
    """Append lines to run.log, if the disk takes them."""
    with suppress(OSError):
        append(directory / "run.log", text.rstrip())


def error_for(outcome: Outcome, layer: str, cause: str, on_nan: str) -> UserError | None:
    """Return the error to raise for a diverged or interrupted run, or None.

    Args:
        layer: where a non-finite loss began, in words.
        cause: the likeliest, in words; empty where none is known.
        on_nan: as of the configuration.
    """
    if outcome.status is Status.DIVERGED:
        more = ", on_nan=skip" if on_nan == "stop" else ""
        general = f"try a smaller optimizer.lr, reg=grad_clip, warmup=linear{more}"
        hint = f"likely cause: {cause}" if cause else general
        what = "loss or gradient" if on_nan == "skip" else "the loss"
        where = f"diverged: {what} is not finite (NaN or Inf) at step {outcome.nonfinite_step:,}"
        return Diverged(f"{where}, {layer}; {hint}")
    if outcome.status is Status.INTERRUPTED:
        return Interrupted(f"interrupted after {outcome.now.step:,} steps", outcome.signal)
    return None
