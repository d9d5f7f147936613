"""Files that anybody may have put where they lie: opened without following links, and only regular ones.

An archive or a repository can carry links, and a folder can hold pipes and devices. No torch here.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from trainer.base.errors import DataError
from trainer.base.text import printable

# A pipe would make a reader wait for a writer. Systems without these flags get 0.
FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_plain(path: Path, flags: int) -> int:
    """Return the descriptor of a regular file; of a new one where the flags ask for it.

    Errors: OSError, also where something else has the name: a link, a folder, a pipe, a device.
    """
    if not hasattr(os, "O_NOFOLLOW") and os.path.islink(path):
        raise OSError(errno.ELOOP, "is a link", str(path))
    try:
        descriptor = os.open(path, flags | FLAGS, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # FreeBSD has the second one for a link
            raise OSError(error.errno, "is a link", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return descriptor


def require_regular(path: str | Path, limit: int | None = None) -> None:
    """Check that a path of the user's own, which may be a link, leads to no pipe, socket or device: these may not end.

    Args:
        limit: bytes from which the file is refused.
    Errors: OSError.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    if limit is not None and status.st_size > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit:,} bytes", str(path))


def read_plain(path: Path, limit: int | None = None) -> bytes:
    """Return the bytes of a regular file.

    Args:
        limit: bytes from which it is refused.
    Errors: OSError.
    """
    with open(open_plain(path, os.O_RDONLY), "rb") as file:
        content = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(content) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit:,} bytes", str(path))
    return content


def require_plain(folder: Path, name: str) -> None:
    """Check that a folder is no link, and that all in it are folders, and files that have no other name.

    Args:
        name: what the folder is called in the message, as `resume=DIR`.
    Errors: DataError.
    """
    require_no_link(folder, name)
    for path, what in oddities(folder):
        own = printable(path.relative_to(folder))
        raise DataError(f"{name}: its {own} is {what}; a run's directory holds only files and folders of its own")


def require_no_link(path: Path, name: str) -> None:
    """Check that a path is not a link. Errors: DataError."""
    if os.path.islink(path):  # Path.is_symlink raises for a name that is too long
        raise DataError(f"{name}: is a link; name what it points to, {printable(os.path.realpath(path))}")


def oddities(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is neither a folder nor a file with one name, and what it is. Errors: DataError."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                found = [(place / entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):  # of a process that writes there just now
            continue
        except OSError as error:
            raise DataError(f"{printable(place)}: cannot be read ({error.strerror})") from None
        for path, status in found:
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
            elif not stat.S_ISREG(status.st_mode):
                yield path, next((kind for matches, kind in KINDS if matches(status.st_mode)), "no regular file")
            elif status.st_nlink > 1:
                yield path, "a hard link, a file with several names; cp -r makes a copy without"
