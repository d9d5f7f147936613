"""Files of an evaluation, in a directory of its own: the runs that were evaluated stay as they are."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from trainer.base.atomic import atomic_write
from trainer.base.json_text import as_json
from trainer.base.text import from_here
from trainer.config.hydra_context import Invocation
from trainer.engine.split_report import events_of
from trainer.report.report import Report
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.rundir.event_file import EventFile
from trainer.rundir.report_folder import REPORT, write_report

NAME = "evaluation.json"


class EvaluationFiles:
    """Writer of evaluation.json, of a report's files and of its events; the directory is made with the first of them.

    Args:
        several: whether more than one run is evaluated: each has a folder then.
    """

    def __init__(self, cfg: DictConfig, invocation: Invocation, console: Console, several: bool) -> None:
        self.cfg, self.invocation, self.console, self.several = cfg, invocation, console, several
        self.directory: Path | None = None
        self.rows: list[dict] = []

    def add(self, run: Path, weights: str, scores: Mapping[str, Mapping], reports: Mapping[str, Report]) -> None:
        """Write what was found about a run: the files are those of the last split's report. Errors: MachineError.

        Args:
            weights: which of its weights were evaluated.
            scores: by split.
            reports: by split, as far as there are any.
        """
        splits = {
            name: {**values, "report": reports[name].figures if name in reports else None}
            for name, values in scores.items()
        }
        self.rows.append({"run": str(run), "weights": weights, "splits": splits})
        self.directory = self.directory or rundir.create_with_config(self.cfg, self.invocation)
        last = reports.get([*scores][-1])
        try:
            atomic_write(self.directory / NAME, as_json({"evaluated": self.rows}))
            if last is not None:
                self._write_report(
                    rundir.make_unique(self.directory, run.name) if self.several else self.directory, last
                )
        except OSError as error:
            raise rundir.cannot_be_written(self.directory, error, "the evaluation") from None

    def _write_report(self, folder: Path, report: Report) -> None:
        write_report(folder / REPORT, report.files)
        events = EventFile(folder)
        for summary in events_of(report):
            events.add(summary, 0)
        events.close()
        self.console.print(f"saved {from_here(folder / REPORT)}")
