"""Check of the user's own options, the folder behind --config-dir, before anything else reads them. No torch here.

A target in them is checked like any other (config/targets.py); here it is what YAML's readers would stumble over.
"""

import stat
from pathlib import Path

import yaml

from trainer.base.errors import ConfigError, DataError
from trainer.base.text import printable
from trainer.config import catalog
from trainer.config.untrusted import MAX_BYTES, MAX_LEVELS, SafeLoader

MOST_NODES = 100_000  # of a file, each alias counted as what it stands for
HYDRA_GROUPS = ("hydra/launcher", "hydra/sweeper", "hydra")


def use(folder: str | Path | None) -> None:
    """Take the options of the folder that --config-dir names, or none. Errors: ConfigError, DataError."""
    catalog.extra_folders[:] = [Path(folder).absolute()] if folder else []
    for place in catalog.extra_folders:
        if not place.is_dir():
            what = "no such folder; it must hold options of your own, laid out like conf/"
            raise ConfigError(f"--config-dir {printable(folder)}: {what}")
        require_readable(place)


def require_readable(folder: Path) -> None:
    """Check every option in a folder that is laid out like conf/. Errors: DataError."""
    for group in (*catalog.groups(), *HYDRA_GROUPS):
        place = folder / group
        try:
            paths = sorted(path for path in place.iterdir() if path.suffix == ".yaml")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"--config-dir: {printable(place)}: cannot be read ({error.strerror})") from None
        for path in paths:
            try:
                require_option(path)
            except (OSError, ValueError, yaml.YAMLError) as error:
                reason = getattr(error, "strerror", None) or getattr(error, "problem", None) or str(error)
                why = printable(reason.strip().partition("\n")[0])
                raise DataError(f"--config-dir: {printable(path)}: cannot be read as an option ({why})") from None


def require_option(path: Path) -> None:
    """Check one file: regular, UTF-8, a mapping, without tags, of limited size.

    Errors: OSError, ValueError, YAMLError.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    try:
        content = read_limited(text, SafeLoader)
    except yaml.YAMLError:  # libyaml does not take a few texts that Hydra's reader takes
        content = read_limited(text, yaml.SafeLoader)
    if content is not None and not isinstance(content, dict):
        raise ValueError("it holds no keys")
    entries = (content or {}).get("defaults", [])
    if not isinstance(entries, list) or not all(isinstance(entry, str | dict) for entry in entries):
        raise ValueError("its defaults are no list of options")


def read_limited(text: str, loader: type) -> object:
    """Return the content of a text. Errors: ValueError, YAMLError."""
    require_limited(text, loader)
    try:
        return yaml.load(text, Loader=loader)
    except TypeError:
        raise ValueError("a list or a mapping is a key") from None


def require_limited(text: str, loader: type) -> None:
    """Check that a text has no tags, no alias of what it stands in, and not too many nodes. Errors: ValueError."""
    sizes: dict[str, int] = {}  # nodes below each anchor; 0 while it is open
    waiting: list[tuple[str | None, int]] = []  # open collections: anchor, nodes before
    total = 0
    for event in yaml.parse(text, Loader=loader):
        anchor = getattr(event, "anchor", None)
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"tags are not allowed: {event.tag}")
        if isinstance(event, yaml.AliasEvent):
            if not sizes.get(anchor, 1):
                raise ValueError(f"*{anchor} stands in what it names")
            total += sizes.get(anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            waiting.append((anchor, total))
            sizes |= {anchor: 0} if anchor else {}
            total += 1
        elif isinstance(event, yaml.ScalarEvent):
            sizes |= {anchor: 1} if anchor else {}
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            opened, before = waiting.pop()
            sizes |= {opened: total - before} if opened else {}
        if total > MOST_NODES or len(waiting) > MAX_LEVELS:
            raise ValueError(f"it has more than {MOST_NODES:,} values or {MAX_LEVELS} levels")
