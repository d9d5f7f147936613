"""task=compare: finished, stopped and running runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from trainer.base.errors import ConfigError
from trainer.compare import table
from trainer.compare.ranking import Ranking, differences, ranked, typed_order
from trainer.compare.record import clean, find, read
from trainer.config.hydra_context import Invocation
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console

SAYABLE = ("task", "runs", "output", "allow")


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Rank the runs of `runs=[DIR,...]` by their settings, seeds grouped; reads their text files, builds and scores nothing.

    A directory stands for all runs in it, and a pattern as `outputs/*/*adam*` for all that it matches. Into a directory of
    its own go ranking.csv, ranking.md, ranking.png and settings.csv (every key that differs anywhere, a column a run).

    Args:
        between: two row numbers of the table, whose configurations are held side by side; empty: the first two. Default: empty.
    """

    between: Sequence[int] = ()

    def __post_init__(self) -> None:
        if len(self.between) not in (0, 2) or any(
            isinstance(place, bool) or not isinstance(place, int) or place < 1 for place in self.between
        ):
            raise ValueError(f"between must be two row numbers >= 1 of the table, as [1,2], got {list(self.between)}")

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Errors: ConfigError without runs or with decisions of training, DataError where there is no run; nothing is written then."""
        for text in invocation.overrides:
            if (key := text.partition("=")[0]).partition(".")[0] not in SAYABLE:
                raise ConfigError(
                    f"{key}: task=compare trains nothing; what can be said here: {', '.join(('runs', 'task.between', 'output'))}"
                )
        if not cfg.runs:
            raise ConfigError(
                "runs=[]: task=compare needs run directories; write runs=[outputs/DATE] or runs=[outputs/*/*adam*]"
            )
        directories, notes = find(cfg.runs)
        ranking = ranked([read(directory) for directory in directories], notes)
        pair = self._pair(ranking)
        console = Console()
        table.say(ranking, console)
        folder = rundir.create(
            Path(cfg.output), invocation.overrides, invocation.sweep, invocation.requested_directory
        )
        rundir.write_config(folder, cfg, invocation.overrides)
        table.write(ranking, folder)
        table.write_csv(
            [["key", *(clean(job.path) for job in ranking.jobs)], *differences(*ranking.jobs)], folder / "settings.csv"
        )
        if pair:
            side_by_side(ranking, pair, console)
        console.say(
            f"\nThe same is in {table.short(folder)}: ranking.csv, ranking.md, ranking.png; settings.csv holds every key that differs"
        )

    def _pair(self, ranking: Ranking) -> tuple[int, int] | None:
        """Row numbers to hold side by side. Errors: ConfigError where there is no such row."""
        rows = len(ranking.settings)
        if self.between and max(self.between) > rows:
            raise ConfigError(
                f"task.between=[{','.join(map(str, self.between))}]: the table has {rows} rows; both must be in [1, {rows}]"
            )
        return tuple(self.between) if self.between else (1, 2) if rows > 1 else None


def side_by_side(ranking: Ranking, pair: tuple[int, int], console: Console) -> None:
    """Every key in which two rows of the table differ, by the first run of each; what was typed comes first, marked."""
    both = [ranking.settings[place - 1].jobs[0] for place in pair]
    said = typed_order(both)
    rows = [["*" if row[0] in said else "", *row] for row in differences(*both)]
    console.say(
        f"\nWhat {pair[0]} and {pair[1]} differ in{' (* was typed):' if rows else ': nothing that is on record'}"
    )
    if rows:
        console.say(table.as_rich([["", "", *map(str, pair)], *rows], left=4, folding=(2, 3)))
