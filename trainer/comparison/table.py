"""Tables of a ranking: in the terminal, and as ranking.csv and ranking.md. No torch here."""

import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from trainer.base.atomic import atomic_write
from trainer.base.metrics import LOSS
from trainer.base.text import as_csv_cell, counted, escaped, from_here, markdown_table
from trainer.comparison import findings, means, plot
from trainer.comparison.ranking import EVALUATIONS, MISSING, Ranking, Setting, mean_seconds, rank, typed
from trainer.comparison.record import Record, clean, is_run, read
from trainer.config.keys import makes_another_job
from trainer.rundir.console import Console
from trainer.rundir.reader import read_text
from trainer.rundir.status import Status

EXPLAINED = (Status.DIVERGED, Status.FAILED, Status.INTERRUPTED)  # the last line of the log says why
MAX_ROWS = 30  # settings in a table, and lines of remarks
GAP = 2  # places between columns
# Evaluations, and whether all keys of a setting share one column; the fullest layout first.
LAYOUTS = ((EVALUATIONS, False), (EVALUATIONS[:2], False), (EVALUATIONS[:2], True), (EVALUATIONS[:1], True))
MAX_SELECTED = 40  # rows of TensorBoard that are selected at first in most of its tabs; 500 in Time Series
MAX_SEEDS = 6  # are listed in a table; more are counted
MEASURES = (("mean", Setting.mean), ("std", Setting.deviation))


def rank_sweep(sweep: Path, shows: bool = True) -> None:
    """Write the ranking of a sweep's jobs into its folder, and print it; their notes where none has a score.

    Args:
        shows: False to print nothing but a warning.
    """
    console = Console(silent=not shows)
    directories = [path for path in sorted(sweep.iterdir()) if is_run(path) or (path / "overrides.txt").is_file()]
    ranking = rank([read(directory) for directory in directories], counts=makes_another_job)
    if ranking.scored:
        print_ranking(ranking, console)
        folder = relative(sweep)
        try:
            write(ranking, sweep)
            means.write(ranking, sweep)
        except OSError as error:
            Console().print(f"\nwarning: {folder}: the ranking could not be written ({error.strerror})")
            return
        console.print(f"\nThe ranking is in {folder}: ranking.csv, ranking.md, ranking.png")
        console.print(f"See the curves: tensorboard --logdir {shlex.quote(folder)}")
        if len({events.parent for events in sweep.glob("*/*/events.out.tfevents.*")}) > MAX_SELECTED:
            select = 'press "Toggle All Runs" or filter them'
            console.print(f"(of more than {MAX_SELECTED} rows Images, Text and Scalars select none: {select})")
    else:
        print_lines([*findings.notes_of_jobs(ranking)], console)


def relative(path: Path) -> str:
    """Return a path as it is typed from the current folder, as text for a terminal."""
    return clean(from_here(path))


def print_ranking(ranking: Ranking, console: Console) -> None:
    """Print the table, the runs that did not finish, and those that were left out; of a long list the first 30."""
    console.print()
    settings, runs = counted("setting", len(ranking.settings)), counted("run", len(ranking.jobs))
    console.print(f"{settings}, {runs}, ranked by {ranking.by}")
    for line in findings.incomparable(ranking):
        console.print(line)
    if ranking.usual:
        console.print(f"usual, and left out below: {typed(ranking.usual)}")
    console.print(fullest_table(ranking, console.terminal.width))
    if len(ranking.settings) > MAX_ROWS:
        console.print(f"and {counted('more setting', len(ranking.settings) - MAX_ROWS)}: see ranking.csv")
    for line in findings.conclusions(ranking):
        console.print(line)
    print_lines([*remarks(ranking)], console)


def print_lines(lines: Sequence[str], console: Console) -> None:
    """Print remarks; of many the first 30."""
    for line in lines[:MAX_ROWS]:
        console.print(line)
    if len(lines) > MAX_ROWS:
        console.print(f"and {counted('more remark', len(lines) - MAX_ROWS)}: see ranking.md")


