"""task=compare: a ranking of runs that finished, stopped or still train."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from trainer.base.errors import ConfigError
from trainer.comparison import table
from trainer.comparison.ranking import Ranking, differences, rank, typed_order
from trainer.comparison.record import clean, find, read
from trainer.config.hydra_context import Invocation
from trainer.config.keys import Role, role_of
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console

SETTINGS = ("runs", "task.between", "output")


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Rank the runs of `runs=[DIR,...]` by their settings, seeds grouped. Only their text files are read.

    A directory means all runs in it, and a pattern as `outputs/*/*adam*` all that it matches. The comparison gets a
    directory of its own, with ranking.csv, ranking.md, ranking.png and settings.csv (every key that differs).

    Args:
        between: two row numbers of the table, whose configurations are compared key by key; empty for the first two.
            Default: empty.
    """

    between: Sequence[int] = ()

    def __post_init__(self) -> None:
        rows = [
            place for place in self.between if isinstance(place, int) and not isinstance(place, bool) and place >= 1
        ]
        if len(self.between) not in (0, 2) or len(rows) < len(self.between):
            raise ValueError(f"between must be two row numbers >= 1 of the table, as [1,2], got {list(self.between)}")

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Print the ranking and write it into a directory of its own.

        Errors: ConfigError without runs or with settings of training, DataError where there is no run; before writing.
        """
        require_no_training(invocation)
        if not cfg.runs:
            raise ConfigError(
                "runs=[]: task=compare needs run directories; write runs=[outputs/DATE] or runs=[outputs/*/*adam*]"
            )
        directories, notes = find(cfg.runs)
        ranking = rank([read(directory) for directory in directories], notes)
        pair = self._pair(ranking)
        console = Console()
        table.print_ranking(ranking, console)
        folder = rundir.create_with_config(cfg, invocation)
        try:
            table.write(ranking, folder)
            head = ["key", *(clean(job.path) for job in ranking.jobs)]
            table.write_csv([head, *differences(*ranking.jobs)], folder / "settings.csv")
        except OSError as error:
            raise rundir.cannot_be_written(folder, error, "the ranking") from None
        if pair:
            print_side_by_side(ranking, pair, console)
        console.print(f"\nThe ranking is in {table.relative(folder)}: ranking.csv, ranking.md, ranking.png")
        console.print("settings.csv beside it has every key that differs between the runs")

    def _pair(self, ranking: Ranking) -> tuple[int, int] | None:
        """Return the numbers of the two rows to compare. Errors: ConfigError where there is no such row."""
        rows = len(ranking.settings)
        if self.between and max(self.between) > rows:
            asked = ",".join(map(str, self.between))
            raise ConfigError(f"task.between=[{asked}]: the table has {rows} rows; both must be in [1, {rows}]")
        return tuple(self.between) if self.between else (1, 2) if rows > 1 else None


def require_no_training(invocation: Invocation) -> None:
    """Refuse settings of a run, which a comparison has no use for. Errors: ConfigError."""
    for key in invocation.typed_keys:
        if role_of(key) not in (Role.TASK, Role.COMMAND):
            raise ConfigError(f"{key}: task=compare trains nothing; its settings are {', '.join(SETTINGS)}")


def print_side_by_side(ranking: Ranking, pair: tuple[int, int], console: Console) -> None:
    """Print every key in which two rows of the table differ, by the first run of each; typed keys first, marked."""
    both = [ranking.settings[place - 1].jobs[0] for place in pair]
    typed = typed_order(both)
    rows = [["*" if row[0] in typed else "", *row] for row in differences(*both)]
    if not rows:
        console.print(f"\nRows {pair[0]} and {pair[1]} do not differ in any setting")
        return
    console.print(f"\nDifferences between rows {pair[0]} and {pair[1]} (* was typed):")
    console.print(table.as_rich([["", "", *map(str, pair)], *rows], left=4, folding=(2, 3)))
