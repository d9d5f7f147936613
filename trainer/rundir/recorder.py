"""Record of a run while it trains: metrics.jsonl and TensorBoard's event files."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard.summary import text

from trainer.base.accumulator import Glance, MetricAccumulator
from trainer.base.atomic import atomic_write
from trainer.base.clock import Clock
from trainer.base.errors import MachineError
from trainer.base.metrics import METRICS
from trainer.base.statistics import norm
from trainer.base.text import counted, printable
from trainer.rundir import hparams, reader
from trainer.rundir.append_only import AppendOnlyFile
from trainer.rundir.event_file import EventFile, files_in, newest_config, points_of, scalars, texts_and_images
from trainer.rundir.row import line_of

CURVES = ("train", "val")  # splits with event files of their own
RESULTS = ".results"  # ends the name of the event file that is written once a run has ended, and anew when it goes on


class Recorder:
    """Points of a run's curves. Between log points everything stays on the device.

    TensorBoard lists each folder with an event file as a run: there are two. `train/` and `val/` hold loss and score
    under the same tags, so that they are on one chart. `train/` also has lr, the norms, throughput, the configuration
    and pictures; `val/` the best and the test scores, and the row of HParams, whose metrics are all of held-out data.

    metrics.jsonl holds one object a line: `val` and `test` one an evaluation; `train` one a log point and an
    evaluation, averaged over the steps since its last line.

    A full disk ends nothing: one warning is given for metrics.jsonl and one for TensorBoard, what could not be written
    is tried again at every evaluation and every checkpoint, and `rows` has all points at any time.

    Args:
        directory: the run's.
        task: kind of the data; names the score.
        warn: takes the line of a warning.
    """

    def __init__(self, directory: Path, task: str, warn: Callable[[str], None] = print) -> None:
        self.directory = directory
        self.rows: list[dict] = []
        self._warn = warn
        self._warned: set[str] = set()
        self._window = MetricAccumulator(task, shared=True)  # since the last log point
        self._sums_since_evaluation: list[float] = []
        self._glance = Glance()
        self._grad_norm = torch.tensor(math.nan)
        self._grad_kept: Tensor | None = None  # of a gradient that is edited
        self._config = ""  # the newest one that TensorBoard has
        self._lost, self._known_from = 0, 0  # points that a damaged metrics.jsonl has lost, and the step behind them
        self._digest = sha256()  # of its lines
        self._event_files: dict[str, EventFile] = {}
        self._file = AppendOnlyFile(directory / "metrics.jsonl", self._metrics_failed)
        self._start = self._last = time.perf_counter()
        self._weights: list[Tensor] = []

    @torch.no_grad()
    def before_step(self, weights: Sequence[Tensor]) -> None:
        """Keep the weights before the step of a log point, to measure how far they move."""
        self._weights = [weight.clone() for weight in weights]

    @torch.no_grad()
    def measure_gradient(self, weights: Sequence[Tensor], known: Tensor | None = None) -> None:
        """Measure the gradient of a log point before anything edits it; `known` is its norm, once that is done."""
        self._grad_norm = norm([w.grad for w in weights if w.grad is not None]) if known is None else known

    @torch.no_grad()
    def measure_edited_gradient(self, weights: Sequence[Tensor]) -> None:
        """Measure the fraction of the gradient's norm that is left after its edits, clipping or noise."""
        self._grad_kept = norm([weight.grad for weight in weights if weight.grad is not None]) / self._grad_norm

    def add(self, losses: Tensor, outputs: Tensor, targets: Tensor, batches: int = 1) -> None:
        """Take losses, outputs and targets of a training batch, or of several; nothing is copied to the host."""
        self._window.add(losses, outputs, targets, batches)

    @torch.no_grad()
    def log(self, weights: Sequence[Tensor], now: Clock) -> None:
        """Write a log point after the step: the averages since the last one."""
        ratio = norm(torch._foreach_sub(weights, self._weights)) / norm(self._weights)
        # host sync: the device catches up here, so that the throughput is true
        measured = {"grad_norm": self._grad_norm, "update_ratio": ratio, "param_norm": norm(weights)}
        measured |= {} if self._grad_kept is None else {"grad_kept": self._grad_kept}
        self._train_point(now, **dict(zip(measured, torch.stack([*measured.values()]).tolist())))

    def running_averages(self) -> dict[str, float]:
        """Return training loss and score since the last log point or evaluation, a moment old on a GPU: no host sync.

        Empty while there are none.
        """
        sums = [] if self._window.empty else self._glance(self._window.sums())
        return self._window.means(sums) if sums else {}

    def flush_averages(self, now: Clock) -> None:
        """Write the training averages since the last log point, so that they precede the validation row."""
        if not self._window.empty:
            self._train_point(now)

    def since_evaluation(self) -> dict[str, float]:
        """Return training loss and score since the last call; empty where every step was skipped."""
        sums, self._sums_since_evaluation = self._sums_since_evaluation, []
        return self._window.means(sums) if sums else {}

    def _train_point(self, now: Clock, **measured: float) -> None:
        sums = self._window.pop_sums()  # host sync
        seconds = time.perf_counter()
        measured["throughput"], self._last = sums[0] / (seconds - self._last), seconds
        before = self._sums_since_evaluation
        self._sums_since_evaluation = [a + b for a, b in zip(before, sums)] if before else sums
        self._point("train", now, {**self._window.means(sums), **measured})

    def record_evaluation(self, split: str, now: Clock, scores: Mapping[str, float]) -> None:
        """Write the scores of a held-out split; those of `test` come to TensorBoard with the results."""
        self._point(split, now, scores)
        self.flush()
        self._last = time.perf_counter()

    def last(self, split: str) -> dict | None:
        """Return the newest row of a split; None where a damaged file may have lost a newer one."""
        return next((row for row in self.rows[::-1] if row["split"] == split and row["step"] >= self._known_from), None)

    def record_config(self, config: str, overrides: Sequence[str], step: int = 0) -> None:
        """Write the configuration and the overrides that were typed, which hold from a step on, for TensorBoard.

        Nothing where its files have this configuration already, as those of a run that is resumed.
        """
        typed = " ".join(overrides) or "(defaults)"
        lines = "\n".join(f"    {line}" for line in config.splitlines())
        if lines != self._config:
            self._config = lines
            self._event_file("train").add(text("config", f"    train {typed}\n\n{lines}"), step)

    def record_summary(self, summary: Summary, step: int) -> None:
        """Write a picture of a time, for TensorBoard."""
        self._event_file("train").add(summary, step)

    def record_results(
        self,
        settings: Mapping[str, str | float],
        columns: Collection[str],
        evaluations: Mapping[str, Mapping[str, float]],
        complete: bool,
        verdicts: str = "",
        report: Iterable = (),
    ) -> None:
        """Write the row of the HParams tab and the scores in it, into a file that a resumed run replaces.

        TensorBoard takes the first row that it finds in a folder for good.

        Args:
            settings, columns, complete: as of `hparams.row`.
            evaluations: scores with their step, as `best` and `test`.
            verdicts: on the run, as Markdown.
            report: summaries of a report on its errors.
        """
        file = EventFile(self.directory / "val", self._events_failed, RESULTS)
        self._event_files[RESULTS] = file
        file.add(hparams.row(settings, columns, complete), 0)
        if verdicts:
            file.add(text("verdicts", verdicts), 0)
        for when, scores in evaluations.items():
            known = {name: scores[name] for name in METRICS if scores.get(name) is not None}
            file.add(scalars(f"hparams/{when}_", known), scores["step"])
        for summary in report:
            file.add(summary, self.rows[-1]["step"])

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, its earlier parts included."""
        return time.perf_counter() - self._start

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._last, self._start = (now := time.perf_counter()), now - seconds

    def state_dict(self) -> dict:
        """Return the sums that are not yet written, and the time."""
        self.flush()
        sums = {"window": self._window.state_dict(), "since_evaluation": self._sums_since_evaluation}
        counts = {"rows": len(self.rows), "rows_sha256": self._digest.hexdigest(), "lost": self._lost}
        return {**sums, "seconds": self.seconds, **counts}

    def load_state_dict(self, state: Mapping, now: Clock) -> None:
        """Return to the time `now`: drop later lines, and write the files anew. Errors: MachineError."""
        self._window.load_state_dict(state["window"])
        self._sums_since_evaluation = [float(number) for number in state["since_evaluation"]]
        self.seconds = float(state["seconds"])
        known = self.rows or reader.read_rows(self.directory)
        rows = [row for row in known if row["step"] <= now.step and row["split"] != "test"]
        lost = max(0, int(state.get("rows", 0)) - len(rows))
        self._lost, self._known_from = int(state.get("lost", 0)) + lost, now.step if lost else 0
        self._begin_anew(rows, now.step)
        what = f"{counted('point', self._lost)} of the curves lost" if self._lost else ""
        if state.get("rows") == len(rows) and state.get("rows_sha256") not in (None, self._digest.hexdigest()):
            self._lost, what = self._lost + 1, "a point of the curves is not the one that was recorded"  # at least
        if what:
            self._warn(f"warning: {printable(self.directory)}: {what}: metrics.jsonl was damaged")

    def restart(self) -> None:
        """Drop the points of an earlier attempt that left no checkpoint. Errors: MachineError."""
        self._begin_anew([], -1)

    def _begin_anew(self, rows: list[dict], step: int) -> None:
        """Write the files anew: the rows, and TensorBoard's texts and images up to a step."""
        path = self.directory / "metrics.jsonl"
        self.close()
        self._event_files.clear()
        before = {split: files_in(self.directory / split) for split in CURVES}
        curves = {split: [path for path in before[split] if not path.name.endswith(RESULTS)] for split in CURVES}
        others = {split: [event for event in texts_and_images(curves[split]) if event.step <= step] for split in CURVES}
        try:
            atomic_write(path, content := b"".join(map(line_of, rows)))
        except OSError as error:
            reason = f"{printable(path)}: cannot be written ({error.strerror})"
            raise MachineError(f"{reason}; free some space and resume the run again") from None
        self.rows, self._file = rows, AppendOnlyFile(path, self._metrics_failed)
        self._digest = sha256(content)
        self._config = newest_config(others["train"])
        for split in CURVES:
            self._rewrite_events(split, others[split], before[split])

    def _rewrite_events(self, split: str, others: Sequence[Event], before: Sequence[Path]) -> None:
        if not before and not any(row["split"] == split for row in self.rows):
            return
        file = self._event_file(split)
        for event in others:
            file.add(event.summary, event.step, event.wall_time)
        for row in self.rows:
            if row["split"] == split:
                file.add(points_of(row), row["step"], row.get("time"))
        file.flush()
        for path in before:
            if file.complete or path.name.endswith(RESULTS):
                with suppress(OSError):
                    path.unlink()

    def flush(self) -> None:
        """Write what waits."""
        for file in self._files():
            file.flush()

    def close(self) -> None:
        """Write what waits and close the files."""
        for file in self._files():
            file.close()

    @property
    def incomplete(self) -> list[str]:
        """Names of those records that the disk does not hold completely: metrics.jsonl, TensorBoard."""
        metrics, *events = (file.complete for file in self._files())
        complete = {"metrics.jsonl": metrics and not self._lost, "TensorBoard": all(events) and not self._lost}
        return [name for name in complete if not complete[name]]

    def _files(self) -> Iterator[AppendOnlyFile | EventFile]:
        yield self._file
        yield from self._event_files.values()

    def _warn_once(self, what: str, files: Iterable[AppendOnlyFile | EventFile], error: OSError) -> None:
        """Warn of a kind of file once: from the first step of which a record waits, else from the last row on."""
        if what not in self._warned:
            self._warned.add(what)
            last = self.rows[-1]["step"] if self.rows else 0
            since = min((file.pending_since for file in files if file.pending_since is not None), default=last)
            reason = f"{what} incomplete from step {since:,} on ({error.strerror})"
            self._warn(f"warning: {printable(self.directory)}: {reason}; training continues")

    def _metrics_failed(self, error: OSError) -> None:
        self._warn_once("metrics.jsonl is", [self._file], error)

    def _events_failed(self, error: OSError) -> None:
        self._warn_once("the TensorBoard curves are", self._event_files.values(), error)

    def _point(self, split: str, now: Clock, values: Mapping[str, float]) -> None:
        epoch, seconds = round(now.epochs, 4), round(self.seconds, 4)
        row = {"step": now.step, "epoch": epoch, "split": split, "lr": now.lr, "seconds": seconds}
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        row["time"] = round(time.time(), 3)
        self.rows.append(row)
        self._file.step = now.step
        self._file.write(line := line_of(row))
        if split != "test":  # which a resumed run evaluates again
            self._digest.update(line)
        if split in CURVES:
            self._event_file(split).add(points_of(row), now.step, row["time"])

    def _event_file(self, split: str) -> EventFile:
        if split not in self._event_files:
            self._event_files[split] = EventFile(self.directory / split, self._events_failed)
        return self._event_files[split]