def fullest_table(ranking: Ranking, width: int) -> Table:
    """Return the fullest table of the best settings that fits the terminal without cutting an entry.

    Where a column for each key is too much, one column has all keys, in lines; and there are fewer scores.
    """
    best = replace(ranking, settings=ranking.settings[:MAX_ROWS])
    for evaluations, in_one in LAYOUTS:
        rows = [*table_rows(best, evaluations, in_one)]
        spare = width - sum(widths(rows)) - GAP * (len(rows[0]) - 1)
        longest = max(cell_len(part) for row in rows for part in row[1].split(" ")) if in_one else widths(rows)[1]
        if widths(rows)[1] + min(spare, 0) >= longest:
            break
    bold = [0] if findings.has_winner(ranking) else []
    made = as_rich(rows, left=2 if in_one else len(ranking.columns) + 1, bold=bold)
    if without := [name for when, name in known_evaluations(ranking) if (when, name) not in evaluations]:
        made.caption, made.caption_justify = f"{' and '.join(without)}: see ranking.csv", "left"
    return made


def known_evaluations(ranking: Ranking) -> list[tuple[str, str]]:
    """Return the evaluations that any run has."""
    metric = ranking.metric.name
    return [
        (when, name)
        for when, name in EVALUATIONS
        if any(setting.mean(when, metric) is not None for setting in ranking.settings)
    ]


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of every column, in places of a terminal."""
    return [max(map(cell_len, column)) for column in zip(*rows)]


def as_rich(
    rows: Sequence[Sequence[str]], left: int, folding: Sequence[int] = (1,), bold: Sequence[int] = (0,)
) -> Table:
    """Return headings and rows as a table for the terminal.

    Args:
        left: columns from the left that are text, as the last one is; the others are numbers.
        folding: columns that may take several lines.
        bold: rows that stand out; the first one, the best, where nothing is given.
    """
    head, *rows = rows
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for place, name in enumerate(head):
        is_text = place < left or place == len(head) - 1
        justify = "left" if is_text else "right"
        made.add_column(Text(name), justify=justify, no_wrap=place not in folding, overflow="fold")
    for place, row in enumerate(rows):
        made.add_row(*map(Text, row), style="bold" if place in bold else None)
    return made


def table_rows(
    ranking: Ranking, evaluations: Sequence[tuple[str, str]] = EVALUATIONS, in_one: bool = False
) -> Iterator[list[str]]:
    """Yield headings, then a row for each setting, as text.

    Args:
        evaluations: those that any run has get a column.
        in_one: give all keys of a setting one column instead of a column each.
    """
    metric = ranking.metric.name
    known = [each for each in known_evaluations(ranking) if each in evaluations]
    measured = [(f"{name} {metric}", when, metric) for when, name in known]
    if ranking.compares_starts:
        measured.insert(0, (f"step 0 val {LOSS.name}", "fresh", LOSS.name))
    steps = ["steps"] if ranking.steps_differ else []
    columns = ["setting"] if in_one else [*map(clean, ranking.columns)]
    yield ["", *columns, *(head for head, _, _ in measured), *steps, "seeds", "status"]
    for place, setting in enumerate(ranking.settings, start=1):
        cells = [setting.label] if in_one else setting.shown.values()
        scores = [mean_and_deviation(setting, when, name) for _, when, name in measured]
        done = [count_steps(setting) for _ in steps]
        yield [str(place), *cells, *scores, *done, list_seeds(setting), setting.status]


def count_steps(setting: Setting) -> str:
    """Return the mean of the steps that a setting's runs have done, as a whole number."""
    return MISSING if setting.steps is None else f"{setting.steps:,.0f}"


def mean_and_deviation(setting: Setting, when: str, metric: str) -> str:
    """Return `0.9833 +/- 0.0021`, the mean alone for one seed."""
    mean, deviation = setting.mean(when, metric), setting.deviation(when, metric)
    if mean is None:
        return MISSING
    return rounded(mean) if deviation is None else f"{rounded(mean)} +/- {rounded(deviation)}"


