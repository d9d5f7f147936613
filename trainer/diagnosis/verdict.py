"""Verdict on a run: its code, its evidence, what it means, and the command to try. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainer.base.text import as_command
from trainer.config import catalog
from trainer.config.keys import Role, key_of, role_of

LEVELS = ("problem", "hint")  # a problem is the likely cause of a bad score, a hint what may make a good one better


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A fault of a run, or what may improve it.

    Args:
        code: a name for programs, as `dead_units`.
        level: `problem` or `hint`.
        what: what was found, with its numbers.
        meaning: what that does to the training, in one sentence.
        changes: overrides to type beside those of the run; `~KEY` leaves one out.
        numbers: name -> (value, threshold).
        other: what to do where no override does it.
    """

    code: str
    level: str = "problem"
    what: str
    meaning: str
    changes: Sequence[str] = ()
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    other: str = ""

    def command(self, words: Sequence[str]) -> str:
        """Return the command to try, for a run with these overrides; empty where none does it."""
        return as_command("train", *merged(words, self.changes), *catalog.config_dirs()) if self.changes else ""

    def lines(self, words: Sequence[str]) -> list[str]:
        """Return the verdict as it is printed: what, its meaning, and what to try."""
        advice = self.command(words) or self.other
        return [f"{self.level}: {self.what}", self.meaning, *([f"try: {advice}"] if advice else [])]

    def as_dict(self, words: Sequence[str]) -> dict:
        """Return the verdict as summary.json holds it."""
        numbers = {name: {"value": value, "threshold": threshold} for name, (value, threshold) in self.numbers.items()}
        texts = {"what": self.what, "meaning": self.meaning, "command": self.command(words), "other": self.other}
        return {"code": self.code, "level": self.level, **texts, "numbers": numbers}


def merged(words: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Return the overrides of a command with some changed, in their places; new ones come last.

    Another option of a group drops the keys of the one before.
    """
    left = [change for change in changes if change.startswith("~")]
    new = {key_of(change): change for change in changes if change not in left}
    kept, groups = [], dict(new)
    for word in words:
        key = key_of(word)
        other = any(is_of_other_option(word, group, change) for group, change in groups.items())
        if role_of(key) is not Role.LAUNCH and f"~{key}" not in left and not other:
            kept.append(new.pop(key, word))
    return [*kept, *new.values()]


def is_of_other_option(word: str, group: str, change: str) -> bool:
    """Return whether an override sets a key of a group whose option is changed; lists (reg, aug) keep theirs."""
    return "." not in group and key_of(word).startswith(f"{group}.") and not change.partition("=")[2].startswith("[")
