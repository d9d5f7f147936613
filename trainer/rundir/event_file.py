"""TensorBoard event files, written synchronously in the calling thread.

The writers of tensorboard and torch hand events to a thread of their own. Beside torch's threads on a small machine
that costs 3 ms per log point instead of 0.05 ms, and a full disk raises in some later, unrelated call.
"""

import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from trainer.rundir.append_only import AppendOnlyFile

PREFIX = "events.out.tfevents."
PLACE = ("step", "epoch", "split", "seconds", "time")  # keys of a row that are no points of a curve
_numbers = count()


class EventFile:
    """Event file `events.out.tfevents.*` of a folder, which is made.

    Args:
        folder: receives the file.
        on_error: as of `AppendOnlyFile`.
        suffix: end of the file's name. A file with a suffix adds to the others in the folder. One without replaces
            them: a running TensorBoard discards the points that it has read from them.
    Errors: OSError where there is no `on_error`.
    """

    def __init__(
        self,
        folder: Path,
        on_error: Callable[[OSError], None] | None = None,
        suffix: str = "",
    ) -> None:
        self._file = AppendOnlyFile(folder / f"{next_name(folder)}{suffix}", on_error)
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if not suffix:  # TensorBoard takes any but the first start that it sees for a restart
            self._write(Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START)))

    @property
    def complete(self) -> bool:
        """True if the last flush has written everything."""
        return self._file.complete

    @property
    def pending_since(self) -> int | None:
        """The first step of which an event is not yet written; None where all are."""
        return self._file.pending_since

    def add(self, summary: Summary, step: int, seconds: float | None = None) -> None:
        """Append a summary.

        Args:
            seconds: since 1970; None for now.
        """
        self._file.step = step
        self._write(Event(wall_time=time.time() if seconds is None else seconds, step=step, summary=summary))

    def add_graph(self, graph: bytes) -> None:
        """Append the graph of a network."""
        self._write(Event(wall_time=time.time(), graph_def=graph))

    def flush(self) -> None:
        """Write the buffered events."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


def points_of(row: Mapping) -> Summary:
    """Return the points of a row of metrics.jsonl, where validation has no learning rate."""
    hidden = (*PLACE, "lr") if row["split"] == "val" else PLACE
    values = {name: math.nan if value is None else value for name, value in row.items() if name not in hidden}
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def scalars(prefix: str, values: Mapping[str, float]) -> Summary:
    """Return points by their names, behind a prefix."""
    return Summary(value=[Summary.Value(tag=f"{prefix}{name}", simple_value=it) for name, it in values.items()])


def picture(tag: str, png: bytes) -> Summary:
    """Return a PNG as it is."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # of its header
    image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def files_in(folder: Path) -> list[Path]:
    """Return the event files of a folder, in the order in which TensorBoard reads them."""
    return sorted(folder.glob(f"{PREFIX}*"))


def texts_and_images(paths: Iterable[Path]) -> Iterator[Event]:
    """Yield the events of files that are no points of a curve, each once, as far as the files can be read.

    A process that is killed while it writes a file anew leaves some of them in two.
    """
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    known: set[tuple[int, bytes]] = set()
    for path in paths:
        try:
            for event in LegacyEventFileLoader(str(path)).Load():
                content = event.step, event.summary.SerializeToString(deterministic=True)
                others = [
                    value for value in event.summary.value if value.HasField("metadata") or value.HasField("image")
                ]
                if others and content not in known:
                    known.add(content)
                    yield event
        except Exception:  # damaged: protobuf and TensorBoard's reader raise many kinds
            continue


def newest_config(events: Iterable[Event]) -> str:
    """Return the lines of the newest configuration among TensorBoard's texts; empty where there is none."""
    values = [value for event in events for value in event.summary.value if value.tag.startswith("config")]
    texts = [text.decode(errors="replace") for value in values for text in value.tensor.string_val]
    return texts[-1].partition("\n\n")[2] if texts else ""


def next_name(folder: Path) -> str:
    """Return a name that sorts behind the folder's event files, even after a restart in the same second.

    TensorBoard reads the files of a folder in the order of their names, which begin with a time.
    """
    times = [path.name.removeprefix(PREFIX).partition(".")[0] for path in folder.glob(f"{PREFIX}*")]
    seconds = max([int(time.time()), *(int(text) + 1 for text in times if text.isdecimal())])
    return f"{PREFIX}{seconds:010}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
