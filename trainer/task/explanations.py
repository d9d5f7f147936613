"""Files of explanations: explanations.png, and explanations.csv of tables."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from trainer.base.atomic import atomic_write
from trainer.base.text import as_csv_cell, counted, printable, significant
from trainer.explanation.picture import BARS, Bars, draw_bars, draw_maps, shortened
from trainer.inference.explain import ImageExplanation, RowExplanation, explanations
from trainer.inference.predictions import Answers, Prediction
from trainer.rundir import directory as rundir

OF_A_ROW = 5  # columns in its chart
COLUMNS = ("path", "row", "explained", "answer", "base", "column", "value", "contribution")


def write_explanations(
    directory: Path, model: Answers, kept: Iterable[tuple[Prediction, Tensor]]
) -> tuple[str, list[str]]:
    """Write the explanations of predictions with their samples; return how they were made, and the names of the files.

    Errors: DataError, MachineError.
    """
    found = [*explanations(model, kept)]
    name = "explanations.png"
    try:
        if isinstance(found[0], ImageExplanation):
            write_maps(directory / name, model, found)
            return f"{counted('image', len(found))} explained by {how(found[0])}", [name]
        write_table(directory / "explanations.csv", found)
        draw_bars(directory / name, overall(found), [chart(each, model) for each in found], title_of_rows(model, found))
        return f"{counted('row', len(found))} explained by {found[0].method}", ["explanations.csv", name]
    except OSError as error:
        raise rundir.cannot_be_written(directory, error, name) from None


def write_maps(path: Path, model: Answers, found: Sequence[ImageExplanation]) -> None:
    """Write the images beside their maps. Errors: OSError."""
    titles = ["\n".join(filter(None, (answer_text(each, model), short_name(each.prediction)))) for each in found]
    what = "the predicted class" if model.classes else printable(found[0].of)
    verb = "where a small change acts on" if found[0].note else "what speaks for" if model.classes else "what moves"
    draw_maps(
        path,
        [each.image for each in found],
        [each.map for each in found],
        titles,
        f"{of_what(model)}\n{how(found[0])}: {verb} {what}, from nothing (grey) to the most (yellow)",
    )


def how(found: ImageExplanation) -> str:
    """Return the method, and why it is not Grad-CAM."""
    return f"{found.method} ({found.note})" if found.note else found.method


def of_what(model: Answers) -> str:
    """Return the model and the data of the runs, for a title."""
    count, choices = len(model.members), model.description.choices
    several = f"{count} models, the first " if count > 1 else ""
    return several + " ".join(f"{group}={choices[group]}" for group in ("data", "model") if choices.get(group))


def answer_text(each: ImageExplanation | RowExplanation, model: Answers) -> str:
    """Return the answer of a prediction: `cat (0.93)`, `price 2.4`."""
    prediction = each.prediction
    if not model.classes:
        return f"{printable(each.of)} {significant(prediction.values[model.names.index(each.of)], 4)}"
    score = "" if prediction.probability is None else f" ({prediction.probability:.2f})"
    return shortened(printable(prediction.label)) + score


def short_name(prediction: Prediction) -> str:
    """Return the name of the file without its folders, and the place in it."""
    name = Path(prediction.path).name
    row = "" if prediction.row is None else f"row {prediction.row}"
    return " ".join(filter(None, (shortened(printable(name)), row)))


def write_table(path: Path, found: Sequence[RowExplanation]) -> None:
    """Write explanations.csv: a line for each row and column of the table, the largest contribution first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in found:
        begins = (each.prediction.path, each.prediction.row, each.of, each.answer, each.base)
        for name, added in each.contributions.items():
            writer.writerow([as_csv_cell(cell) for cell in (*begins, name, each.cells[name], added)])
    atomic_write(path, text.getvalue().encode())


def overall(found: Sequence[RowExplanation]) -> Bars:
    """Return the columns with the largest mean sizes of what they add to the rows."""
    sizes = defaultdict(list)
    for each in found:
        for name, added in each.contributions.items():
            sizes[name].append(abs(added))
    means = sorted(((math.fsum(each) / len(each), name) for name, each in sizes.items()), reverse=True)[:BARS]
    return Bars(
        f"mean size of what it adds, {counted('row', len(found))}",
        [shortened(name) for _, name in means],
        [mean for mean, _ in means],
    )


def chart(each: RowExplanation, model: Answers) -> Bars:
    """Return the columns that add the most to a row, with its cells."""
    most = [*each.contributions.items()][:OF_A_ROW]
    names = [f"{shortened(name)} = {cell_text(each.cells[name])}" for name, _ in most]
    return Bars(f"{short_name(each.prediction)}\n{answer_text(each, model)}", names, [added for _, added in most])


def cell_text(cell: float | str) -> str:
    """Return a cell as a chart shows it."""
    return significant(cell, 4) if isinstance(cell, float) else shortened(printable(cell))


def title_of_rows(model: Answers, found: Sequence[RowExplanation]) -> str:
    """Return the heading of the bars."""
    if not model.classes:
        what = printable(found[0].of)
    else:
        what = f"the {'probability' if model.has_probabilities else 'output'} of the predicted class"
    return f"{of_what(model)}: what each column adds to {what}, beside an average row"
