"""Synonyms: keys of older versions, and the names that other tools have for keys and options. No torch here.

They are looked up before similar names. A synonym means the same thing under another name, never a similar one; a name
that is known to have no counterpart is answered with no similar name either.
"""

import re
from collections.abc import Mapping
from functools import cache

from trainer.config.synonyms_of_keys import KEYS, REASONS
from trainer.config.synonyms_of_options import ABSENT, NOTES, OPTIONS

RENAMED_KEYS = {  # the key of an older version, and the key with the form of its value where that has changed
    "data.val_share": "data.val_fraction=",
    "data.test_share": "data.test_fraction=",
    "optimizer.scale_lr": "scale_lr=",
    "optimizer.base_batch": "base_batch=",
    "norm.fold": "norm.fuse=",
    "aug.translate.share": "aug.translate.fraction=",
    "aug.affine.share": "aug.affine.fraction=",
    "aug.perspective.share": "aug.perspective.fraction=",
    "aug.random_erasing.least": "aug.random_erasing.scale=[LOW,HIGH]",
    "aug.random_erasing.most": "aug.random_erasing.scale=[LOW,HIGH]",
    "aug.resized_crop.floor": "aug.resized_crop.scale=[LOW,1]",
    "aug.lens.strength": "aug.radial_distortion.strength=",
    "aug.lens.mode": "aug.radial_distortion.mode=",
    "aug.stretch.ratio": "aug.scale_xy.ratio=",
    "aug.stretch.mode": "aug.scale_xy.mode=",
}
TRUTH = {  # what people write for true and false
    **dict.fromkeys(("true", "yes", "y", "on", "1", "enable", "enabled"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0", "none", "null", "nothing", "disable", "disabled"), False),
}
ALIASES = {  # names that work: the same thing
    "act": {"silu": "swish"},
    "channels_last": {"true": "on", "false": "off"},
    "compile": {"true": "model", "false": "off"},
    "aug": {"none": "[]"},
    "reg": {"none": "[]"},
    "experiment": {"none": "[]", "null": "[]"},
}


def renamed_key(key: str) -> str | None:
    """Return what to type for the key of an older version; None for any other key.

    It ends in `=` where the value is the same, as `data.val_fraction=`, and shows the new value's form where it is not,
    as `aug.random_erasing.scale=[LOW,HIGH]`.
    """
    return RENAMED_KEYS.get(key)


def canonical(text: str) -> str:
    """Return an override with the aliases in it replaced by what they stand for: `reg=[],l2` for `reg=none,l2`."""
    group, sign, value = text.partition("=")
    for alias, meant in ALIASES.get(group.lstrip("+"), {}).items():
        item = rf"\[{alias}\]|{alias}" if meant == "[]" else alias
        value = re.sub(rf"(?<![^,])(?:{item})(?![^,])", meant, value, flags=re.IGNORECASE)
    return f"{group}{sign}{value}"


def meant_key(key: str, value: str) -> list[list[str]]:
    """Return what to type for the key of another tool, each a list of overrides, best first; none where it is unknown.

    A key with this very value comes first: `shuffle=false` is another thing than `shuffle`.
    """
    found, bare = words_of_keys(), value.strip("'\"")
    word = {True: "true", False: "false"}.get(truth(bare), bare)
    rows = (found.get(plain(name)) for name in (f"{key}={bare}", f"{key}={word}", key))
    templates = next(filter(None, rows), "").split(" | ")
    texts = [[filled(part, value) for part in template.split()] for template in templates if template]
    return [overrides for overrides in texts if None not in overrides]


def truth(word: str) -> bool | None:
    """Return the truth value that a word means; None for any other word."""
    return TRUTH.get(word.lower())


def filled(template: str, value: str) -> str | None:
    """Return an override of the table with the value in it; None where the value is no number but would have to be."""
    try:
        percent, complement = f"{100 * float(value):g}%", f"{1 - float(value):g}"
    except ValueError:
        percent = complement = None
    if percent and "{}st" in template:
        value = f"{float(value):.12g}"  # 1e3 steps are 1000st
    for form, text in (("{percent}", percent), ("{complement}", complement), ("{}", value)):
        if form in template and text is None:
            return None
        template = template.replace(form, text or "")
    return template


def why_no_key(key: str, value: str = "") -> str | None:
    """Return why there is nothing to type for the key of another tool; None where that is not known."""
    return reasons().get(plain(f"{key}={value}")) or reasons().get(plain(key))


def meant_option(group: str, name: str) -> list[list[str]]:
    """Return what to type for the option of another tool, each a list of overrides; none where it is unknown."""
    found = words_of_options().get(group, {}).get(plain(name), "")
    texts = [text.split() for text in found.split(" or ") if text]
    return [[text if "=" in text else f"{group}={text}" for text in overrides] for overrides in texts]


def note(group: str, name: str) -> str | None:
    """Return what to know beside the answer to an option; None where there is nothing."""
    return NOTES.get(f"{group}={name.lower()}")


def is_absent(group: str, name: str) -> bool:
    """Return whether a name is known to mean something that no option of the group does."""
    return plain(name) in map(plain, ABSENT.get(group, "").split())


@cache
def words_of_keys() -> dict[str, str]:
    """Return what to type by the plain names of keys."""
    return by_word(KEYS)


@cache
def words_of_options() -> dict[str, dict[str, str]]:
    """Return what to type by the plain names of options, of each group."""
    return {group: by_word(rows) for group, rows in OPTIONS.items()}


@cache
def reasons() -> dict[str, str]:
    """Return why there is nothing to type, by the plain names of keys."""
    return by_word(REASONS)


def by_word(rows: Mapping[str, str]) -> dict[str, str]:
    """Return rows of a table by each of their words, without case, dashes and underscores."""
    return {plain(word): meant for meant, words in rows.items() for word in words.split()}


def plain(name: str) -> str:
    """Return a name without case, dashes and underscores: `BatchNorm`, `batch_norm` and `batch-norm` are one name."""
    return re.sub(r"[-_ ]", "", name.lower())
