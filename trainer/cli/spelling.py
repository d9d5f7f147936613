"""Other spellings of a value that breaks its rule: `0.01` for `0,01`, `[64]` for `64`, `true` for `yes`."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from trainer.base.driver import missing_device
from trainer.base.text import nearest
from trainer.config import schema, synonyms
from trainer.config.quoting import as_value, unquote

UNITS = {  # of lengths and durations, by the words that people write
    "ep": "e epoch epochs eps",
    "st": "s step steps it its iter iters iteration iterations batches",
    "min": "m mins minute minutes",
    "%": "percent pct",
}
LONGEST_NUMBER = 40  # letters of one that somebody meant
MANY = 100  # epochs: a longer length is mostly meant in steps
MULTIPLES = {"": 1, "f": 1, "d": 1, "%": 0.01, "k": 1_000, "m": 1_000_000}  # behind a number


def good_spellings(key: schema.Key, text: str) -> list[str]:
    """Return other spellings of a value that keep the rule of its key, of the first kind that does; else none."""
    if keeps_rule(key, text):  # it was in quotes
        return [text]
    for spell in (from_table, without_quotes, as_list, *map(for_items, (as_number, as_word, with_unit)), nearest_words):
        if good := [other for other in spell(key, text) if keeps_rule(key, other)]:
            return list(dict.fromkeys(good))
    return []


def keeps_rule(key: schema.Key, text: str) -> bool:
    """Return whether a value, as it is typed, keeps the rule of a key."""
    try:
        override = OverridesParser.create().parse_override(f"{key.path}={text}")
    except HydraException:
        return False
    return not override.is_sweep_override() and refusal(key, override.value()) is None


def refusal(key: schema.Key, value: object) -> str | None:
    """Return why a value is refused, by its rule or by this machine; None for a good one."""
    return key.violation(value) or (missing_device(value) if key.path == "device" else None)


def from_table(key: schema.Key, text: str) -> Iterator[str]:
    """Yield what the value of another tool means for the same key."""
    last = key.path.rpartition(".")[2]
    for overrides in synonyms.meant_key(key.path, text) or synonyms.meant_key(last, text):
        path, _, value = overrides[0].partition("=")
        if len(overrides) == 1 and path == key.path:
            yield value


def without_quotes(key: schema.Key, text: str) -> Iterator[str]:
    """Yield the value without quotes, spaces and commas around it, and with an ASCII minus."""
    yield text.strip("'\" ,;")
    yield text.replace("\N{MINUS SIGN}", "-")


def as_list(key: schema.Key, text: str) -> Iterator[str]:
    """Yield a list of the items that commas or spaces divide."""
    items = re.split(r"[\s,;]+|(?<=\d)x(?=\d)", text.strip("()[]{} ,;"))
    if text.startswith("["):  # names with signs that need quotes
        parts = text.removeprefix("[").removesuffix("]").split(",")
        yield f"[{','.join(as_value(unquote(part.strip())) for part in parts)}]"
    yield f"[{','.join(items)}]"


def for_items(spell: Callable[[schema.Key, str], Iterator[str]]) -> Callable[[schema.Key, str], Iterator[str]]:
    """Return a function that spells a value in another way or, in a list, every item of it."""

    def spelled(key: schema.Key, text: str) -> Iterator[str]:
        if not (key.rule and key.rule.in_list):
            yield from spell(key, text)
            return
        items = [[*spell(key, item)] or [item] for item in text.strip("[]() ").split(",")]
        for place in range(max(map(len, items))):
            yield f"[{','.join(others[min(place, len(others) - 1)] for others in items)}]"

    return spelled


def as_number(key: schema.Key, text: str) -> Iterator[str]:
    """Yield the number that was meant by `0,01`, `1,000`, `10k`, `1e-3f`, `50%`, `10.0`, `1/3` or `10^-3`."""
    if len(text) > LONGEST_NUMBER:
        return
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    if re.fullmatch(r"-?\d+,\d+(e-?\d+)?", text):
        yield text.replace(",", ".")
    if re.fullmatch(r"\d{1,3}([,' ]\d{3})+", text):
        yield re.sub("[,' ]", "", text)
    if (found := re.fullmatch(rf"({number})\s*([A-Za-z%]?)", text)) and found[2].lower() in MULTIPLES:
        yield f"{float(found[1]) * MULTIPLES[found[2].lower()]:.12g}"
    if found := re.fullmatch(r"(\d+) ?(e|ep|epochs?)", text):  # of a key that counts epochs
        yield found[1]
    if re.fullmatch(number, text) and float(text).is_integer():  # Inf is none
        yield f"{float(text):.0f}"
    if (found := re.fullmatch(r"(\d+)/(\d+)", text)) and int(found[2]):
        yield f"{int(found[1]) / int(found[2]):.6g}"
    if found := re.fullmatch(r"(\d+)(?:\^|\*\*)(-?\d{1,2})", text):
        with suppress(OverflowError, ZeroDivisionError):
            yield f"{float(found[1]) ** int(found[2]):g}"


def as_word(key: schema.Key, text: str) -> Iterator[str]:
    """Yield the value in lower case, and the truth value or null that it means."""
    word = text.lower()
    yield word
    if (truth := synonyms.truth(word)) is not None:
        yield from ("true", "yes") if truth else ("false", "null", "none", "no")


def with_unit(key: schema.Key, text: str) -> Iterator[str]:
    """Yield a length or a duration: `3ep`, `3st` for `3`, `10%` for `0.1`, `30ep` for `30epochs`, `60min` for `1h`."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text):
        yield from (f"{found[1]}{unit}" for unit, words in UNITS.items() if found[2].lower() in words.split())
        if found[2].lower() in ("h", "hour", "hours"):
            yield f"{60 * float(found[1]):g}min"
    elif re.fullmatch(r"0?\.\d+", text):
        yield f"{100 * float(text):g}%"
    elif text.isdigit():
        yield from sorted((f"{text}ep", f"{text}st"), reverse=int(text) > MANY)


def nearest_words(key: schema.Key, text: str) -> Iterator[str]:
    """Yield the word of the rule that is in the value, has it as a part, or is similar."""
    words = [str(word) for word in key.rule.words] if key.rule else []
    parts = [part for part in re.split(r"[\W_]+", text.lower()) if len(part) > 2]
    yield from (word for word in words if any(word.startswith(part) or part.startswith(word) for part in parts))
    yield from nearest(text, words, 1, cutoff=0.75)
