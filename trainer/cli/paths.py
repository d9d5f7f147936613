"""Files and folders where KEY=VALUE or the name of a data set belongs. No torch here."""

import re
from collections.abc import Sequence
from pathlib import Path

from trainer.base.paths import expanded
from trainer.cli.answer import Answer, fitting
from trainer.cli.chosen import Chosen
from trainer.config import catalog
from trainer.config.quoting import PLAIN, as_value, quote, unquote

FILES = {  # of data, by their endings: what reads them, and what it must be told besides the path
    **dict.fromkeys((".csv", ".tsv"), ("data=csv", "data.target=COLUMN")),
    ".npz": ("data=npz",),
    ".npy": ("data=npz", "data.target=VALUE"),
}
IMAGES = "data=image_folder"


def is_path(text: str) -> bool:
    """Return whether a text is the path of a file or a folder and nothing else: it has a slash, or is there."""
    text = unquote(text)
    if text in catalog.options("data") or not text or "=" in text or re.search(r"[\[\]${}]", text):
        return False
    return (
        bool(re.match(r"~|\.\.?([/\\]|$)", text))
        or "/" in text
        or "\\" in text
        or is_data_file(text)
        or Path(text).is_dir()
    )


def is_data_file(text: str) -> bool:
    """Return whether a file holds data, by its ending: a table of text, or arrays."""
    return Path(text).suffix.lower() in FILES


def data_of(text: str) -> Sequence[str]:
    """Return the overrides that train on a file of data or on a folder of images."""
    path = as_value(expanded(unquote(text)))
    if not is_data_file(text):
        return [IMAGES, f"data.root={path}"]
    option, *others = FILES[Path(text).suffix.lower()]
    return [option, f"data.path={path}", *others]


def of_task(words: Sequence[str], chosen: Chosen) -> list[Sequence[str]]:
    """Return the overrides for the directories of runs: to resume one, or for the task that is typed.

    Where the runs are typed, a path is for a key of the task that has no value yet.
    """
    if not chosen.typed.get("task"):
        return [[f"resume={as_value(words[0])}"]] if (Path(words[0]) / "overrides.txt").is_file() else []
    if "runs" not in chosen.given:
        return [[f"runs=[{','.join(map(as_value, words))}]"]]
    empty = (key.path for key in chosen.keys.values() if key.path.startswith("task.") and key.default is None)
    value = as_value(words[0]) if len(words) == 1 else "PATH"
    return [[f"{path}={value}"] for path in empty if path not in chosen.given]


def for_words(words: Sequence[str], chosen: Chosen) -> Answer:
    """Return the answer to paths without a key: of runs, or of data."""
    if found := of_task(words, chosen):
        return Answer(found)
    if "runs" in chosen.given:  # which say by themselves how their data is read
        return Answer([data_of(words[0])[1:2]])
    return for_data(words[0], chosen)


def for_data(text: str, chosen: Chosen) -> Answer:
    """Return the answer to a path in place of the name of a data set."""
    return Answer(fitting([data_of(text)], chosen, []) or [[IMAGES, "data.root=DIR"]])


def expand_home(text: str) -> str:
    """Return an override with the home folder for each `~` that begins a path, also in quotes, in lists and in sweeps.

    Hydra's grammar does not take it without quotes.
    """
    home = str(Path.home())
    plain = re.fullmatch(PLAIN, home)

    def expanded(found: re.Match) -> str:
        mark, rest = found.groups()
        return f"{mark}{home}{rest}" if mark or plain else quote(home + rest)

    return re.sub(r"(?<=[=,\[])(['\"]?)~((?:/[^,\]'\"]*)?)(?=[,\]'\"]|$)", expanded, text)
