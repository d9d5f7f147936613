"""A TensorBoard event file, written where the program stands.

The writers of tensorboard and torch hand events to a thread of their own. Beside torch's threads on a small machine that costs
3 ms a log point instead of 0.05 ms, and a full disk is reported at some later, unrelated call.
"""

import os
import socket
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from trainer.base.atomic import AppendOnlyFile

_numbers = count()


class EventFile:
    """One events.out.tfevents file in a folder of its own, which is made.

    Args:
        folder: receives the file.
        after: the step that a run goes on from; points of other files in the folder that lie behind it are void. None for a new run.
        tell: as of `AppendOnlyFile`.
    Errors: OSError where nobody is told.
    """

    def __init__(self, folder: Path, after: int | None = None, tell: Callable[[OSError], None] | None = None) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._file = AppendOnlyFile(folder / name, tell)
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._file.step = 0 if after is None else after + 1
        # TensorBoard's own reader takes the first start that it sees for no restart.
        self._write(Event(wall_time=time.time(), step=self._file.step, session_log=SessionLog(status=SessionLog.START)))

    @property
    def whole(self) -> bool:
        return self._file.whole

    @property
    def since(self) -> int | None:
        return self._file.since

    def add(self, summary: Summary, step: int) -> None:
        self._file.step = step
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
