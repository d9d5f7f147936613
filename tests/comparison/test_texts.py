"""Names that are something else to the program that shows them: formulas, HTML, Markdown, mathematics."""

import csv
import os

import pytest
from conftest import command
from matplotlib.figure import Figure
from PIL import Image

from trainer.base.atomic import write_figure
from trainer.base.text import as_csv_cell, escaped
from trainer.comparison.table import write_csv


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", "\t=1", "-", "--x"])
def test_a_text_that_begins_a_formula_is_quoted_in_csv(text, tmp_path):
    write_csv([["name"], [text]], tmp_path / "x.csv")
    (_, (cell,)) = csv.reader((tmp_path / "x.csv").open(newline=""))
    assert cell == ("-" if text == "-" else f"'{text}")  # a lone dash stands for no value


@pytest.mark.parametrize("value", [-1, -0.5, "-0.5", "+1e-3", "-inf", "0.1", "adam", "a=b", None, "", "1-2"])
def test_numbers_and_other_texts_stay_as_they_are(value):
    assert as_csv_cell(value) == value and type(as_csv_cell(value)) is type(value)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("<b>x</b>", r"\<b>x\</b>"),
        ("&lt;script>", r"\&lt;script>"),
        ("a & b", "a & b"),
        ("_x_", r"\_x\_"),
        ("batch_size=64", "batch_size=64"),
        ("~~x~~", r"\~~x\~~"),
        ("# x", r"\# x"),
        ("> x", r"\> x"),
        ("-0.5", "-0.5"),
        ("![x](http://x)", r"!\[x](http://x)"),
        ("a|b", r"a\|b"),
    ],
)
def test_text_in_markdown_is_text(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize("name", ["$\\frac{1}{$", "$", "a$b$c", "\udcff", "\x1b[31m"])
def test_a_name_in_a_figure_is_text(name, tmp_path):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 100], [1, 1000], label=f"x{name}")
    axes.set(title=name, xlabel=name, ylabel=name, yscale="log")
    axes.legend()
    axes.text(1, 1, name)
    figure.suptitle(name)
    write_figure(figure, tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size


@pytest.mark.parametrize("name", [b"$\\frac{1}{$", b"\xff\xfe", b"<b>", b"a|b"])
def test_classes_of_any_name_are_previewed(name, tmp_path):
    for folder in (name, b"bee"):
        place = bytes(tmp_path) + b"/pictures/" + folder
        os.makedirs(place)
        for number in range(10):
            Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(
                place.decode(errors="surrogateescape") + f"/{number}.png"
            )
    words = ("data=image_folder", "data.root=pictures", "data.cache=none", "model=linear", "threads=1", "device=cpu")
    code, printed, errors = command(tmp_path, *words, "task=preview")
    assert code == 0 and "preview-images.png" in printed, errors


def test_a_full_disk_ends_a_comparison_with_one_line(honest, tmp_path, monkeypatch):
    from trainer.comparison import plot

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plot, "draw", full)
    code, _, errors = command(tmp_path, "task=compare", f"runs=[{honest}]", "output=compared")
    assert code == 4 and len(errors.splitlines()) == 1 and "No space left on device" in errors
