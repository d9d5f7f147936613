"""Run the commands of the course in docs/course and copy the pictures that its pages show.

python scripts/figures/course.py          # all pages, some minutes
python scripts/figures/course.py csp cu   # some of them

A picture `csp_rates_ranking.png` is the newest `ranking.png` that the commands above it in its section have written.
What each command has printed, and the seconds of a processor that it took, go to the screen, to compare with the page.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

COURSE = Path(__file__).parents[2] / "docs" / "course"
PART = re.compile(r"^```sh\n(?P<commands>.*?)^```$|^!\[.*\]\((?P<picture>[\w.-]+\.png)\)$", re.MULTILINE | re.DOTALL)
WIDTHS, COLOURS, LARGEST = (680, 560, 440, 340), 128, 48_000  # of a picture; bytes
IMAGES, UPPER = "preview-images.png", 0.35  # samples, which need more colours and bytes; of it, its first two rows
MORE_COLOURS, LARGEST_IMAGES = 256, 90_000


@dataclass(frozen=True)
class Section:
    """A section of a page: its commands and pictures, in order; a picture is a Path."""

    title: str
    parts: tuple[str | Path, ...]

    @property
    def commands(self) -> list[str]:
        """Return the commands without their comments."""
        return [part for part in self.parts if isinstance(part, str)]


def pages() -> list[Path]:
    """Return the pages of the course but its index."""
    return sorted(page for page in COURSE.glob("*.md") if page.name != "README.md")


def sections(page: Path) -> list[Section]:
    """Return the sections of a page that have a command."""
    texts = re.split(r"^## (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [Section(title, tuple(parts_of(text))) for title, text in zip(texts[1::2], texts[2::2])]
    return [section for section in found if section.commands]


def parts_of(text: str):
    """Yield the commands and pictures of a section."""
    for match in PART.finditer(text):
        if match["picture"]:
            yield COURSE / match["picture"]
        else:
            yield from (line.partition("  #")[0].strip() for line in match["commands"].splitlines())


def run(command: str, folder: Path) -> None:
    """Run a command in a folder, and print what it says and how long it takes."""
    program, *words = shlex.split(command)
    call = [sys.executable, "-m", "trainer", *words]
    before = os.times()
    done = subprocess.run(call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"\n$ {command}\n{done.stdout}exit code {done.returncode}, {seconds:.0f} s of a processor", flush=True)


def largest(picture: Path) -> int:
    """Return the bytes that a picture may have."""
    return LARGEST_IMAGES if picture.name.endswith(IMAGES) else LARGEST


def copy_newest(picture: Path, folder: Path) -> None:
    """Copy the newest file that a picture is named after, smaller and with fewer colours."""
    name = picture.name.split("_", 2)[2]
    newest = max(folder.rglob(name), key=lambda path: path.stat().st_mtime_ns)
    with Image.open(newest) as drawn:
        height = round(UPPER * drawn.height) if name == IMAGES else drawn.height
        image = drawn.convert("RGB").crop((0, 0, drawn.width, height))
    few = COLOURS, Image.Quantize.MAXCOVERAGE
    colours = (MORE_COLOURS, Image.Quantize.MEDIANCUT) if name == IMAGES else few
    for width in (width for width in WIDTHS if width <= image.width):
        size = (width, round(image.height * width / image.width))
        image.resize(size, Image.Resampling.LANCZOS).quantize(*colours).save(picture, optimize=True)
        if picture.stat().st_size < largest(picture):
            break
    print(f"wrote {picture.relative_to(COURSE.parents[1])}, {picture.stat().st_size / 1000:.0f} kB")


def make(page: Path) -> None:
    """Run the sections of a page, each in a new folder."""
    for section in sections(page):
        print(f"\n== {page.stem}: {section.title}")
        with tempfile.TemporaryDirectory() as folder:
            for part in section.parts:
                if isinstance(part, Path):
                    copy_newest(part, Path(folder))
                else:
                    run(part, Path(folder))


if __name__ == "__main__":
    for chosen in pages():
        if not sys.argv[1:] or chosen.stem in sys.argv[1:]:
            make(chosen)
