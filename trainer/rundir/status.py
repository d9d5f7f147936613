"""States of a run."""

from enum import StrEnum


class Status(StrEnum):
    """State of a run: summary.json holds one of the first five; the others are read off a directory without it."""

    FINISHED = "finished"
    STOPPED = "stopped"  # early, by a rule of the run
    INTERRUPTED = "interrupted"  # by a signal
    DIVERGED = "diverged"
    FAILED = "failed"
    RUNNING = "running"
    UNFINISHED = "unfinished"  # the process died
    NOT_BEGUN = "not begun"  # prepared by a sweep


COMPLETE = (Status.FINISHED, Status.STOPPED)  # a tuple: `in` takes whatever a foreign summary.json holds
