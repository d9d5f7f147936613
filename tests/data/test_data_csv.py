"""data=csv: tables of one's own, however they are written, and what is said of what is wrong with them."""

import bz2
import gzip
import itertools
import json
import lzma

import numpy as np
import pytest
import torch

pytest.importorskip("pandas", reason="needs the extra: pip install -e '.[tables]'")

from trainer.base.errors import ConfigError, DataError
from trainer.data.csv import Csv
from trainer.engine.build import build_run
from trainer.loss import BinaryCrossEntropy, CrossEntropy, MeanSquaredError

CITIES = ("Köln", "Bonn", "Aachen")
ROWS = [(1.5 + place % 7, -1000.25 * (place % 11), CITIES[place % 3], "ab"[place % 2]) for place in range(60)]
HEADER = ("size", "price", "city", "label")


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a file and returns its path."""
    numbers = itertools.count()

    def write(content, name=None, encoding="utf-8"):
        path = tmp_path / (name or f"{next(numbers)}.csv")
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return str(path)

    return write


def text(rows, header=HEADER, separator=",", decimal=".", end="\n", quote=""):
    lines = [header, *rows] if header else rows
    cells = [
        [str(cell).replace(".", decimal) if isinstance(cell, float) else str(cell) for cell in row] for row in lines
    ]
    return "".join(separator.join(f"{quote}{cell}{quote}" for cell in row) + end for row in cells)


def lines(*rows, count=1):
    return "\n".join(rows) + "\n" + ("\n".join(rows[1:]) + "\n") * (count - 1)


def load(path, target=-1, **fields):
    return Csv(path=path, target=target, **fields).load()


def everything(data):
    parts = (data.train, data.val, data.test)
    return torch.cat([part.images for part in parts]), torch.cat([part.targets for part in parts])


def test_numbers_stay_and_categories_are_one_hot_in_the_order_of_the_alphabet(table):
    data = load(table(text(ROWS)), "label")
    assert (data.task, data.classes, data.input_shape, data.outputs) == ("binary", ("a", "b"), (5,), 1)
    inputs, targets = everything(data)
    expected = [
        (size, price, city == "Aachen", city == "Bonn", city == "Köln", label == "b")
        for size, price, city, label in ROWS
    ]
    assert sorted(torch.cat([inputs, targets], 1).tolist()) == sorted(
        [float(value) for value in row] for row in expected
    )
    assert [len(part) for part in (data.train, data.val, data.test)] == [
        40,
        8,
        12,
    ]  # of 30: 6 tested, round(4.5) = 4 validated
    assert all(part.targets.mean() == 0.5 for part in (data.train, data.val, data.test))


LAYOUTS = {
    "semicolon": text(ROWS, separator=";"),
    "decimal comma": text(ROWS, separator=";", decimal=","),
    "decimal comma in quotes": text(ROWS, decimal=",", quote='"'),
    "decimal comma without a header": text(ROWS, header=None, separator=";", decimal=","),
    "tab": text(ROWS, separator="\t"),
    "pipe": text(ROWS, separator="|", decimal=","),
    "spaces": text(ROWS, separator="   "),
    "no header": text(ROWS, header=None),
    "quotes": text(ROWS, quote='"'),
    "blanks behind separators": text(ROWS, separator=", "),
    "Windows lines": text(ROWS, end="\r\n"),
    "old Mac lines": text(ROWS, end="\r"),
    "empty lines": "\n \n" + text(ROWS).replace("\n", "\n\n"),
    "separator at the ends": text(ROWS, end=",\n"),
    "byte-order mark": b"\xef\xbb\xbf" + text(ROWS, quote='"').encode(),
    "UTF-16": text(ROWS).encode("utf-16"),
    "UTF-16 without a mark": text(ROWS).encode("utf-16-le"),
    "Windows-1252": text(ROWS).encode("cp1252"),
    "gz": gzip.compress(text(ROWS).encode()),
    "bz2": bz2.compress(text(ROWS).encode()),
    "xz": lzma.compress(text(ROWS).encode()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_way_a_table_is_written_does_not_matter(layout, table):
    plain, other = load(table(text(ROWS))), load(table(LAYOUTS[layout]))
    assert (other.task, other.classes) == (plain.task, plain.classes)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(plain, part).images, getattr(other, part).images)
        assert torch.equal(getattr(plain, part).targets, getattr(other, part).targets)


@pytest.mark.parametrize(
    "settings",
    [
        {"separator": "pipe", "decimal": "comma", "header": "no", "encoding": "latin-1"},
        {"separator": "space", "decimal": "point", "header": "yes", "encoding": "utf-16"},
        {"separator": "tab", "decimal": "comma", "header": "yes", "encoding": "utf-8"},
    ],
)
def test_every_setting_can_be_told(settings, table):
    separator = {"pipe": "|", "space": " ", "tab": "\t"}[settings["separator"]]
    decimal = {"comma": ",", "point": "."}[settings["decimal"]]
    header = HEADER if settings["header"] == "yes" else None
    path = table(text(ROWS, header, separator, decimal).encode(settings["encoding"]))
    assert torch.equal(load(path, **settings).train.images, load(table(text(ROWS))).train.images)


def test_cells_in_quotes_hold_separators_line_breaks_and_quotes(table):
    names = ['a, "b"', "c\nd", "e"]
    rows = [(place % 5, '"' + names[place % 3].replace('"', '""') + '"', place % 2) for place in range(30)]
    data = load(table(text(rows, header=("x", '"the\nname"', "y"))))
    assert data.input_shape == (4,) and everything(data)[0][:, 1:].sum(0).tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("header", "rows", "has_header"),
    [
        ("x,y", ["1,2", "3,4"], True),
        ("year,2019,2020", ["1,2,3", "4,5,6"], True),  # a text above numbers
        ("5.1,3.5,setosa", ["4.9,3.0,virginica", "4.7,3.2,setosa"], False),
        ("color,shape", ["red,round", "blue,square", "red,square"], True),  # never again below
        ("red,round", ["red,round", "blue,square", "red,square"], False),
        (",x", ["0,3", "1,4"], True),  # an index without a name, as pandas writes it
    ],
)
def test_a_header_is_recognised(header, rows, has_header, table):
    from trainer.data.table import read_table

    found = read_table(table(lines(header, *rows)), "auto", "auto", "auto", "auto", ())
    assert found.has_header == has_header and len(found.frame) == len(rows) + (not has_header)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["yes", "no"], "binary", ("no", "yes")),
        (["True", "False"], "binary", ("False", "True")),
        (["1", "0"], "binary", ("0", "1")),
        (["1.0", "2.0"], "binary", ("1", "2")),
        (["10", "9", "2"], "classification", ("2", "9", "10")),
        (["10x", "9", "b"], "classification", ("9", "10x", "b")),
        (["cat", " cat", "dog ", "owl"], "classification", ("cat", "dog", "owl")),
        (["0.5", "1.5"], "regression", ()),
        ([str(place) for place in range(21)], "regression", ()),
        (["1e3", "-2", "7.25"], "regression", ()),
    ],
)
def test_the_task_is_guessed_from_the_target(values, task, classes, table):
    rows = [(place % 7, values[place % len(values)]) for place in range(84)]
    data = load(table(text(rows, header=("x", "y"))))
    assert (data.task, data.classes) == (task, classes)
    assert any(note.startswith(f"target y: {task}") for note in data.notes)
    if classes:
        order = {name: place for place, name in enumerate(classes)}
        wanted = np.bincount(
            [order.get(value.strip(), order.get(value.strip().removesuffix(".0"))) for _, value in rows]
        )
        targets = everything(data)[1]
        counts = targets.sum(0) if task == "classification" else torch.stack([(1 - targets).sum(), targets.sum()])
        assert counts.tolist() == wanted.tolist()


def test_few_rows_with_as_many_whole_numbers_are_numbers(table):
    assert load(table(text([(place % 3, place) for place in range(12)], ("x", "y")))).task == "regression"


@pytest.mark.parametrize("task, outputs", [("classification", 2), ("binary", 1), ("regression", 1)])
def test_the_task_can_be_told(task, outputs, table):
    data = load(table(text([(place % 5, place % 2) for place in range(40)], ("x", "y"))), task=task)
    assert (data.task, data.outputs, len(data.classes)) == (task, outputs, 0 if task == "regression" else 2)


def test_targets_of_a_regression_are_standardised_by_the_training_split(table):
    rows = [(place % 7, 1e6 + 1e3 * place) for place in range(50)]
    data = load(table(text(rows, ("x", "y"))))
    train = data.train.targets.double()
    assert abs(train.mean()) < 1e-5 and abs(train.std(correction=0) - 1) < 1e-5  # float32
    ranks = everything(data)[1].flatten().sort().values
    assert torch.allclose(ranks.diff(), ranks.diff()[0], rtol=1e-3)  # steps of 1,000 are equal still
    assert "standardised" in data.notes[1]


@pytest.mark.parametrize(
    "cells, numbers",
    [
        (["$1,200.50", "$800", "$2,000,000"], [1200.5, 800, 2e6]),
        (["45%", "7 %", "12.5%"], [45, 7, 12.5]),
        (["1 234,5", "2.345,75", "3,5"], [1234.5, 2345.75, 3.5]),
        (["-1", "+2", "\u22123"], [-1, 2, -3]),
        (["1e-3", ".5", "5."], [0.001, 0.5, 5]),
        (["12345678901", "2", "3"], [12345678901, 2, 3]),
    ],
)
def test_numbers_are_read_with_their_units_and_their_thousands(cells, numbers, table):
    decimal = "comma" if any("," in cell and "$" not in cell for cell in cells) else "point"
    rows = [(f'"{cells[place % 3]}"', place % 2) for place in range(30)]
    inputs = everything(load(table(text(rows, ("x", "y"))), decimal=decimal))[0]
    assert sorted(set(inputs[:, 0].tolist())) == sorted(np.float32(numbers).tolist())


GAPS = ["x,city,y", *(f"{'' if place in (3, 8) else place % 7},{'?' if place == 5 else 'uv'[place % 2]},{place % 2}"
                      for place in range(40))]  # fmt: skip


def test_missing_values_are_told_with_their_rows_and_what_to_write(table):
    path = table(lines(*GAPS))
    with pytest.raises(DataError) as caught:
        load(path)
    told, hint = str(caught.value).splitlines()
    assert told == f"{path}: missing values: x in rows 5, 10; city in row 7"  # the header is row 1
    assert "data.missing=drop to leave out 3 of 40 rows" in hint and "data.missing=impute" in hint


def test_rows_are_counted_as_an_editor_counts_them(table):
    path = table("\n\nx,y\n1,0\n\n,1\n" + "2,1\n3,0\n" * 10)
    with pytest.raises(DataError, match="missing values: x in row 6\n"):
        load(path)


def test_names_of_rows_without_a_heading_are_left_out(table):
    """As R's write.table and pandas' to_csv write them."""
    rows = [(place + 1, place % 7, place % 2) for place in range(40)]
    for content in (text(rows, ("x", "y"), " "), text(rows, ("", "x", "y")), text(rows, ("x", "y"), quote='"')):
        data = load(table(content), "y")
        assert data.input_shape == (1,) and data.outputs == 1
        assert any(note.startswith("left out: column 1 numbers the rows") for note in data.notes)


@pytest.mark.parametrize("sign", ["", "NA", "N/A", "nan", "NULL", "?", "#N/A", "-", "none", "inf"])
def test_signs_of_a_missing_number(sign, table):
    with pytest.raises(DataError, match="missing values: x in row 2\n"):
        load(table(text([(sign if place == 0 else place % 5, place % 2) for place in range(30)], ("x", "y"))))


def test_rows_with_missing_values_can_be_left_out(table):
    data = load(table(lines(*GAPS)), missing="drop")
    inputs, targets = everything(data)
    kept = [line.split(",") for place, line in enumerate(GAPS[1:]) if place not in (3, 8, 5)]
    expected = sorted([float(x), float(city == "u"), float(city == "v"), float(y)] for x, city, y in kept)
    assert sorted(torch.cat([inputs, targets], 1).tolist()) == expected
    assert "data.missing=drop: leaves out 3 of 40 rows (x 2, city 1 missing)" in data.notes


def test_missing_values_can_be_filled_in_from_the_training_split(table):
    found = set()
    for seed in range(12):
        data = load(table(lines(*GAPS)), missing="impute", split_seed=seed)
        inputs, _ = everything(data)
        width = data.input_shape[0]
        whole = torch.tensor([value for value in inputs[:, 0].tolist() if value % 1 == 0 and value in range(7)])
        filled = [value for value in inputs[:, 0].tolist() if value not in range(7)]
        train = data.train.images[:, 0]
        known = torch.tensor([value for value in train.tolist() if value in range(7)])
        assert len(whole) + len(filled) == 40
        assert all(value == pytest.approx(known.mean().item(), rel=1e-6) for value in filled)
        gone = inputs[:, 1:].sum(1) == 0
        # In training the missing city is a category of its own, else all of its inputs are 0.
        assert (width, int(gone.sum())) in ((4, 0), (3, 1))
        found.add(width)
    assert found == {3, 4}


def test_rows_without_a_target_are_left_out_and_never_filled_in(table):
    rows = [(place % 5, "" if place < 4 else place % 2) for place in range(40)]
    path = table(text(rows, ("x", "y")))
    with pytest.raises(DataError) as caught:
        load(path)
    assert "y in rows 2, 3, 4, 5" in str(caught.value) and "impute" not in str(caught.value)
    for missing in ("drop", "impute"):
        data = load(path, missing=missing)
        assert len(everything(data)[0]) == 36 and data.classes == ("0", "1")


def test_a_column_that_is_mostly_missing_can_be_left_out(table):
    path = table(text([("" if place % 3 else 1.5 * place, place % 7, place % 2) for place in range(30)], "abc"))
    with pytest.raises(DataError, match=r"data.ignore=\[a\] to leave out the column"):
        load(path)
    assert load(path, ignore=["a"]).input_shape == (1,)


def test_categories_that_training_does_not_have_are_zero_and_told(table):
    rows = [
        (place % 5, "rare" if place == seldom else "uv"[place % 2], place % 2) for seldom in (0,) for place in range(40)
    ]
    path, seen = table(text(rows, ("x", "city", "y"))), set()
    for seed in range(20):
        data = load(path, split_seed=seed)
        inputs, _ = everything(data)
        note = "categories that the training split does not have are 0 in all inputs: city in 1 rows" in data.notes
        assert (data.input_shape, int((inputs[:, 1:].sum(1) == 0).sum())) == (((3,), 1) if note else ((4,), 0))
        seen.add(note)
    assert seen == {True, False}


PEOPLE = [
    (place, f"Smith{place}", f"{place % 9}{place % 5}.{place % 3}", "same", "", place % 2) for place in range(1, 61)
]  # fmt: skip
PEOPLE_HEADER = ("PassengerId", "Name", "fare", "constant", "empty", "y")


def test_columns_that_say_nothing_are_left_out_and_named(table):
    data = load(table(text(PEOPLE, PEOPLE_HEADER)))
    assert data.input_shape == (1,)
    (note,) = [note for note in data.notes if note.startswith("left out")]
    assert note == (
        "left out: PassengerId numbers the rows; Name has 60 different texts in 60 rows; constant is always same; "
        "empty is empty; to use them all the same: data.numbers=[PassengerId] data.categories=[Name]"
    )


def test_a_column_is_used_as_one_says(table):
    path = table(text(PEOPLE, PEOPLE_HEADER))
    data = load(path, numbers=["PassengerId"], categories=["fare"])
    levels = {row[2] for row in PEOPLE}
    assert sorted(everything(data)[0][:, 0].tolist()) == list(range(1, 61))
    assert data.input_shape[0] <= 1 + len(levels) and set(everything(data)[0][:, 1:].unique().tolist()) == {0, 1}
    assert load(path, ignore=[1, 2, -2, "constant"]).notes[-1].startswith("numbers: fare")


def test_whole_numbers_without_the_name_of_an_index_are_inputs(table):
    data = load(table(text([(place, 2.5 * place) for place in range(40)], ("x", "y"))))
    assert sorted(everything(data)[0].flatten().tolist()) == list(range(40))


def test_dates_are_days(table):
    rows = [(f"2024-0{1 + place % 3}-01", f"2024/1/{1 + place % 28} 12:00", place % 2) for place in range(60)]
    data = load(table(text(rows, ("day", "moment", "y"))))
    inputs = everything(data)[0].double()
    first = 19723  # days from 1970-01-01 to 2024-01-01: 54 years of 365 and 13 leap days
    assert sorted(set(inputs[:, 0].tolist())) == [first, first + 31, first + 60]
    assert sorted(set(inputs[:, 1].tolist())) == [first + day + 0.5 for day in range(28)]
    assert any("dates as days: day, moment" in note for note in data.notes)


def test_dates_in_an_unclear_order_are_left_out(table):
    data = load(table(text([(f"0{1 + place % 3}/04/2024", place % 5, place % 2) for place in range(60)], "abc")))
    assert data.input_shape == (1,) and any("a has ambiguous dates, as 01/04/2024" in note for note in data.notes)


def test_the_target_is_found_by_name_and_by_number(table):
    path = table(text(ROWS))
    for target in ("label", 4, -1):
        assert load(path, target).classes == ("a", "b")
    assert load(path, 1).task == load(path, "size").task == "regression"
    numbered = table(text([(place % 5, place % 3, place % 2) for place in range(40)], ("3", "x", "y")))
    assert len(load(numbered, 3).classes) == 5  # a name comes before a number


def test_the_number_of_a_column_is_no_name_in_the_first_row(table):
    rows = [(0.5 + place % 5, 3 - place % 3, (-1) ** place) for place in range(40)]  # begins with 0.5, 3, 1
    path = table(text(rows, None))
    for target in (3, -1):
        data = load(path, target, ignore=[1])
        assert (data.classes, sum(map(len, (data.train, data.val, data.test)))) == (("-1", "1"), 40)
    years = table(text(rows, ("2019", "2020", "2021")))
    assert load(years, 2021).classes == ("-1", "1")  # a name, as the table has three columns


def test_a_value_that_is_typed_as_the_target_makes_no_header(table):
    path = table(text([(0.5 + place, place % 7, ("yes", "no")[place % 2]) for place in range(40)], None))
    with pytest.raises(ConfigError, match="data.target=yes: .* has no header; write the number of a column"):
        load(path, "yes")
    assert len(load(path, 3).train) + len(load(path, 3).val) + len(load(path, 3).test) == 40


@pytest.mark.parametrize(
    ("before", "separator"),
    [
        ("# size,price,city,label\n", ","),
        ("# size price city label\n", " "),
        ("# made by a scale\n#\n\nsize;price;city;label\n", ";"),
        ("# made by a scale, on Monday\nsize,price,city,label\n", ","),
    ],
)
def test_comments_above_the_header_are_skipped(before, separator, table):
    plain, commented = load(table(text(ROWS)), "label"), load(table(before + text(ROWS, None, separator)), "label")
    assert all(map(torch.equal, everything(plain), everything(commented)))
    assert "60 rows of 4 columns" in commented.notes[0]


def test_a_row_below_comments_is_counted_as_an_editor_counts_it(table):
    path = table("# a\n# b\n" + text([("oops" if p == 4 else p, p % 2) for p in range(30)], "ab"))
    with pytest.raises(DataError, match="a: 'oops' in row 8 is not a number"):
        load(path)


def test_a_column_without_values_in_the_rows_that_are_used_is_left_out(table):
    rows = [(place % 7, "" if place > 2 else place, "" if place <= 2 else place % 2) for place in range(40)]
    data = load(table(text(rows, "abc")), missing="impute")
    assert data.input_shape == (1,) and bool(data.train.images.isfinite().all())
    assert "left out: b, without any value in the rows that are used" in data.notes


def test_a_column_is_found_by_the_name_that_notes_give_it(table):
    path = table(text([(place % 5, place % 7, place % 2) for place in range(40)], ("x", "x", "y")))
    assert load(path, "y", ignore=["x (2)"]).input_shape == (1,)
    path = table(text([(place % 5, place % 7, place % 2) for place in range(40)], None))
    assert load(path, "column 3", ignore=["column 1"], header="no").input_shape == (1,)


def test_columns_of_one_name_are_told_apart_by_number(table):
    path = table(text([(place % 5, place % 7, place % 2) for place in range(40)], ("x", "x", "y")))
    assert "numbers: x, x (2); 2 inputs in all" in load(path, "y").notes
    with pytest.raises(ConfigError, match="data.target=x: 2 columns of .* have this name; write the number, 1 or 2"):
        load(path, "x")
    assert len(load(path, 2).classes) == 7


FAULTS = {  # what is in the file, fields, and the answer
    "empty": ("", {}, "is empty"),
    "blank": ("\n \n", {}, "is empty"),
    "header only": ("a,b\n", {}, "has a header, but no rows below it"),
    "one column": ("a\n1\n2\n", {}, "has one column, separated by comma, and must have a target and an input"),
    "few rows": ("a,b\n1,2\n3,4\n", {}, "2 rows are left, too few to train, validate and test"),
    "wide row": (lines("a,b", "1,2", "1,2,3", "4,5", count=9), {}, "row 3 has 3 values for 2 columns"),
    "wide row far down": ("a,b\n" + "1,2\n" * 40000 + "1,2,3\n", {}, "row 40002 has 3 values for 2 columns"),
    "wide first row": ("a,b\n1,2,3\n" + "1,2\n" * 20, {}, "row 2 has 3 values for 2 columns"),
    "open quote": ('a,b\n1,"2\n' + "3,4\n" * 20, {}, 'a quote (") is opened and never closed'),
    "open quote in the header": ('"a,b\n' + "3,4\n" * 20, {}, 'a quote (") is opened and never closed'),
    "open quote in a long file": ('"a,b\n' + "3,4\n" * 40000, {}, 'a quote (") is opened and never closed'),
    "title": ("Sales of May\n\n" + text(ROWS), {}, "its first row has 1 value, most others have 4 (separated by"),
    "short header": (text(ROWS, ("size", "label")), {}, "its first row has 2 values, most others have 4"),
    "no values": (text([("", p % 2) for p in range(30)], "ab"), {"numbers": ["a"], "missing": "impute"},
                  "no column is left to predict from; left out: a, without any value"),
    "constant target": (lines("a,b", "1,x", "2,x", count=9), {}, "target b is always x, so that nothing can"),
    "empty target": (lines("a,b", "1,", "2,", count=9), {}, "target b is empty, so that nothing can"),
    "target of names": (text([(p % 5, f"n{p}") for p in range(30)], "ab"), {}, "30 different values in 30 rows"),
    "no inputs": (text([(f"n{p}", p % 2) for p in range(30)], "ab"), {}, "no column is left to predict from; left out"),
    "not a number": (text([("oops" if p == 4 else p, p % 2) for p in range(30)], "ab"), {},
                     "a: 'oops' in row 6 is not a number; correct the file, or write data.categories=[a]"),
    "target not a number": (text([(p % 3, "oops" if p == 4 else p + 0.5) for p in range(30)], "ab"), {},
                            "target b: 'oops' in row 6 is not a number; correct the file"),
    "texts as numbers": (text(ROWS), {"task": "regression"}, "write data.task=classification"),
    "three as two": (text([(p % 5, p % 3) for p in range(30)], "ab"), {"task": "binary"}, "try data.task="),
    "workbook": (b"PK\x03\x04\x14", {}, "is a zip archive or an Excel workbook"),
    "parquet": (b"PAR1\x15", {}, "is a Parquet file"),
    "web page": ("<!DOCTYPE html><html>", {}, "is a web page"),
    "bytes": (bytes(range(256)) * 4, {}, "is not a text file"),
    "damaged": (gzip.compress(b"a,b\n1,2\n")[:-9], {}, "is damaged"),
    "encoding": (text(ROWS).encode("cp1252"), {"encoding": "utf-8"}, "is not in data.encoding=utf-8"),
    "too large": (text([(f"1e{39 if p == 3 else 3}", p % 2) for p in range(30)], "ab"), {}, "a: has numbers beyond"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_place_in_one_line(fault, table):
    content, fields, answer = FAULTS[fault]
    path = table(content)
    with pytest.raises(DataError) as caught:
        load(path, **fields)
    assert str(caught.value).startswith(f"{path}: ") and answer in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fix_that_would_be_refused_is_not_offered(table):
    path = table(text([(place % 3, "oops" if place == 4 else place + 0.5) for place in range(30)], "ab"))
    with pytest.raises(DataError) as caught:
        load(path)
    assert "classification" not in str(caught.value)
    with pytest.raises(DataError, match="too many to be classes"):
        load(path, task="classification")


FLOWERS = ("data.path=flowers.csv", "data.target=-1")


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (["data.path=flowers.csv"], 2, "write data.target=NAME, of length, species"),
        (["data.path=flowers.csv", "data.target=specis"], 2, "did you mean data.target=species?"),
        (["data.path=flowers.csv", "data.target=7"], 2, "flowers.csv has 2 columns; write a number from 1 to 2, or -1"),
        (["data.path=flowers.csv", "data.target=0"], 2, "write a number from 1 to 2, or -1"),
        ([*FLOWERS, "data.ignore=[lenth]"], 2, "did you mean data.ignore=[length]?"),
        (
            ["data.path=bare.csv", "data.target=species"],
            2,
            "bare.csv has no header; write the number of a column, from",
        ),
        (["data.path=bare.csv"], 2, "bare.csv has no header; write data.target=N"),
        (["data.path=flower.csv", "data.target=-1"], 3, "; did you mean flowers.csv?"),
        (["data.path=nowhere/a.csv", "data.target=-1"], 3, "; there is no folder nowhere either"),
        (["data.path=.", "data.target=-1"], 3, "is a folder, not a file; . holds bare.csv, flowers.csv"),
        ([*FLOWERS, "data.encoding=klingon"], 2, "encoding must be auto or the name of one"),
        ([*FLOWERS, "data.separator=dot"], 2, "must be one of auto, comma, semicolon, tab"),
        ([*FLOWERS, "data.task=regression"], 3, "are not numbers; correct the file, or write data.task=classification"),
        ([*FLOWERS, "model=cnn"], 2, "model=cnn: needs images"),
        (["data.target=-1"], 2, "data.path: needs a value"),
    ],
)
def test_a_mistake_on_the_command_line_is_answered(words, code, answer, table, run_in_process):
    rows = [(place % 5, ("setosa", "virginica", "lily")[place % 3]) for place in range(60)]
    table(text(rows, ("length", "species")), "flowers.csv")
    table(text(rows, None), "bare.csv")
    found, _, err = run_in_process("data=csv", *words)
    assert found == code and answer in err and len(err.splitlines()) == 1


def test_names_with_spaces_are_answered_as_a_shell_takes_them(table):
    path = table(text([(place % 5, place % 2) for place in range(40)], ("petal length (cm)", "y")))
    with pytest.raises(ConfigError) as caught:
        load(path, "petal lenght (cm)")
    assert str(caught.value).endswith("did you mean \"data.target='petal length (cm)'\"?")


@pytest.mark.parametrize(
    ("values", "criterion", "score"),
    [
        (["a", "b"], BinaryCrossEntropy, "accuracy"),
        (["a", "b", "c"], CrossEntropy, "accuracy"),
        ([0.5, 1.5], MeanSquaredError, "r2"),
    ],
)
def test_the_loss_and_the_score_are_those_of_the_task(values, criterion, score, table, composed):
    path = table(text([(place % 5, values[place % len(values)]) for place in range(60)], ("x", "y")))
    run = build_run(composed("data=csv", f"data.path={path}", "data.target=y"))
    assert isinstance(run.criterion, criterion) and run.monitor.name == score
    assert torch.allclose(run.train.images.mean(0), torch.zeros(1), atol=1e-6)  # standardised


def test_a_run_resumes_sweeps_and_is_evaluated_elsewhere(table, run_in_process, tmp_path):
    rows = [(place % 7, -place % 5, place % 7 > 3) for place in range(200)]
    table(text(rows, ("x", "z", "y")), "mine.csv")
    words = ("data=csv", "data.path=mine.csv", "data.target=y", "model=linear", "epochs=2", "threads=1")
    code, out, err = run_in_process(*words, "data.train_samples=50", "hydra.run.dir=one")
    assert code == 0 and "50 of 130 train, 30 val, 40 test; 2 inputs, binary" in out, err
    assert "note: target y: binary; 2 classes: False 116, True 84" in out
    code, out, err = run_in_process("resume=one", "epochs=+1")
    assert code == 0 and "resumed after step 2" in out, err
    code, out, err = run_in_process("-m", *words, "data.train_samples=20,0.5", "optimizer.lr=0.1,0.01")
    assert code == 0 and "4 settings" in out, err
    (tmp_path / "moved").mkdir()
    (tmp_path / "mine.csv").rename(tmp_path / "moved" / "mine.csv")
    code, out, err = run_in_process("task=evaluate", "runs=[one]", "data=csv", "data.path=moved/mine.csv")
    assert code == 0, err
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert f"{summary['test']['accuracy']:.4f}" in out
    table(text(rows[::-1], ("x", "z", "y")), "mine.csv")
    code, _, err = run_in_process("resume=one", "epochs=+1")
    assert code == 3 and "the data has changed" in err


def test_a_file_that_changes_is_read_again(table):
    path = table(text([(place % 5, place % 2) for place in range(40)], ("x", "y")), "same.csv")
    assert load(path).outputs == 1
    table(text([(place % 5, place % 3) for place in range(40)], ("x", "y")), "same.csv")
    assert load(path).outputs == 3


def test_rare_classes_are_split_as_far_as_they_go(table):
    rows = [(place % 5, "one" if place == 0 else "two" if place < 3 else "many") for place in range(60)]
    data = load(table(text(rows, ("x", "y"))))
    counts = [part.targets.sum(0).tolist() for part in (data.train, data.val, data.test)]
    assert data.classes == ("many", "one", "two") and [sum(column) for column in zip(*counts)] == [57, 1, 2]
    assert counts[0][1] == 1 and counts[0][2] == 1 and counts[2][2] == 1
