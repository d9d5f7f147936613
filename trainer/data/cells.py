"""Cells of a table: which are missing, and which are numbers. No pandas here."""

import re

# Signs of a missing value in any column, and those that are one only beside numbers.
MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "Null", "null", "<NA>", "?"})
MISSING_NUMBERS = frozenset({"-", "--", ".", "none", "None", "NONE", "na", "Na", "missing", "unknown", "inf", "-inf"})
PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")  # 1,234.5
UNITS = "$€£¥% \u00a0\u202f"  # around a number


def is_missing(cell: str) -> bool:
    """Return whether a cell is empty or says that its value is missing."""
    return cell.strip() in MISSING


def number(cell: str, decimal_comma: bool = False) -> float | None:
    """Return the number in a cell, without its unit of money or percent; None where it is none."""
    text = cell.strip(UNITS).replace("\u2212", "-")
    if decimal_comma:
        text = text.replace(",", "\0").replace(".", ",").replace("\0", ".")
    text = re.sub(r"(?<=\d)[ '\u00a0\u202f](?=\d{3}(\D|$))", ",", text)  # other signs between thousands
    if PLAIN.fullmatch(text):
        return float(text)
    return float(text.replace(",", "")) if GROUPED.fullmatch(text) else None
