"""Files of a run's end: curves.png, layers.json, the best weights, its report and, last of all, summary.json."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from trainer.base.atomic import atomic_write
from trainer.base.errors import MachineError
from trainer.base.helper import helper
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.rundir import checkpoint, curves_plot, fit_map, fit_plot, snapshots
from trainer.rundir import directory as rundir
from trainer.rundir.checkpoint import Checkpoints
from trainer.rundir.console import Console
from trainer.rundir.description import Description, write_description
from trainer.rundir.fit_frames import frames_in, write_gif
from trainer.rundir.fit_map import FIT, FitMap
from trainer.rundir.recorder import RESULTS, Recorder
from trainer.rundir.report_folder import REPORT, write_report
from trainer.rundir.resume import command_to_resume
from trainer.rundir.status import COMPLETE, Status
from trainer.rundir.title import title_of

# Files that give way to the summary on a full disk, in this order, by the name that it lists them under.
SPARED = {
    name: name for name in (REPORT, "fit.gif", "filters.png", "layers.json", "run.json", "curves.png", "fit.png", FIT)
}
SPARED["TensorBoard"] = f"val/*{RESULTS}"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results of a run, as far as it has them.

    Args:
        best: the model with the best weights.
        probes: of the layers.
        report: contents of its files, by name.
        fit: of the best weights, of a model of one or two features.
        filters: of their first convolution, as PNG.
    """

    best: nn.Module | None = None
    probes: Sequence[dict] = ()
    report: Mapping[str, bytes] = field(default_factory=dict)
    fit: FitMap | None = None
    filters: bytes = b""


@dataclass(frozen=True)
class LastFiles:
    """Writer of the files of a run's end."""

    directory: Path
    recorder: Recorder
    console: Console
    checkpoints: Checkpoints
    invocation: Invocation
    description: Description
    snapshots: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)  # weights by steps done

    def write(self, summary: dict, results: Results) -> MachineError | None:
        """Write the files, however the run ended; a summary that lists what the disk did not take comes last.

        A run that is killed or that a signal ends here is not complete: it makes the rest when it is resumed. Returns:
        the error where the summary could not be written.
        """
        try:
            self.recorder.close()
            self.console.flush()
            summary["incomplete"] = [*self.checkpoints.incomplete, *self.recorder.incomplete, *self.console.incomplete]
            for name, (doing, write) in self._writers(summary, results).items():
                try:
                    with self.console.status(f"{doing} {name}"):
                        write(self.directory / name)
                except OSError as error:
                    path = f"{printable(self.directory)}/{name}"
                    self.console.print(f"warning: {path}: could not be written ({error.strerror})")
                    summary["incomplete"].append(name)
                    if name == REPORT:
                        remove(self.directory / REPORT)  # half of it tells less than its absence
            self.write_summary(summary)  # last: a run that has one lacks nothing
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

    def write_summary(self, summary: dict) -> None:
        """Write summary.json, in place of files that can be made again where the disk has no space. Errors: OSError."""
        spared = {name: found for name, files in SPARED.items() if (found := [*self.directory.glob(files)])}
        for name, files in (*spared.items(), ("", ())):
            try:
                return rundir.write_summary(self.directory, summary)
            except OSError:
                if not name:
                    raise
                for path in files:
                    remove(path)
                summary["incomplete"] = [*dict.fromkeys([*summary["incomplete"], name])]

    def _writers(self, summary: dict, results: Results) -> dict[str, tuple[str, Callable[[Path], None]]]:
        """Return what writes each file, behind its verb; a sweep draws the curves and the fit of its jobs."""
        files, title, fit = {}, title_of(self.invocation), results.fit
        if self.invocation.sweep is None:
            curves = helper.call(curves_plot.draw_run, self.directory, self.recorder.rows, summary, title)
            files["curves.png"] = "drawing", lambda path: curves()
            if fit:
                fitted = helper.call(fit_plot.draw, fit, self.directory / "fit.png", title)
                files["fit.png"] = "drawing", lambda path: fitted()
            if fit and len(frames := frames_in(self.directory / "train")) > 1:
                files["fit.gif"] = "drawing", lambda path: write_gif(frames, path)
            if results.filters:
                files["filters.png"] = "writing", lambda path: atomic_write(path, results.filters)
        if fit:
            files[FIT] = "writing", lambda path: fit_map.write(fit, path)
        if results.probes:
            files["layers.json"] = "writing", lambda path: rundir.write_layers(path, results.probes)
        described = replace(self.description, scores=scores_of(summary))
        files["run.json"] = "writing", lambda path: write_description(path, described)
        if results.best:
            files["weights.safetensors"] = "writing", lambda path: checkpoint.export(results.best, path, described)
        if results.best and self.snapshots:
            files[snapshots.FOLDER] = "writing", lambda path: snapshots.write(path, self.snapshots, self.description)
        if results.report:
            files[REPORT] = "writing", lambda path: write_report(path, results.report)
        return files


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def scores_of(summary: dict) -> dict[str, dict[str, float]]:
    """Return the scores of the best weights, by split, as far as a summary has them."""
    kept = {"val": summary.get("best"), "test": summary.get("test")}
    return {
        split: {name: value if math.isfinite(value) else None for name, value in scores.items()}
        for split, scores in kept.items()
        if scores
    }
