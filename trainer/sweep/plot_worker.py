"""curves.png of a sweep's jobs, drawn by one process beside them, so that no job waits the fifth of a second that one takes.

That process is this file: directories come in as lines, and it ends with its input, so that none is left when the sweep is killed.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from trainer.base.text import printable
from trainer.rundir import curves_plot, resume
from trainer.rundir import directory as rundir


class Pictures:
    """While entered, draws what it is told to; at the end all of it has been drawn."""

    def __enter__(self) -> "Pictures":
        self._painter: subprocess.Popen | None = None
        return self

    def draw(self, directory: Path) -> None:
        """The picture of a run that has ended, where it came to any points; returns at once."""
        if not (directory / "metrics.jsonl").exists():
            return
        if self._painter is None:
            words = [sys.executable, "-m", "trainer.sweep.plot_worker"]
            self._painter = subprocess.Popen(
                words, stdin=subprocess.PIPE, text=True, start_new_session=True
            )  # no signal from the terminal
        with suppress(BrokenPipeError):  # it has said why it ended
            self._painter.stdin.write(f"{json.dumps(str(directory.absolute()))}\n")
            self._painter.stdin.flush()

    def __exit__(self, *exception: object) -> None:
        if self._painter is not None:
            with suppress(BrokenPipeError):
                self._painter.stdin.close()
            self._painter.wait()


def paint(lines: Iterable[str]) -> None:
    for line in lines:
        directory = Path(json.loads(line))
        try:
            curves_plot.draw(
                [*rundir.rows(directory)], directory / "curves.png", resume.shortcoming(resume.summary(directory))
            )
        except OSError as error:
            print(
                f"warning: {printable(directory)}/curves.png: could not be written ({error.strerror})",
                file=sys.stderr,
                flush=True,
            )


if __name__ == "__main__":
    paint(sys.stdin)
