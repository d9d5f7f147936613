"""Rules of values, as the comments of the YAML files state them. Neither YAML, Hydra nor torch here.

The comment behind a key is `# MEANING; RULE`. The rule is the text behind the last semicolon:

    rule   = "true or false" | "list of ", [ COUNT, " " ], parts | parts, [ ", or a list of them" ] | path | class
    parts  = part, { ( " or " | ", or " ), part }
    part   = "one of ", word, { ", ", word } | word | NAME, ":N" | "null" | "text" | number | length
    number = "number" | [ "number " ], bound | "whole number", [ " ", bound ]
    bound  = ( ">=" | "<=" | ">" | "<" ), " ", decimal | "in [a, b)", with either bracket at either end
    length = "a length" | "steps" | "minutes", each with examples behind it: " (2ep, 500st, 5%)"
    path   = "an existing ", ( "folder" | "file" ), [ " below ", KEY ], [ " unless ", KEY ]
           | "an existing folder or file", [ ", or null" ]
    class  = "a class of ", LIBRARY

A path below another key of the same node is one in that folder; it may be missing where the key behind "unless" is
true. Whether it is there is asked when a task begins (config/files.py). The classes of a library, which bring further
keys, are read from its files (config/libraries.py).

In a list the nouns are plural (`list of 2 numbers in [0, 1)`, `list of lengths`), and words follow "any of". A word
that "one of" does not introduce needs a number or null beside it: `whole number >= 1, or auto`. A number behind a whole
one is for values with a decimal point: `whole number >= 1, or number in (0, 1)`. Text that is not in this grammar is no
rule, so that English behind a semicolon restricts nothing. A key without a rule takes any value of the type of its
default.
"""

import math
import re
from dataclasses import dataclass, replace

from trainer.base.checks import satisfies
from trainer.base.clock import parse_length
from trainer.base.text import printable
from trainer.config import libraries

