"""Answer to a mistake: what to type instead, fitted to the rest of the command. No torch here."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.base.text import for_shell
from trainer.cli.chosen import Chosen, Unfit, keys_of

LISTED = 3  # fixes, and options that have a key
Fix = Sequence[str]  # overrides to type instead of the mistake


@dataclass(frozen=True)
class Answer:
    """Answer to a mistake.

    Args:
        fixes: what to type, each of them overrides in place of the mistaken one.
        reason: said before the fixes, or where there are none.
        note: said behind them.
    """

    fixes: Sequence[Fix] = ()
    reason: str = ""
    note: str = ""

    def __str__(self) -> str:
        shown = " or ".join(" ".join(map(for_shell, fix)) for fix in self.fixes[:LISTED])
        asked = (f"write {shown}" if self.reason else f"did you mean {shown}?") if shown else ""
        noted = f"{asked} ({self.note})" if self.note else asked
        return "; ".join(filter(None, (self.reason, noted)))


def fitting(fixes: Iterable[Fix], chosen: Chosen, refused: list[str], replacing: bool = False) -> list[Fix]:
    """Return the fixes that go with the chosen options; why a value of the others is refused is added to the list.

    Args:
        replacing: a fix may replace an option that is typed.
    """
    found: list[Fix] = []
    for fix in fixes:
        try:
            fitted = chosen.fit(fix, replacing)
        except Unfit as error:
            refused += [str(error)] if str(error) else []
        else:
            found += [] if fitted in found else [fitted]
    return found


def first_fit(fixes: Iterable[Fix], chosen: Chosen) -> Iterator[Fix]:
    """Yield the first fix that goes with the chosen options, if there is one."""
    yield from [fix for fix in fixes if fitting([fix], chosen, [])][:1]


def with_value(group: str, option: str, value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield an option with a value for the first of its keys that takes it: `dropout=0.5`."""
    choose = f"{group}={option}"
    yield from first_fit(([choose, f"{path}={value}"] for path in keys_of(group, option)), chosen)
