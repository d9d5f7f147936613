"""What a run records while it goes: metrics.jsonl and TensorBoard."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard.summary import hparams, image, scalar, text

from trainer.base.atomic import AppendOnlyFile, atomic_write
from trainer.base.clock import Clock
from trainer.base.errors import MachineError
from trainer.base.metrics import MetricAccumulator
from trainer.base.text import printable
from trainer.rundir import directory as rundir
from trainer.rundir.event_file import EventFile


class Recorder:
    """Points of the run. Between log points everything stays on the device.

    The run's own event file holds lr, grad_norm, update_ratio and throughput; `train/`, `val/` and `test/` hold loss and
    score under the same tags, so that TensorBoard draws them on one chart. metrics.jsonl holds one object a line: `val` and
    `test` one a scoring; `train` one a log point and a scoring, averaged over the updates since its last line.

    A disk that is full ends nothing: it is told once of metrics.jsonl and once of TensorBoard, what could not be written is
    tried again at every scoring and every checkpoint, and `rows` has all points at any time.

    Args:
        directory: the run's.
        task: of the data; names the score.
        warn: takes the line that tells of it.
    """

    def __init__(self, directory: Path, task: str, warn: Callable[[str], None] = print) -> None:
        self.directory = directory
        self.rows: list[dict] = []
        self._warn = warn
        self._told: set[str] = set()
        self._tally = MetricAccumulator(task)
        self._since_scoring: list[float] = []
        self._grad_norm = torch.tensor(math.nan)
        self._writers: dict[str, EventFile] = {}
        self._file = AppendOnlyFile(directory / "metrics.jsonl", self._metrics_failed)
        self._start = self._last = time.perf_counter()
        self._weights: list[Tensor] = []
        self._resumed_at: int | None = None

    @torch.no_grad()
    def before_step(self, weights: Sequence[Tensor]) -> None:
        """At a log point, before the update: remember the weights, to tell how far they move."""
        self._weights = [weight.clone() for weight in weights]

    @torch.no_grad()
    def measure_gradient(self, weights: Sequence[Tensor]) -> None:
        """At a log point, after backward and before anything edits the gradient."""
        self._grad_norm = norm([weight.grad for weight in weights if weight.grad is not None])

    def add(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """A training batch's losses, outputs and targets; nothing is copied to the host."""
        self._tally.add(losses, outputs, targets)

    @torch.no_grad()
    def log(self, weights: Sequence[Tensor], now: Clock) -> dict[str, float]:
        """A log point, after the update: write the averages since the last one and return them."""
        ratio = norm(torch._foreach_sub(weights, self._weights)) / norm(self._weights)
        grad_norm, update_ratio = torch.stack(
            [self._grad_norm, ratio]
        ).tolist()  # host sync: the device catches up here, so that the clock tells the truth
        return self._train_point(now, grad_norm=grad_norm, update_ratio=update_ratio)

    def before_scoring(self, now: Clock) -> None:
        """What no log point has written yet is written."""
        if not self._tally.empty:
            self._train_point(now)

    def since_scoring(self) -> dict[str, float]:
        """Training loss and score averaged since this was last asked; empty where no update was kept."""
        numbers, self._since_scoring = self._since_scoring, []
        return self._tally.means(numbers) if numbers else {}

    def _train_point(self, now: Clock, **measured: float) -> dict[str, float]:
        numbers = self._tally.take()  # host sync
        seconds = time.perf_counter()
        measured["throughput"], self._last = numbers[0] / (seconds - self._last), seconds
        self._since_scoring = [a + b for a, b in zip(self._since_scoring, numbers)] if self._since_scoring else numbers
        means = self._tally.means(numbers)
        self._row("train", now, {**means, **measured})
        self._scalars("train", now, means)
        self._scalars("", now, {"lr": now.lr, **measured})
        return {**means, "throughput": measured["throughput"]}

    def scored(self, split: str, now: Clock, scores: dict[str, float]) -> None:
        """A scoring of a held-out split."""
        self._row(split, now, scores)
        self._scalars(split, now, scores)
        self.flush()
        self._last = time.perf_counter()

    def last(self, split: str) -> dict | None:
        """The newest row of a split."""
        return next((row for row in reversed(self.rows) if row["split"] == split), None)

    def decisions(self, config: str, overrides: Sequence[str], pictures: Tensor | None) -> None:
        """At the start: what the run is, and what its first batch looks like (N, C, H, W, any range)."""
        typed = " ".join(overrides) or "(defaults)"
        self._writer("").add(
            text("config", f"    train {typed}\n\n" + "\n".join("    " + line for line in config.splitlines())), 0
        )
        if pictures is not None:
            self._writer("").add(image("first_batch", grid(pictures), dataformats="HWC"), 0)

    def hparams(self, settings: dict[str, str | float | bool], metrics: dict[str, float]) -> None:
        """At the end: the row of the HParams tab, in the run's own event file."""
        _, *row = hparams(
            settings, {}
        )  # TensorBoard takes the columns of the first run that names some; from none it gathers them itself
        for summary in row:
            self._writer("").add(summary, 0)
        for name, value in metrics.items():
            self._writer("").add(scalar(name, value), 0)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def state_dict(self) -> dict:
        """What is gathered but not yet written, and the time."""
        self.flush()
        return {"tally": self._tally.state_dict(), "since_scoring": self._since_scoring, "seconds": self.seconds}

    def load_state_dict(self, state: dict, now: Clock) -> None:
        """Go on after the update `now`: later lines of metrics.jsonl are dropped, later points of TensorBoard are told to be void.

        Errors: MachineError where metrics.jsonl cannot be written anew.
        """
        self._tally.load_state_dict(state["tally"])
        self._since_scoring = list(state["since_scoring"])
        self._last = time.perf_counter()
        self._start = self._last - state["seconds"]
        self._go_back(
            [
                row
                for row in self.rows or rundir.rows(self.directory)
                if row["step"] <= now.step and row["split"] != "test"
            ],
            now.step,
        )

    def begin_anew(self) -> None:
        """Drop what an earlier part of the run has left. Errors: MachineError."""
        self._go_back([], 0)

    def _go_back(self, rows: list[dict], step: int) -> None:
        path = self.directory / "metrics.jsonl"
        self.close()
        self._writers.clear()
        try:
            atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        except OSError as error:
            raise MachineError(
                f"{printable(path)}: cannot be written ({error.strerror}); make room and resume the run again"
            ) from None
        self.rows, self._resumed_at = rows, step
        self._file = AppendOnlyFile(path, self._metrics_failed)

    def flush(self) -> None:
        for file in self._files():
            file.flush()

    def close(self) -> None:
        for file in self._files():
            file.close()

    @property
    def incomplete(self) -> list[str]:
        """What the disk does not hold all of: metrics.jsonl, TensorBoard."""
        metrics, *events = (file.whole for file in self._files())
        return [name for name, whole in (("metrics.jsonl", metrics), ("TensorBoard", all(events))) if not whole]

    def _files(self) -> Iterator[AppendOnlyFile | EventFile]:
        yield self._file
        yield from self._writers.values()

    def _tell(self, what: str, files: Iterable[AppendOnlyFile | EventFile], error: OSError) -> None:
        """Warn of a kind of file once: from the first update of which something waits, else from the last one, before what ends a run."""
        if what not in self._told:
            self._told.add(what)
            since = min(
                (file.since for file in files if file.since is not None),
                default=self.rows[-1]["step"] if self.rows else 0,
            )
            self._warn(
                f"warning: {printable(self.directory)}: {what} incomplete from update {since:,} on ({error.strerror}); training goes on"
            )

    def _metrics_failed(self, error: OSError) -> None:
        self._tell("metrics.jsonl is", [self._file], error)

    def _events_failed(self, error: OSError) -> None:
        self._tell("the TensorBoard curves are", self._writers.values(), error)

    def _row(self, split: str, now: Clock, values: dict[str, float]) -> None:
        row = {
            "step": now.step,
            "epoch": round(now.step / now.steps_per_epoch, 4),
            "split": split,
            "lr": now.lr,
            "seconds": round(self.seconds, 4),
        }
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        self.rows.append(row)
        self._file.step = now.step
        self._file.write(f"{json.dumps(row)}\n".encode())

    def _scalars(self, split: str, now: Clock, values: dict[str, float]) -> None:
        self._writer(split).add(
            Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()]), now.step
        )

    def _writer(self, split: str) -> EventFile:
        if split not in self._writers:
            self._writers[split] = EventFile(self.directory / split, self._resumed_at, self._events_failed)
        return self._writers[split]


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm over all of them."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def grid(images: Tensor, columns: int = 8) -> Tensor:
    """Up to 32 images side by side as one picture (H, W, 3) of uint8, each stretched to the full range."""
    images = images[:32].float().cpu()
    if images.shape[1] not in (1, 3):
        images = images[:, :1]
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    images = ((images - low) / (high - low).clamp(min=1e-12)).expand(-1, 3, -1, -1)
    images = torch.nn.functional.pad(images, (1, 1, 1, 1), value=1.0)
    missing = -len(images) % columns if len(images) > columns else 0
    images = torch.cat([images, images.new_ones(missing, *images.shape[1:])])
    rows = [torch.cat(list(row), dim=2) for row in images.split(columns)]
    return torch.cat(rows, dim=1).mul(255).byte().permute(1, 2, 0)
