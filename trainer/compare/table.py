"""What a comparison says: a table in the terminal; ranking.csv, ranking.md and ranking.png. No torch here."""

import csv
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from trainer.compare import plot
from trainer.compare.ranking import FIGURES, MISSING, Ranking, Setting, ranked, seconds
from trainer.compare.record import Record, clean, is_run, read, text
from trainer.rundir.console import Console

EXPLAINED = ("diverged", "failed", "interrupted")  # the last line of the log says why
MOST = 30  # settings in a table, and lines of remarks
GAP = 2  # places between columns
# Scores, and whether the settings share a column; the fullest first.
LAYOUTS = ((FIGURES, False), (FIGURES[:2], False), (FIGURES[:2], True), (FIGURES[:1], True))
SEEDS = 6  # as many are listed in a table, more are counted
MEASURES = (("mean", Setting.mean), ("std", Setting.deviation))


def rank(sweep: Path) -> None:
    """The answer of a sweep: print which settings were best, and leave the same in its folder. Nothing where there is no score."""
    ranking = ranked(
        [read(path) for path in sorted(sweep.iterdir()) if is_run(path) or (path / "overrides.txt").is_file()]
    )
    if ranking.scored:
        say(ranking, Console())
        write(ranking, sweep)
        Console().say(
            f"\nThe same is in {short(sweep)}: ranking.csv, ranking.md, ranking.png\nLook at it:   tensorboard --logdir {shlex.quote(short(sweep))}"
        )


