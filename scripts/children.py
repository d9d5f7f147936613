"""Run `train` in forked children, which have torch imported, with a limit of time; and find what they leave behind.

For damage.py and hostile.py; disturbing.py uses parts of it. A child leads a session of its own, and its orphans come
to this process (Linux).
"""

import ctypes
import io
import os
import re
import resource
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a child inherits no threads

from trainer.cli import main

LIMIT = 20.0  # seconds for a command
GRACE = 3.0  # seconds in which a helper process may end behind its command
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
NOTE = re.compile(r"(train: )?(note|warning): ")
IMPORTS = ("data=digits", "model=mlp", "model.hidden=[8]", "epochs=1", "threads=1", "device=cpu")


@dataclass(frozen=True)
class Ended:
    """End of a command.

    Args:
        code: its exit code; negative after a signal, None where it took longer than the limit.
        output, errors: what it printed.
        left: the processes that it began and that were still there a while behind it.
    """

    code: int | None
    output: str
    errors: str
    left: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Both streams."""
        return self.output + self.errors

    def fault(self) -> str | None:
        """Return what no command may do: hang, show a traceback, end with another code, or leave a process.

        The items of a list, which is indented, are no lines of an error: a folder of images has one of all its faults.
        """
        lines = [
            line for line in self.errors.strip().splitlines() if not NOTE.match(line) and not line.startswith("  ")
        ]
        if self.code is None:
            return "hangs"
        if "Traceback" in self.text:
            return f"traceback: {self.text.strip().splitlines()[-1][:150]}"
        if self.code not in (0, 2, 3, 4):
            return f"exit code {self.code}: {' / '.join(lines)[:150]}"
        if self.left:
            return f"leaves a process: {self.left[0][:100]}"
        if self.code and not 1 <= len(lines) <= 2:
            return f"{len(lines)} lines of error: {' / '.join(lines)[:150]}"
        return None


def prepare(folder: Path) -> None:
    """Import what commands need, by a small run of each kind, and take the orphans of children from now on."""
    with redirect_stdout(io.StringIO()):
        for words in ((), ("task=evaluate", f"runs=[{folder}]"), ("task=compare", f"runs=[{folder}]")):
            run = IMPORTS if not words else words
            call([*run, f"output={folder}"] if words[:1] != ("task=evaluate",) else [*run])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def call(words: Sequence[str], entry: Callable[[], None] = main.main) -> int:
    """Run `train` in this process and return its exit code."""
    sys.argv = ["train", *words]
    try:
        entry()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:  # as Python ends a program
        traceback.print_exc()
        return 1
    return 0


def run(folder: Path, *words: str, home: Path | None = None, limit: float = LIMIT, memory: int | None = None) -> Ended:
    """Run `train` in a folder, in a forked child, and return its end.

    Args:
        home: its HOME.
        memory: bytes of address space that it may have.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            become(folder, list(words), (output.fileno(), errors.fileno()), home, memory)
        code = wait(child, limit)
        left = orphans(code is None, child)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Ended(code, *texts, left)


def become(folder: Path, words: list[str], streams: tuple[int, int], home: Path | None, memory: int | None) -> None:
    """Be the child: never returns."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        if home is not None:
            os.environ["HOME"] = str(home)
            os.environ["XDG_CACHE_HOME"] = str(home.parent / "cache")
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        silence = os.open(os.devnull, os.O_RDONLY)
        for source, target in zip((silence, *streams), range(3)):
            os.dup2(source, target)
        code = call(words)
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(child: int, limit: float) -> int | None:
    """Wait for a child and return its exit code; None where it was killed behind the limit."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def orphans(hung: bool, child: int) -> tuple[str, ...]:
    """Return the processes that a child left behind and that do not end by themselves; they are killed."""
    end = time.monotonic() + (0 if hung else GRACE)
    while found := descendants():
        for process in found:
            with suppress(ChildProcessError):
                os.waitpid(process, os.WNOHANG)
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    names = tuple(map(command_of, found))
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(process, 0)
    return () if hung else names


def descendants() -> list[int]:
    """Return the processes whose parent is this one; none where the system does not say."""
    try:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in children.split()]


def command_of(process: int) -> str:
    """Return the command line of a process."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return str(process)


def snapshot(folder: Path) -> dict[str, tuple]:
    """Return every path below a folder with its kind, permissions, time and content."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path.relative_to(folder))] = status.st_mode, status.st_mtime_ns, content
    return found


def make_canary(folder: Path) -> Path:
    """Make a home folder whose files nothing may touch: their names are those that a run would write, and others."""
    home = folder / "home"
    (home / "checkpoints").mkdir(parents=True)
    for name in (".profile", ".bashrc", "step-1.pt", "metrics.jsonl", "run.log", "checkpoints/step-1.pt"):
        (home / name).write_text(f"canary {name}\n")
    return home


def differences(before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    """Return the paths that two snapshots do not have in common."""
    return sorted(name for name in {**before, **after} if before.get(name) != after.get(name))


def scratch() -> Path | None:
    """Return a folder in memory, where a killed process loses nothing and no file waits for a disk, or None."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None
