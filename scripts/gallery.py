"""Run the experiments of conf/experiment and write docs/gallery.md: what a lecture says, and what was measured.

    python scripts/gallery.py                            # those on data that ships with the install
    python scripts/gallery.py --mnist DIR --cifar DIR    # and those on MNIST and CIFAR-10
    python scripts/gallery.py --only bowl,saddle         # some; the page keeps what is known of the others

The commands are those in the opening comments of the experiments; each runs in FOLDER/NAME. A command that has finished
is not run again, and a sweep that was interrupted goes on where it was: repeat the command. Figures by setting are in
docs/gallery.json; the page and the line `Measured:` of each experiment are made of it.
"""

import argparse
import json
from io import BytesIO
from pathlib import Path

from exhibits.exhibits import EXHIBITS
from exhibits.page import ANSWERS, PAGE, RECORD, as_entry, write_measured, write_page
from exhibits.results import Exhibit, Results
from exhibits.runs import ROOT, run
from matplotlib.figure import Figure
from PIL import Image

from trainer.comparison.plot import title_of_runs
from trainer.comparison.record import read
from trainer.rundir.title import in_lines

FIGURES = PAGE.parent / "gallery"
COLOURS = 256
LARGEST = 60_000  # bytes of a figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in 256 colours, half of the bytes."""
    with BytesIO() as whole:
        figure.savefig(whole, dpi=80)
        Image.open(whole, formats=["PNG"]).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def title(name: str, results: Results) -> str:
    """Return the title of a figure: the experiment, and the settings that all of its runs have."""
    runs = [read(job.place) for group in results.groups for job in group.jobs if (job.place / "config.yaml").exists()]
    common = title_of_runs(runs) if runs else ""
    words = [word for word in common.split() if not word.startswith("data.root=")]
    return " ".join(dict.fromkeys([f"experiment={name}", *words]))


def show(exhibit: Exhibit, folder: Path, data: list[str], threads: int) -> dict:
    """Run an experiment, draw its figure, and return its entry of the record."""
    seconds = run(exhibit.name, folder, data, threads)
    results = exhibit.results(folder)
    figure = exhibit.draw(results)
    figure.suptitle(in_lines(title(exhibit.name, results), figure.get_figwidth()), fontsize=9)
    FIGURES.mkdir(exist_ok=True)
    path = FIGURES / f"{exhibit.name}.png"
    save(figure, path)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"gallery: {path} has {path.stat().st_size:,} bytes, more than {LARGEST:,}")
    entry = as_entry(exhibit, results, seconds)
    write_measured(exhibit.name, entry)
    print(
        f"{exhibit.name}: {ANSWERS[entry['held']][1].lower()} ({seconds:.0f} s): {entry['finding']}",
        flush=True,
    )
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", metavar="DIR", help="folder that holds MNIST/raw")
    parser.add_argument("--cifar", metavar="DIR", help="folder that holds train/CLASS/* and test/CLASS/* of CIFAR-10")
    parser.add_argument("--only", metavar="NAME,...", help="experiments to run")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "gallery", help="of all runs")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    chosen = parser.parse_args()
    names = chosen.only.split(",") if chosen.only else [exhibit.name for exhibit in EXHIBITS]
    if unknown := {*names} - {exhibit.name for exhibit in EXHIBITS}:
        parser.error(f"--only: no experiment of the gallery: {', '.join(sorted(unknown))}")
    roots = {"digits": "", "mnist": chosen.mnist, "cifar": chosen.cifar}
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for exhibit in EXHIBITS:
        root = roots[exhibit.data]
        if exhibit.name not in names:
            continue
        if root is None:
            print(f"{exhibit.name}: left out, it needs --{exhibit.data} DIR", flush=True)
            continue
        data = [f"data.root={Path(root).resolve()}"] if root else []
        record[exhibit.name] = show(exhibit, chosen.folder, data, chosen.threads)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        write_page(EXHIBITS, record)


if __name__ == "__main__":
    main()
