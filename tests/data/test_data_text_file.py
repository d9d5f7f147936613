"""Text of files in any encoding, the numbers in cells, and data=csv without pandas."""

import sys

import pytest

from trainer.base.errors import ConfigError, DataError
from trainer.data.cells import is_missing, number
from trainer.data.csv import Csv
from trainer.data.text_file import read_text

TEXT = "a,Größe\r\n1,2\r3,4\n"
PLAIN = "a,Größe\n1,2\n3,4\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("cp1252"), "cp1252"),
    ],
)
def test_a_text_is_the_same_in_any_encoding_and_with_any_ends_of_lines(content, encoding, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert read_text(str(tmp_path / "file")) == (PLAIN, encoding)


def test_bytes_that_are_in_no_known_encoding_are_read_all_the_same(tmp_path):
    (tmp_path / "file").write_bytes(b"a\x81\xf6\n")  # 81 is none of UTF-8 and none of Windows-1252
    assert read_text(str(tmp_path / "file")) == ("a\x81ö\n", "latin-1")


def test_a_named_encoding_is_taken_at_its_word(tmp_path):
    (tmp_path / "file").write_bytes("Привет".encode("cp1251"))
    assert read_text(str(tmp_path / "file"), "cp1251")[0] == "Привет"
    with pytest.raises(DataError, match="is not in data.encoding=ascii"):
        read_text(str(tmp_path / "file"), "ascii")


def test_a_path_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").write_text("a")
    assert read_text("~/file")[0] == "a"


@pytest.mark.parametrize(
    ("cell", "point", "comma"),
    [
        ("1.5", 1.5, None),
        ("1,5", None, 1.5),
        ("-1,234.5", -1234.5, None),
        ("-1.234,5", None, -1234.5),
        ("1,234", 1234, 1.234),
        ("1.234", 1.234, 1234),
        ("12,34", None, 12.34),
        ("1,23,456", None, None),
        ("1'234.5", 1234.5, None),
        (" 7 ", 7, 7),
        ("$5", 5, 5),
        ("5 %", 5, 5),
        ("1e5", 1e5, 1e5),
        ("\u22125", -5, -5),
        ("0x10", None, None),
        ("1_000", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("5 kg", None, None),
        ("1 2", None, None),
        ("2024-01-31", None, None),
        ("1-2", None, None),
        ("", None, None),
        ("-", None, None),
        (".", None, None),
        ("\u0663", 3, 3),  # an Arabic three
    ],
)
def test_a_cell_is_a_number_by_its_sign_of_decimals(cell, point, comma):
    assert (number(cell), number(cell, decimal_comma=True)) == (point, comma)


def test_a_missing_cell_is_one_in_any_column():
    assert all(map(is_missing, ["", "  ", "NA", "?", "NULL", "nan", "#N/A"]))
    assert not any(map(is_missing, ["0", "none", "-", "Na", "no"]))  # categories, or missing beside numbers only


def test_without_pandas_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    with pytest.raises(ConfigError) as caught:
        Csv(path=str(tmp_path / "none.csv"), target=1).load()
    assert str(caught.value) == "data=csv: needs pandas; pip install 'trainer[tables]'"
