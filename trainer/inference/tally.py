"""Summary of many predictions for the terminal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from trainer.base.text import counted, printable, significant
from trainer.data.inputs import ArrayInput, ImageInput, Inputs, TableInput
from trainer.inference.predictions import Answers, Prediction
from trainer.rundir.console import Console

SHOWN = 10  # predictions, classes, and unreadable inputs


@dataclass
class Tally:
    """Summary of many predictions: the first ones, the number of each class, and the inputs that could not be read."""

    model: Answers
    first: list[Prediction] = field(default_factory=list)
    classes: Counter = field(default_factory=Counter)
    problems: list[Prediction] = field(default_factory=list)
    noted: list[Prediction] = field(default_factory=list)
    notes: int = 0
    unreadable: int = 0
    total: int = 0

    def add(self, prediction: Prediction) -> None:
        """Count a prediction."""
        self.total += 1
        if prediction.problem:
            self.unreadable += 1
            self.problems += [prediction] * (len(self.problems) < SHOWN)
            return
        if prediction.note:
            self.notes += 1
            self.noted += [prediction] * (len(self.noted) < SHOWN)
        self.classes[prediction.label] += 1
        self.first += [prediction] * (len(self.first) < SHOWN)

    def print(self, console: Console, seconds: float, kind: Inputs) -> None:
        """Print the first predictions, and the counts."""
        console.print(self.table())
        what = {ImageInput: "image", TableInput: "row", ArrayInput: "array"}[type(kind)]
        console.print(f"{counted(what, self.total)} in {seconds:.1f} s, {self.total / seconds:,.0f} {what}s/s")
        if self.model.classes and self.classes:
            console.print(", ".join(f"{name}: {count:,}" for name, count in self.classes.most_common(SHOWN)))
        if self.notes:
            lines = [f"{prediction.name}: {prediction.note}" for prediction in self.noted]
            head = f"note: {counted(what, self.notes)} with a value that the model does not know:"
            print_first(console, head, lines, self.notes)
        if self.unreadable:
            lines = [f"{prediction.name}: {prediction.problem}" for prediction in self.problems]
            head = f"warning: {counted(what, self.unreadable)} could not be predicted:"
            print_first(console, head, lines, self.unreadable)

    def table(self) -> Table:
        """Return a table of the first predictions."""
        columns = self.columns()
        made = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for prediction in self.first:
            made.add_row(*map(Text, self.cells(prediction)))
        return made

    def columns(self) -> list[str]:
        """Return the headings of the table."""
        if not self.model.classes:
            return ["input", *map(printable, self.model.names[:SHOWN])]
        return ["input", "class", "probability" if self.model.has_probabilities else "output", "next"]

    def cells(self, prediction: Prediction) -> Sequence[str]:
        """Return the cells of a prediction in the table."""
        name = prediction.name
        if not self.model.classes:
            return [name, *(significant(value, 6) for value in prediction.values[:SHOWN])]
        (label, score), *others = prediction.ranked
        rest = f"{printable(others[0][0])} {others[0][1]:.4f}" if others else ""
        return [name, printable(label), f"{score:.4f}", rest]


def print_first(console: Console, head: str, lines: Sequence[str], total: int) -> None:
    """Print the first of some lines, and how many more predictions.csv has."""
    console.print("\n".join([head, *(f"  {line}" for line in lines)]))
    if total > len(lines):
        console.print(f"  and {total - len(lines):,} more; predictions.csv has all")
