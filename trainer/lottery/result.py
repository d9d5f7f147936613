"""Result of a lottery: scores of tickets, random tickets and the dense network by the fraction of weights left."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.base.atomic import atomic_write
from trainer.base.json_text import as_json
from trainer.base.metrics import Metric
from trainer.base.text import figure, markdown_table
from trainer.comparison.record import Record
from trainer.comparison.table import write_csv
from trainer.lottery import picture
from trainer.recipe.trials import standard_error

DENSE, TICKET, RANDOM = "dense", "ticket", "random"
NAMES = ("lottery.md", "lottery.csv", "lottery.json", "lottery.png")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Networks of one kind and sparsity.

    Args:
        round: 0 for the dense network.
        kind: dense, ticket or random.
        left: fraction of the prunable weights that are left, in (0, 1].
        scores: one for each seed.
    """

    round: int
    kind: str
    left: float
    scores: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean score."""
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float:
        """The standard deviation over the seeds; 0 of one."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def shown(self) -> str:
        """The mean with its deviation."""
        return f"{figure(self.mean)}{f' +- {self.deviation:.4f}' if len(self.scores) > 1 else ''}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """Scores of a lottery.

    Args:
        metric: accuracy or r2.
        split: of the scores: test, or the best evaluation of val where there is no test split.
        samples: of the split.
        title: what was trained.
        rows: those that are known.
    """

    metric: Metric
    split: str
    samples: int
    title: str
    rows: list[Row] = field(default_factory=list)

    def score_of(self, run: Record) -> float:
        """Return the score of a run; nan where it has none."""
        found = run.score("test" if self.split == "test" else "best", self.metric.name)
        return float("nan") if found is None else found

    def of(self, kind: str) -> list[Row]:
        """Return the rows of a kind, the densest first."""
        return [row for row in self.rows if row.kind == kind]

    @property
    def verdict(self) -> str:
        """The sparsest ticket that is as good as the dense network, in words."""
        dense = self.of(DENSE)[0]
        noise = max(dense.deviation, standard_error(dense.mean, self.samples, self.metric))
        good = [row for row in self.of(TICKET) if row.mean >= dense.mean - noise]
        margin = f"within {noise:.4f}, its noise"
        if not good:
            return f"no ticket is as good as the dense network ({margin})"
        best = min(good, key=lambda row: row.left)
        random = next(row for row in self.of(RANDOM) if row.round == best.round)
        what = f"the sparsest ticket as good as the dense network ({margin}) has {best.left:.1%} of the weights"
        return f"{what}: {self.metric.name} {best.shown}, a random ticket of the same mask {random.shown}"

    def table(self) -> list[list[str]]:
        """Return headings, and a row for each round."""
        rows, dense = (
            [["round", "weights left", "ticket", "random ticket", "dense", "ticket - random"]],
            self.of(DENSE)[0],
        )
        for ticket, random in zip(self.of(TICKET), self.of(RANDOM)):
            gain = f"{ticket.mean - random.mean:+.4f}"
            rows.append([str(ticket.round), f"{ticket.left:.2%}", ticket.shown, random.shown, dense.shown, gain])
        return rows

    def write(self, directory: Path) -> None:
        """Write lottery.md, .csv, .json and .png. Errors: OSError."""
        head, *rows = self.table()
        lines = [f"# Lottery tickets: {self.title}", "", f"{self.heading}:", "", *markdown_table(head, rows), ""]
        lines += [self.sentence, ""]
        lines += ["![Score against the fraction of weights left](lottery.png)", ""]
        atomic_write(directory / "lottery.md", "\n".join(lines).encode())
        cells = [
            [row.round, row.kind, row.left, seed, score] for row in self.rows for seed, score in enumerate(row.scores)
        ]
        write_csv([["round", "network", "weights left", "run", self.metric.name], *cells], directory / "lottery.csv")
        content = {
            "metric": self.metric.name,
            "split": self.split,
            "verdict": self.verdict,
            "rows": [
                {"round": row.round, "network": row.kind, "weights_left": row.left, "scores": [*row.scores]}
                for row in self.rows
            ],
        }
        atomic_write(directory / "lottery.json", as_json(content))
        curves = {
            kind: [(row.left, row.mean, row.deviation) for row in self.of(kind)] for kind in (TICKET, RANDOM, DENSE)
        }
        picture.draw(curves, f"{self.split} {self.metric.name}", self.title, directory / "lottery.png")

    @property
    def heading(self) -> str:
        """Heading of the table: split, score and number of runs."""
        runs = len(self.of(DENSE)[0].scores)
        over = f", mean and standard deviation of {runs} runs" if runs > 1 else ""
        return f"{self.split.capitalize()} {self.metric.name}{over}"

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        return f"{self.verdict[0].upper()}{self.verdict[1:]}."
