"""MODEL.md: what a model was trained on, how well it does, what it takes and gives, and what it is not for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf

from trainer.base.text import as_command, escaped, figure, markdown_table, printable
from trainer.config import catalog, keys, schema
from trainer.config.hydra_context import Invocation
from trainer.config.rule import is_number
from trainer.data.inputs import ImageInput, InputColumn, TableInput
from trainer.engine.summary import count_parameters, settings_table
from trainer.export.record import Record
from trainer.inference.model import TrainedModel

LISTED = 50  # classes, columns and figures of classes that are written out
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Card:
    """Model card, as Markdown.

    Args:
        model: with its description.
        record: of the export.
        summary: of the run; empty where there is none.
        source: file or folder of the data, its name; empty where it has none.
        by_class: samples of each class by split; empty where the data set was not read.
        has_curves: whether curves.png lies beside it.
    """

    model: TrainedModel
    record: Record
    summary: Mapping
    source: str
    by_class: Mapping[str, Mapping[str, int]]
    has_curves: bool = False

    @property
    def choices(self) -> dict[str, str]:
        """The options of the run that this version knows."""
        found = self.model.description.choices
        return {place: name for place, name in found.items() if name in catalog.options(place.partition(".")[0])}

    def text(self) -> str:
        """Return the card."""
        known = self.model.description.choices
        title = f"# {code(known.get('model') or 'model')} on {code(known.get('data') or 'data')}"
        sections = {
            "Input and output": self.interface(),
            "Use": ["```python", *self.record.example, "```"],
            "Data": self.data(),
            "Decisions": self.decisions(),
            "Scores": self.scores(),
            "Limits": self.limits(),
            "The file": self.file(),
            "Commands": self.commands(),
        }
        body = (["", f"## {name}", "", *lines] for name, lines in sections.items() if lines)
        return "\n".join([title, *(line for lines in body for line in lines)]) + "\n"

    def interface(self) -> list[str]:
        """Return lines on what goes in and comes out."""
        model, record = self.model, self.record
        shape = " x ".join(map(str, model.input_shape))
        lines = [f"- `{record.input}`: {record.dtype}, batch x {shape}. {self.meaning_of_input()}"]
        columns = len(model.names)
        lines.append(f"- `{record.output}`: float32, batch x {columns}. {self.meaning_of_output()}")
        if not record.has_graph:
            lines.append("- The file has no graph: this program makes the model from its description.")
        table = self.model.description.inputs
        if isinstance(table, TableInput):
            lines += ["", *markdown_table(["input", "column", "kind"], columns_of(table.columns))]
        lines += ["", f"{'Classes' if model.classes else 'Values'}: {listed(map(code, model.names), columns)}."]
        return lines

    def meaning_of_input(self) -> str:
        """Return what the numbers of the input are."""
        inputs = self.model.description.inputs
        if not isinstance(inputs, ImageInput):
            return "Raw values: the preprocessing is inside." if isinstance(inputs, TableInput) else ""
        scale = "0 to 255" if self.record.dtype == "uint8" else "0 to 1 (pixels divided by 255)"
        colours = "RGB" if inputs.shape[0] == 3 else "Grey"
        return f"{colours} images of this size, {scale}; the preprocessing is inside, resizing is not."

    def meaning_of_output(self) -> str:
        """Return what the numbers of the output are."""
        model, predicted = self.model, self.model.description.predicted
        if not model.classes:
            unit = f", in {escaped(line(predicted.unit))}" if predicted.unit else ", in the target's own unit"
            return f"The values{unit}."
        if model.has_probabilities:
            return "The probability of each class."
        return "The larger, the likelier the class; they are no probabilities."

    def data(self) -> list[str]:
        """Return lines on the data set."""
        name = self.model.description.choices.get("data") or "?"
        known = name in catalog.options("data")
        about = f": {escaped(catalog.headline(catalog.file('data', name)))}" if known else ""
        counts = self.summary.get("samples")
        counts = counts if isinstance(counts, Mapping) else {}
        totals = {split: counts[split] for split in SPLITS if isinstance(counts.get(split), int)}
        lines = [f"{code(name)}{about}"]
        if self.source:
            lines[0] += f" Source: {code(self.source)}."
        if totals:
            lines += ["", f"Samples: {', '.join(f'{count:,} {split}' for split, count in totals.items())}."]
        if self.by_class:
            classes = self.model.classes[:LISTED]
            rows = [[line(name), *(f"{self.by_class[split][name]:,}" for split in SPLITS)] for name in classes]
            more = len(self.model.classes) - len(classes)
            lines += ["", *markdown_table(["class", *SPLITS], rows), *(["", f"{more} more classes."] if more else [])]
        return lines

    def decisions(self) -> list[str]:
        """Return the settings that are not the defaults."""
        config = {"reg": {}, "aug": {}, **self.model.description.config}
        cfg = OmegaConf.create({key: value for key, value in config.items() if keys.belongs_to_run(key)})
        for key, rule in schema.keys(catalog.folder() / "config.yaml").items():
            if OmegaConf.select(cfg, key) is None:  # of the command, and not of the model
                OmegaConf.update(cfg, key, rule.default, force_add=True)
        rows = settings_table(cfg, Invocation(choices=self.choices))
        changed = [[group, option, line(settings)] for group, option, settings, differs in rows if differs]
        if not changed:
            return ["All settings are the defaults."]
        return ["Settings that are not the defaults:", "", *markdown_table(["group", "option", "settings"], changed)]

    def scores(self) -> list[str]:
        """Return the scores by split and, where the run has a report, by class."""
        found = self.model.description.scores
        names = [name for split in found for name in ("loss", "accuracy", "r2") if name in found[split]]
        names = [*dict.fromkeys(names)]
        rows = [[split, *(score(found[split].get(name)) for name in names)] for split in found]
        lines = [*markdown_table(["split", *names], rows)] if rows else ["The run has none."]
        report = self.summary.get("report")
        report = report if isinstance(report, Mapping) else {}
        for key, first in (("by_class", "class"), ("by_output", "output")):
            entries = report.get(key)
            if isinstance(entries, list) and entries and all(isinstance(entry, Mapping) for entry in entries):
                heads = [first, *(name for name in entries[0] if name != first)]
                cells = [[score(entry.get(name)) for name in heads] for entry in entries[:LISTED]]
                split = escaped(line(report.get("split", "held-out")))
                lines += ["", f"On the {split} split:", "", *markdown_table(heads, cells)]
        return [*lines, *(["", "![Loss, score and learning rate of the training](curves.png)"] * self.has_curves)]

    def limits(self) -> list[str]:
        """Return lines on what the model is not for."""
        model = self.model
        if model.classes:
            else_given = "an input of anything else is given one of them too, often with a high probability."
            lines = [f"- It knows the {len(model.classes)} classes above and no other: {else_given}"]
        else:
            lines = ["- Far from the training data it extrapolates, and its output does not say so."]
        if isinstance(model.description.inputs, ImageInput):
            lines.append("- Images that were taken, cropped or resized in another way may be predicted worse.")
        elif isinstance(model.description.inputs, TableInput):
            lines.append("- Columns must have the units of the training table, and the order above.")
        lines.append("- The scores are those of data from the same source; on other data they have to be measured.")
        found = self.summary.get("verdicts")
        for verdict in found if isinstance(found, list) else []:
            if isinstance(verdict, Mapping) and isinstance(verdict.get("what"), str):
                lines.append(f"- {escaped(line(verdict.get('level', 'hint')))}: {escaped(line(verdict['what']))}")
        status = self.summary.get("status")
        if isinstance(status, str) and status not in ("finished", "stopped"):
            lines.append(f"- The run did not finish: {escaped(line(status))}.")
        return lines

    def file(self) -> list[str]:
        """Return lines on the exported file: its equality with the model, its size, its speed."""
        record, equality = self.record, self.record.equality
        rows = [
            [str(speed.batch), f"{speed.macs:,}", milliseconds(speed.model), milliseconds(speed.exported)]
            for speed in record.speed
        ]
        facts = ", ".join(f"{name} {value}" for name, value in record.facts.items())
        return [
            f"`{record.file}`, {record.size:,} bytes, {count_parameters(self.model.module):,} parameters; {facts}.",
            "",
            f"Largest difference from the model: {equality.in_words}, on {escaped(line(equality.source))}; "
            f"up to {equality.limit:.0e} is rounding.",
            *(["", *(f"- {escaped(line(note))}" for note in record.notes)] if record.notes else []),
            "",
            f"Median time of a call on {escaped(record.machine)}:",
            "",
            *markdown_table(["batch", "MACs", "loaded model", record.file], rows),
        ]

    def commands(self) -> list[str]:
        """Return the commands that train the model again and that exported it, and the versions."""
        words = [*self.model.description.command, *places_of(self.choices.get("data"))]
        trained, now = (
            ", ".join(f"{escaped(line(name))} {escaped(line(value))}" for name, value in found.items())
            for found in (self.model.description.versions, self.record.versions)
        )
        commands = [line(as_command("train", *words)), line(self.record.command)]
        return ["```sh", *commands, "```", "", f"Trained with {trained}.", "", f"Exported with {now}."]


def places_of(data: str | None) -> Iterator[str]:
    """Yield placeholders for the paths of a data set, which a description does not hold."""
    found = schema.keys(catalog.file("data", data), "data") if data else {}
    for path in found:
        if keys.is_location(path):
            yield f"{path}={'FILE' if path.endswith('path') else 'DIR'}"


def columns_of(columns: Sequence[InputColumn]) -> Iterator[list[str]]:
    """Yield the inputs of a table: their places, their column, and what they hold."""
    place = 0
    for column in columns[:LISTED]:
        last = place + column.width - 1
        kind = {"date": "days since 1970", "number": "number"}.get(column.kind)
        if kind is None:
            names = [*map(line, column.categories), *(["missing"] if column.missing else [])]
            kind = f"1 for the category, else 0: {listed(names, len(names))}"
        yield [str(place) if last == place else f"{place} to {last}", line(column.name), kind]
        place += column.width
    if len(columns) > LISTED:
        yield ["...", f"{len(columns) - LISTED} more", ""]


def listed(names: Iterable[str], count: int) -> str:
    """Return names in a line, the first ones of many."""
    shown = [name for name, _ in zip(names, range(LISTED))]
    return ", ".join(shown) + (f" and {count - LISTED} more" if count > LISTED else "")


def line(text: object) -> str:
    """Return a text without control characters and line breaks, which would end a row or a paragraph."""
    return " ".join(printable(text).split("\n"))


def code(text: object) -> str:
    """Return a text as code in Markdown."""
    return f"`{line(text).replace('`', '?')}`"


def score(value: object) -> str:
    """Return a cell of a table of scores."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return figure(float(value)) if is_number(value) else "-" if value is None else line(value)


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds."""
    return f"{1000 * seconds:.3g} ms"
