"""Files of a run's end: curves.png, layers.json, the best weights and, last of all, summary.json."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from trainer.base.errors import MachineError
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.rundir import checkpoint, curves_plot, reader
from trainer.rundir import directory as rundir
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder
from trainer.rundir.resume import command_to_resume
from trainer.rundir.status import COMPLETE, Status


@dataclass(frozen=True)
class LastFiles:
    """Writer of the files of a run's end."""

    directory: Path
    recorder: Recorder
    console: Console
    checkpoints: Checkpoints
    invocation: Invocation

    def write(self, summary: dict, best: nn.Module | None, probes: Sequence[dict]) -> MachineError | None:
        """Write the files, however the run ended; a summary that lists what the disk did not take comes last.

        A run that is killed or that a signal ends here is not complete: it makes the rest when it is resumed. Returns:
        the error where the summary could not be written.

        Args:
            best: the model with the best weights, if there are any.
            probes: of the layers.
        """
        try:
            self.recorder.close()
            self.console.flush()
            summary["incomplete"] = [*self.checkpoints.incomplete, *self.recorder.incomplete, *self.console.incomplete]
            for name, (doing, write) in self._writers(reader.describe_end(summary), best, probes).items():
                try:
                    with self.console.status(f"{doing} {name}"):
                        write(self.directory / name)
                except OSError as error:
                    path = f"{printable(self.directory)}/{name}"
                    self.console.print(f"warning: {path}: could not be written ({error.strerror})")
                    summary["incomplete"].append(name)
            rundir.write_summary(self.directory, summary)  # last: a run that has one lacks nothing
        except OSError as error:
            what = f"{printable(self.directory)}/summary.json: could not be written ({error.strerror})"
            again = command_to_resume(self.directory, self.invocation)
            return MachineError(f"{what}; free some space, and write it with: {again}")
        except KeyboardInterrupt:
            if summary["status"] in COMPLETE:
                summary["status"] = Status.INTERRUPTED
            rundir.write_summary(self.directory, summary)
            raise
        return None

    def _writers(
        self, end: str, best: nn.Module | None, probes: Sequence[dict]
    ) -> dict[str, tuple[str, Callable[[Path], None]]]:
        """Return what writes each file, behind its verb; a sweep draws the curves of its jobs."""
        files = {}
        if self.invocation.sweep is None:
            files["curves.png"] = "drawing", lambda path: curves_plot.draw(self.recorder.rows, path, end)
        if probes:
            files["layers.json"] = "writing", lambda path: rundir.write_layers(path, probes)
        if best:
            files["weights.safetensors"] = "writing", lambda path: checkpoint.export(best, path)
        return files