DECIMAL = r"-?(?:inf|\d+(?:\.\d+)?(?:e-?\d+)?)"
BOUND = rf"in [\[(]{DECIMAL}, {DECIMAL}[\])]|(?:>=|<=|>|<) {DECIMAL}"
WORD = r"[A-Za-z_]\w*(?:-\w+)*|\d+"
NUMBER = {
    False: re.compile(rf"(?:(whole )?number)?(?:(?:^|(?<=number) )({BOUND}))?"),
    True: re.compile(rf"(?:(whole )?numbers)(?: ({BOUND}))?"),
}
MEASURE = {
    False: re.compile(r"(a length|steps|minutes)(?: \((.+)\))?"),
    True: re.compile(r"(lengths|steps|minutes)(?: \((.+)\))?"),
}
EXISTING = re.compile(r"an existing (folder|file)(?: below (\w+))?(?: unless (\w+))?")
CLASS = re.compile(r"a class of (\w+)")
EITHER, OR_NULL, LISTED = "an existing folder or file", ", or null", ", or a list of them"
WORDS = {False: "one of ", True: "any of "}
RESERVED = ("number", "numbers", "length", "lengths", "list", "whole", "true", "false", "one", "any")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The values that a key may have: any of the kinds below.

    Args:
        source: the rule as it is written.
        words: literal values: text, and whole numbers where they are written in digits.
        numbered: NAME of the values NAME:N.
        null: null is a value.
        text: any text is a value.
        length: lengths are, such as 2ep, 500st and 5%.
        steps: numbers of steps are, such as 500st.
        minutes: durations are, such as 10min.
        number: finite numbers are, which keep `bound`, as `> 0` or `in [0, 1)`; only whole ones where `whole`.
        fractions: bound of the numbers with a decimal point that are values beside whole ones; None for none.
        truth: true and false are.
        in_list: the value is a list of these; `count` is its length, None for any.
        or_list: the value is one of these, or a list of them.
        path: `folder`, `file` or `folder or file` for text that is the path of one, below the folder that the key
            `below` names; it must be there unless the key `unless` is true.
        classes_of: the library whose classes are the words.
    """

    source: str
    words: tuple[str | int, ...] = ()
    numbered: str | None = None
    null: bool = False
    text: bool = False
    length: bool = False
    steps: bool = False
    minutes: bool = False
    number: bool = False
    whole: bool = False
    bound: str | None = None
    fractions: str | None = None
    truth: bool = False
    in_list: bool = False
    or_list: bool = False
    count: int | None = None
    path: str | None = None
    below: str | None = None
    unless: str | None = None
    classes_of: str | None = None

    def violation(self, value: object) -> str | None:
        """Return why a value breaks the rule, as `must be > 0`; None for a good one."""
        if self.classes_of and isinstance(value, str) and (why := libraries.refusal(self.classes_of, value)):
            return f"{printable(value)} {why}"
        if self.in_list:
            fits = isinstance(value, list) and self.count in (None, len(value)) and all(map(self.accepts, value))
        elif self.or_list and isinstance(value, list):
            fits = bool(value) and all(map(self.accepts, value))
        else:
            fits = self.accepts(value)
        return None if fits else f"must be {self.describe(with_noun=not is_number(value))}"

    def accepts(self, value: object) -> bool:
        """Return whether one value, or one item of a list, keeps the rule."""
        if isinstance(value, bool):
            return self.truth
        if value is None:
            return self.null
        if isinstance(value, str):
            return self.text or value in self.words or self._is_measure(value)
        if not is_number(value):
            return False
        if self.number and (isinstance(value, int) or not self.whole):
            return self.bound is None or satisfies(self.bound, value)
        if self.fractions and isinstance(value, float):
            return satisfies(self.fractions, value)
        return isinstance(value, int) and value in self.words

    def describe(self, with_noun: bool = True) -> str:
        """Return the rule as it follows `must be`: `a whole number >= 1, or full`.

        Args:
            with_noun: a bare bound is said as `a number > 0`.
        """
        if self.in_list:
            return f"a {self.source}"
        if self.whole or not self.bound or f"number {self.bound}" in self.source:
            return re.sub(r"\b(whole )?number\b", r"a \g<0>", self.source) if self.number else self.source
        return self.source.replace(self.bound, f"a number {self.bound}", 1) if with_noun else self.source

    def _is_measure(self, value: str) -> bool:
        if self.numbered and re.fullmatch(rf"{self.numbered}:\d+", value):
            return True
        known = (self.length, is_length), (self.steps, is_steps), (self.minutes, is_minutes)
        return any(allowed and fits(value) for allowed, fits in known)


def parse_rule(source: str) -> Rule:
    """Return the rule that a text states. Errors: ValueError where it is not in the grammar."""
    if source == "true or false":
        return Rule(source=source, truth=True)
    if source in (EITHER, EITHER + OR_NULL):
        return Rule(source=source, text=True, null=source.endswith(OR_NULL), path="folder or file")
    if source.endswith(LISTED):
        return replace(parse_rule(source.removesuffix(LISTED)), source=source, or_list=True)
    if (found := CLASS.fullmatch(source)) and found[1] in libraries.LIBRARIES:
        return Rule(source=source, words=libraries.class_names(found[1]), classes_of=found[1])
    if path := EXISTING.fullmatch(source):
        return Rule(source=source, text=True, path=path[1], below=path[2], unless=path[3])
    listed = re.fullmatch(r"list of (?:(\d+) )?(.+)", source)
    fields: dict[str, object] = {}
    bare, examples = [], []
    for part in re.split(r",? or ", listed[2] if listed else source):
        if measure := MEASURE[listed is not None].fullmatch(part):
            found = {measure[1] if measure[1] in ("steps", "minutes") else "length": True}
            examples += measure[2].split(", ") if measure[2] else []
        else:
            found = kind_of_value(part, plural=listed is not None)
            if fields.get("whole") and found.get("whole") is False and found["bound"]:
                found = {"fractions": found["bound"]}
        if found.keys() & fields.keys():
            raise ValueError(f"says a thing twice: {source}")
        if not found and (listed or part in RESERVED or not re.fullmatch(WORD, part)):
            raise ValueError(f"not a rule: {source}")
        fields |= found
        bare += [] if found else [part]
    if bare and not {"number", "null"} & fields.keys():
        raise ValueError(f"words of a rule come behind 'one of': {source}")
    words = tuple(int(word) if word.isdigit() else word for word in (*fields.pop("words", ()), *bare))
    count = int(listed[1]) if listed and listed[1] else None
    rule = Rule(source=source, words=words, in_list=listed is not None, count=count, **fields)
    if not all(map(rule.accepts, examples)):
        raise ValueError(f"an example breaks the rule: {source}")
    return rule


def kind_of_value(part: str, plural: bool) -> dict[str, object]:
    """Return the fields of a rule that one part of it sets; none where it is no kind of value."""
    if part.startswith(WORDS[plural]):
        words = part.removeprefix(WORDS[plural]).split(", ")
        return {"words": words} if all(re.fullmatch(WORD, word) for word in words) else {}
    if numbered := re.fullmatch(r"([a-z]+):N", part):
        return {"numbered": numbered[1]}
    if part in ("null", "text"):
        return {part: True}
    number = NUMBER[plural].fullmatch(part)
    return {"number": True, "whole": number[1] is not None, "bound": number[2]} if part and number else {}


def rule_of_type(default: object) -> Rule | None:
    """Return the rule of a key that states none: any value of the type of its default; None for null and for a list."""
    if isinstance(default, bool):
        return Rule(source="true or false", truth=True)
    if isinstance(default, int | float):
        whole = isinstance(default, int)
        return Rule(source="whole number" if whole else "number", number=True, whole=whole)
    if isinstance(default, str):
        return Rule(source="text", text=True)
    return None


def fraction_of(value: object) -> float | None:
    """Return 0.1 for the text 10%; None for anything else."""
    percent = isinstance(value, str) and re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)%", value)
    return float(percent[1]) / 100 if percent else None


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


def is_length(value: str) -> bool:
    """Return whether a text is a length."""
    try:
        parse_length(value)
    except ValueError:
        return False
    return True


def is_steps(value: str) -> bool:
    """Return whether a text is a whole number of steps above zero, as `500st`."""
    return bool(re.fullmatch(r"\d*[1-9]\d*st", value))


def is_minutes(value: str) -> bool:
    """Return whether a text is a duration above zero, as `10min`."""
    return bool(re.fullmatch(r"\d+(\.\d+)?min", value)) and float(value.removesuffix("min")) > 0
