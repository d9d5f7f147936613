"""The page docs/gallery.md, and the measured line of each experiment, both made of docs/gallery.json."""

import math
from collections.abc import Mapping, Sequence

from exhibits.results import Exhibit, Results, spread
from exhibits.runs import ROOT, Measured, commands
from trainer.config import catalog

PAGE = ROOT / "docs" / "gallery.md"
RECORD = ROOT / "docs" / "gallery.json"
MEASURED = "# Measured: "  # how the line begins
ANSWERS = {True: ("yes", "It held"), False: ("no", "It did not hold"), None: ("-", "Nothing is compared")}
HEAD = """# The gallery

What the lectures say, each as an experiment that runs as it stands: its command, what was measured, and whether the
statement held. `train --help experiment` lists them; `python scripts/gallery.py --mnist DIR --cifar DIR` runs them all
and writes this page. Figures are mean ± deviation over three seeds. The experiments are small: digits are 1,259 samples
for training and 359 for the test, whose accuracy has a standard error of 0.01. A time is that of one core, all settings
and seeds together. `DIR` is a folder with `MNIST/raw`, or one with CIFAR-10 as `train/CLASS/*` and `test/CLASS/*`.
"""


def as_entry(exhibit: Exhibit, results: Results, seconds: float) -> dict:
    """Return the entry of an experiment in the record."""
    finding = exhibit.find(results)
    rows = []
    for group in results.groups:
        figures = {name: results.measure(group, name) for name in exhibit.metrics}
        rows.append(
            {
                "command": group.part + 1,
                "setting": group.label,
                "runs": len(group.jobs),
                "diverged": group.diverged,
                **{
                    name: [rounded(value.mean), rounded(value.deviation), len(value.values)]
                    for name, value in figures.items()
                },
            }
        )
    return {
        "commands": commands(exhibit.name),
        "seconds": round(seconds),
        "held": finding.held,
        "finding": finding.text,
        "rows": rows,
    }


def rounded(value: float | None) -> float | None:
    """Return a number with six digits."""
    return value if not value or not math.isfinite(value) else round(value, 6 - math.ceil(math.log10(abs(value))))


def measured_line(entry: Mapping) -> str:
    """Return the line of an experiment's comment that says what was measured."""
    ends = {True: "", False: "; the statement did not hold", None: "; nothing is compared"}
    return f"{MEASURED}{entry['finding'].replace('`', '')}{ends[entry['held']]}. {time_of(entry)}."


def time_of(entry: Mapping) -> str:
    """Return the time of an experiment as text."""
    seconds = entry["seconds"]
    return f"{seconds} s on one core" if seconds < 100 else f"{seconds / 60:.1f} min on one core"


def write_measured(name: str, entry: Mapping) -> None:
    """Write the measured line into an experiment, behind its commands."""
    path = catalog.file("experiment", name)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(MEASURED)]
    place = max(place for place, line in enumerate(lines) if line.startswith("#")) + 1
    path.write_text("\n".join([*lines[:place], measured_line(entry), *lines[place:]]) + "\n")


def page(exhibits: Sequence[Exhibit], record: Mapping[str, Mapping]) -> str:
    """Return the page."""
    known = [exhibit for exhibit in exhibits if exhibit.name in record]
    compared = [found for exhibit in known if (found := record[exhibit.name]["held"]) is not None]
    rest = f"; {len(known) - len(compared)} experiments compare nothing" if len(compared) < len(known) else ""
    summary = [
        f"\n{sum(compared)} of {len(compared)} statements held{rest}.\n",
        "| experiment | held | what was found |\n| --- | --- | --- |",
    ]
    for exhibit in known:
        entry = record[exhibit.name]
        summary.append(f"| [{exhibit.name}](#{exhibit.name}) | {ANSWERS[entry['held']][0]} | {entry['finding']} |")
    return HEAD + "\n".join(summary) + "\n" + "".join(section(exhibit, record[exhibit.name]) for exhibit in known)


def section(exhibit: Exhibit, entry: Mapping) -> str:
    """Return the section of an experiment."""
    names = [*exhibit.metrics]
    lines = [f"\n## {exhibit.name}\n", f"{headline(exhibit.name)}\n", f"**The lecture:** {exhibit.says}.\n"]
    lines += [f"    train {command}" for command in entry["commands"]]
    lines.append(f"\n**{ANSWERS[entry['held']][1]}:** {entry['finding']}.")
    if exhibit.because:
        lines.append(exhibit.because)
    lines.append(f"Time: {time_of(entry)}.\n")
    lines += [f"| setting | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for row in entry["rows"]:
        cells = [cell(row[name], row) for name in names]
        setting = row["setting"] if row["setting"].startswith("command") else f"`{row['setting']}`"
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    lines.append(f"\n![{exhibit.name}](gallery/{exhibit.name}.png)\n")
    return "\n".join(lines)


def cell(values: Sequence, row: Mapping) -> str:
    """Return mean and deviation of a row's figure as text; with fewer runs that have one, how many."""
    mean, deviation, count = values
    if not count:
        return "diverged" if row["diverged"] else "none"
    return spread(Measured(mean, deviation)) + (f" ({count} of {row['runs']} runs)" if count < row["runs"] else "")


def headline(name: str) -> str:
    """Return the first comment of an experiment."""
    return catalog.headline(catalog.file("experiment", name))


def write_page(exhibits: Sequence[Exhibit], record: Mapping[str, Mapping]) -> None:
    """Write the page."""
    PAGE.write_text(page(exhibits, record))