def rounded(value: float) -> str:
    """Return four decimals, or three digits and an exponent."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1e4 else f"{value:.2e}"


def list_seeds(setting: Setting) -> str:
    """Return `0,1,2`, or the count of many seeds."""
    return ",".join(setting.seeds) if len(setting.seeds) <= MAX_SEEDS else f"{len(setting.seeds)} seeds"


def remarks(ranking: Ranking) -> Iterator[str]:
    """Yield a line for each run that did not finish, with its log, then their notes, then what was left out.

    Those that have not begun, of an interrupted sweep perhaps hundreds, share a line.
    """
    waiting = []
    for setting in ranking.settings:
        for job, seed in zip(setting.jobs, setting.seeds):
            name = f"{setting.label} seed={seed}".strip()
            if job.status == Status.NOT_BEGUN:
                waiting.append((name, job))
            elif not job.complete:
                yield f"{clean(job.status)}: {name}: {reason(job)}"
    if waiting:
        (name, job), *others = waiting
        more = f", and {counted('more run', len(others))}" if others else ""
        yield f"{clean(job.status)}: {name}: {reason(job)}{more}"
    yield from findings.notes_of_jobs(ranking)
    yield from ranking.notes


def reason(job: Record) -> str:
    """Return why a run did not finish, as far as is known, and where to read more."""
    log = job.path / "run.log"
    lines = [line.strip() for line in read_text(log).splitlines() if line.strip()] if job.status in EXPLAINED else []
    error = clean(job.summary.get("error") or (lines[-1] if lines else ""))
    error = error.removeprefix(job.status).lstrip(":; ")  # which the line begins with
    place = relative(log if log.exists() else job.path)
    return f"{error[:200]} ({place})" if error else place


def write(ranking: Ranking, folder: Path) -> None:
    """Write ranking.csv with every number in full, ranking.md and ranking.png. Errors: OSError."""
    write_csv([*csv_rows(ranking)], folder / "ranking.csv")
    atomic_write(folder / "ranking.md", ("\n".join(markdown(ranking)) + "\n").encode())
    plot.draw(ranking, folder / "ranking.png")


def write_csv(rows: Sequence[Sequence[object]], path: Path) -> None:
    """Write rows as CSV, atomically; no text in it is a formula to a spreadsheet. Errors: OSError."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([as_csv_cell(value) for value in row] for row in rows)
    atomic_write(path, text.getvalue().encode())


def csv_rows(ranking: Ranking) -> Iterator[list[object]]:
    """Yield headings, then a row for each setting: numbers in full; the values of each seed, joined by semicolons."""
    measured = [(when, metric) for when, _ in EVALUATIONS for metric in ranking.metrics]
    names = [
        f"{'val_' if when != 'test' else ''}{when}_{metric}_{measure}"
        for when, metric in measured
        for measure, _ in MEASURES
    ]
    columns = map(clean, ranking.columns)
    last = ["steps_mean", "seconds_mean", "seeds", "status", "directories"]
    yield ["rank", *columns, "runs", "ended", *names, "val_fresh_loss_mean", *last]
    for place, setting in enumerate(ranking.settings, start=1):
        numbers = [measure(setting, when, metric) for when, metric in measured for _, measure in MEASURES]
        lists = (setting.seeds, [clean(job.status) for job in setting.jobs], [clean(job.path) for job in setting.jobs])
        counts = len(setting.jobs), sum(job.complete for job in setting.jobs)
        means = setting.mean("fresh", LOSS.name), setting.steps, mean_seconds(setting)
        yield [place, *setting.cells.values(), *counts, *numbers, *means, *map(";".join, lists)]


def markdown(ranking: Ranking) -> Iterator[str]:
    """Yield the lines of ranking.md."""
    head, *rows = table_rows(ranking, in_one=bool(ranking.usual))
    yield f"Ranked by {ranking.by}; mean +/- standard deviation of the sample over the seeds.\n"
    yield from (f"{escaped(line)}\n" for line in findings.incomparable(ranking))
    if ranking.usual:
        yield f"Usual, and left out below: {escaped(typed(ranking.usual))}\n"
    yield from markdown_table(head, rows)
    yield ""
    yield from (f"- {escaped(line)}" for line in (*findings.conclusions(ranking), *remarks(ranking)))
    yield "\n![The ranking and the curves behind it](ranking.png)"
