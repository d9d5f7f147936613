"""Run the programs of this folder one after the other, and write what they print into docs/speed.md.

    python scripts/bench/all.py [--mnist DIR] [--template DIR] [--only step,stacked]

The folders are described in mnist.py and against_lightning.py. What each printed last is kept in docs/speed.json with
its command, date and machine, so that --only replaces the output of some. A program that fails, or whose data were not
given, is listed as not measured.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, RECORD = ROOT / "docs" / "speed.md", ROOT / "docs" / "speed.json"
HEADING = "\n## What the programs printed\n"
MNIST, TEMPLATE = "MNIST", "TEMPLATE"  # in place of a folder, in the arguments below
WHOLE = ("start", "mnist", "cpu_records", "against_lightning")  # time commands as they are typed, with all threads
PROGRAMS = {  # name -> arguments
    "step": [],
    "start": [],
    "mnist": [MNIST],
    "resnet20": [],
    "memory": [],
    "compile": ["--epochs", "121"],
    "stacked": ["--memory", "--commands"],
    "devices": [],
    "cpu_records": ["--mnist", MNIST],
    "against_lightning": ["--mnist", MNIST, "--template", TEMPLATE],
    "sweep": [],
    "checkpoint": [],
    "record": [],
    "report": [],
    "predict": [],
    "memory_format": [],
    "aug": [],
    "stream": [],
    "compare": [],
    "speed": [],
}


def run(name: str, folders: Mapping[str, str | None]) -> dict:
    """Run a program; return its entry of the record.

    Args:
        folders: by what stands for them in the arguments.
    """
    arguments = PROGRAMS[name]
    known = {"command": " ".join(["python", f"scripts/bench/{name}.py", *arguments]), "machine": machine()}
    known["date"] = datetime.date.today().isoformat()
    if missing := [place for place in arguments if place in folders and folders[place] is None]:
        return {**known, "failed": f"it needs --{missing[0].lower()} DIR"}
    start = time.perf_counter()
    program, given = Path(__file__).with_name(f"{name}.py"), [folders.get(it, it) for it in arguments]
    threads = {} if name in WHOLE else {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, program, *given],
        cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    known |= {"minutes": round((time.perf_counter() - start) / 60, 1), "load": round(os.getloadavg()[2], 1)}
    if done.returncode:
        return {**known, "failed": next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")}
    return {**known, "output": done.stdout.strip()}


def machine() -> str:
    """Return what the figures depend on, without the machine's name."""
    return f"torch {version('torch')}, {platform.machine()}, {os.cpu_count()} cores"


def section(record: dict[str, dict]) -> str:
    """Return the section of the page that holds what the programs have printed."""
    lines = [HEADING, "Made by `python scripts/bench/all.py`. The load is that of the 15 minutes before the end.\n"]
    for name in PROGRAMS:
        if entry := record.get(name):
            lines.append(f"`{entry['command']}` ({entry['machine']}; {entry['date']}")
            if "failed" in entry:
                lines[-1] += f"): not measured: {entry['failed']}\n"
                continue
            lines[-1] += f"; {entry['minutes']} minutes; load {entry['load']}):\n"
            lines.append("\n".join(f"    {line}".rstrip() for line in entry["output"].splitlines()) + "\n")
    if missing := [name for name in PROGRAMS if name not in record]:
        lines.append(f"Not measured: {', '.join(f'{name}.py' for name in missing)}.\n")
    return "\n".join(lines)


def write_page(record: dict[str, dict]) -> None:
    """Write the section into the page, in place of the one that is there."""
    PAGE.write_text(PAGE.read_text().partition(HEADING)[0].rstrip("\n") + "\n" + section(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", metavar="DIR", help="folder that holds MNIST/raw")
    parser.add_argument("--template", metavar="DIR", help="checkout of ashleve/lightning-hydra-template")
    parser.add_argument("--only", metavar="NAME,...", help=f"some of {', '.join(PROGRAMS)}")
    chosen = parser.parse_args()
    names = chosen.only.split(",") if chosen.only else [*PROGRAMS]
    if unknown := {*names} - {*PROGRAMS}:
        parser.error(f"--only: no such program: {', '.join(sorted(unknown))}")
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for name in names:
        record[name] = run(name, {MNIST: chosen.mnist, TEMPLATE: chosen.template})
        print(name, record[name].get("failed") or f"{record[name]['minutes']} minutes", flush=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        write_page(record)


if __name__ == "__main__":
    main()
