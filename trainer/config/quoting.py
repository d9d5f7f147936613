"""Values with quotes, as Hydra's grammar and a shell want them. No torch here."""

import re
from contextlib import suppress

from trainer.base.text import for_shell

PLAIN = r"[\w./+%@-]+(?: [\w./+%@-]+)*"  # what Hydra reads without quotes
WORDS = ("null", "true", "false")  # which Hydra reads as something else than text


def quote(text: object) -> str:
    """Return a text as a quoted value that Hydra reads back unchanged."""
    plain = re.sub(r"(\\*)(\$\{)", lambda found: found[1] * 2 + "\\${", str(text))
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), plain) + "'"


def unquote(text: str) -> str:
    """Return a typed value without its quotes; one that has none unchanged."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    return re.sub(rf"\\+(?={text[0]}|$)", lambda found: found[0][: len(found[0]) // 2], text[1:-1])


def as_value(text: object) -> str:
    """Return a text as a value that Hydra reads as that text: in quotes where it needs them."""
    text = str(text)
    plain = re.fullmatch(PLAIN, text, re.ASCII) is not None and text.lower() not in WORDS
    with suppress(ValueError):
        float(text)
        plain = False
    return text if plain else quote(text)


def as_argument(key: str, text: object) -> str:
    """Return an override with a text as its value, to paste into a shell."""
    return for_shell(f"{key}={as_value(text)}")