def short(path: Path) -> str:
    """A path from here, where it lies below."""
    return clean(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def say(ranking: Ranking, console: Console) -> None:
    """The table, what did not end as it should, and what was left out; of a long list the first 30."""
    console.say()
    console.say(
        f"{counted('setting', len(ranking.settings))}, {counted('run', len(ranking.jobs))}, ranked by {ranking.by}"
    )
    console.say(fitting(ranking, console.terminal.width))
    if len(ranking.settings) > MOST:
        console.say(f"and {counted('setting', len(ranking.settings) - MOST)} more: ranking.csv has all")
    lines = [*remarks(ranking)]
    for line in lines[:MOST]:
        console.say(line)
    if len(lines) > MOST:
        console.say(f"and {counted('line', len(lines) - MOST)} more of this kind: ranking.md has all")


def fitting(ranking: Ranking, width: int) -> Table:
    """The fullest table of the best settings that is not wider than the terminal, and cuts no word.

    Where a column for each key is too much, one column has all words, in lines; and there are fewer scores.
    """
    best = replace(ranking, settings=ranking.settings[:MOST])
    for wanted, in_words in LAYOUTS:
        rows = [*table(best, wanted, in_words)]
        spare = width - sum(widths(rows)) - GAP * (len(rows[0]) - 1)
        words = max(cell_len(word) for row in rows for word in row[1].split(" ")) if in_words else widths(rows)[1]
        if widths(rows)[1] + min(spare, 0) >= words:
            break
    return as_rich(rows, left=2 if in_words else len(ranking.columns) + 1)


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of every column, in places of a terminal."""
    return [max(map(cell_len, column)) for column in zip(*rows)]


def counted(word: str, count: int) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def as_rich(rows: Sequence[Sequence[str]], left: int, folding: Sequence[int] = (1,)) -> Table:
    """Headings and rows, the first of which is the best.

    Args:
        left: as many columns and the last one are words, the others figures.
        folding: columns that may take several lines.
    """
    head, *rows = rows
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for place, name in enumerate(head):
        words = place < left or place == len(head) - 1
        made.add_column(Text(name), justify="left" if words else "right", no_wrap=place not in folding, overflow="fold")
    for place, row in enumerate(rows):
        made.add_row(*map(Text, row), style="bold" if place == 0 else None)
    return made


def table(ranking: Ranking, wanted: Sequence[tuple[str, str]] = FIGURES, in_words: bool = False) -> Iterator[list[str]]:
    """Headings, then a row a setting, as text.

    Args:
        wanted: scorings; those that any run has get a column.
        in_words: one column with every setting's words in place of a column for each key.
    """
    kinds = [
        (when, word)
        for when, word in wanted
        if any(setting.mean(when, ranking.metric) is not None for setting in ranking.settings)
    ]
    columns = ["setting"] if in_words else [*map(clean, ranking.columns)]
    yield ["", *columns, *(f"{word} {ranking.metric}" for _, word in kinds), "seeds", "status"]
    for place, setting in enumerate(ranking.settings, start=1):
        cells = [setting.label] if in_words else setting.shown.values()
        yield [
            str(place),
            *cells,
            *(spread(setting, when, ranking.metric) for when, _ in kinds),
            seeds(setting),
            setting.status,
        ]


def spread(setting: Setting, when: str, metric: str) -> str:
    """`0.9833 +/- 0.0021`, the mean alone for one seed."""
    mean, deviation = setting.mean(when, metric), setting.deviation(when, metric)
    return MISSING if mean is None else brief(mean) if deviation is None else f"{brief(mean)} +/- {brief(deviation)}"


def brief(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1e4 else f"{value:.2e}"


def seeds(setting: Setting) -> str:
    return ",".join(setting.seeds) if len(setting.seeds) <= SEEDS else f"{len(setting.seeds)} of them"


def remarks(ranking: Ranking) -> Iterator[str]:
    """A line on each run that did not end as it should, with its log, and on what was left out."""
    for setting in ranking.settings:
        for job, seed in zip(setting.jobs, setting.seeds):
            if not job.ended:
                yield f"{clean(job.status)}: {f'{setting.label} ' if setting.label else ''}seed={seed}: {reason(job)}"
    yield from ranking.notes


def reason(job: Record) -> str:
    """Why a run did not end, as far as is known, and where to read more."""
    log = job.path / "run.log"
    lines = [line.strip() for line in text(log).splitlines() if line.strip()] if job.status in EXPLAINED else []
    said = clean(job.summary.get("error") or (lines[-1] if lines else ""))
    place = short(log if log.exists() else job.path)
    return f"{said[:200]} ({place})" if said else place


def write(ranking: Ranking, folder: Path) -> None:
    """ranking.csv with every figure in full, ranking.md and ranking.png."""
    write_csv([*figures(ranking)], folder / "ranking.csv")
    (folder / "ranking.md").write_text("\n".join(markdown(ranking)) + "\n", encoding="utf-8")
    plot.draw(ranking, folder / "ranking.png")


def write_csv(rows: Sequence[Sequence[object]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def figures(ranking: Ranking) -> Iterator[list[object]]:
    """Headings, then a row a setting: numbers in full, what the seeds have each in their order, joined by semicolons."""
    kinds = [(when, metric) for when, _ in FIGURES for metric in ranking.metrics]
    names = [
        f"{'val_' if when != 'test' else ''}{when}_{metric}_{measure}"
        for when, metric in kinds
        for measure, _ in MEASURES
    ]
    yield [
        "rank",
        *map(clean, ranking.columns),
        "runs",
        "ended",
        *names,
        "seconds_mean",
        "seeds",
        "status",
        "directories",
    ]
    for place, setting in enumerate(ranking.settings, start=1):
        numbers = [measure(setting, when, metric) for when, metric in kinds for _, measure in MEASURES]
        lists = (setting.seeds, [clean(job.status) for job in setting.jobs], [clean(job.path) for job in setting.jobs])
        ended = sum(job.ended for job in setting.jobs)
        yield [
            place,
            *setting.cells.values(),
            len(setting.jobs),
            ended,
            *numbers,
            seconds(setting),
            *map(";".join, lists),
        ]


def markdown(ranking: Ranking) -> Iterator[str]:
    head, *rows = table(ranking)
    yield f"Ranked by {ranking.by}; mean +/- standard deviation of the sample over the seeds.\n"
    yield from markdown_table(head, rows)
    yield ""
    yield from (f"- {escaped(line)}" for line in remarks(ranking))
    yield "\n![The ranking and the curves behind it](ranking.png)"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(map(escaped, row))} |"


def escaped(words: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\|`*<[" else letter for letter in words)
