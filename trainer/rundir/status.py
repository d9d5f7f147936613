"""States of a run."""

from enum import StrEnum


class Status(StrEnum):
    """State of a run: the first five are in summary.json, the others are what a directory without one tells."""

    FINISHED = "finished"
    STOPPED = "stopped"  # early, by a rule of the run
    INTERRUPTED = "interrupted"  # by a signal
    DIVERGED = "diverged"
    FAILED = "failed"
    RUNNING = "running"
    UNFINISHED = "unfinished"  # the process died
    NOT_BEGUN = "not begun"  # prepared by a sweep


COMPLETE = frozenset({Status.FINISHED, Status.STOPPED})
