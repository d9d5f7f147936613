"""Damage every file of runs and sweeps, one at a time, and look at what `train` makes of it.

    python scripts/damage.py --damages 300

A damage cuts a file at a random place, fills it with zeros, flips one bit, deletes it, swaps it with another, or puts a
link to a file of the home folder in its place. Then the run is evaluated, compared and resumed, a sweep repeated.
Each command has to give the numbers of the undamaged run, to say what is missing, or to refuse in one or two lines
with the code 2, 3 or 4. The last lines are a table of the outcomes; the exit code is 0 if there was no fault.
"""

import argparse
import csv
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import children
from children import Ended

from trainer.rundir import reader

OVERRIDES = (
    "data=digits model=mlp model.hidden=[8] epochs=3 batch_size=200 log_every=3 save_every=4st threads=1 device=cpu"
).split()
SWEEP = ("-m", *OVERRIDES, "seed=0,1", "hydra.sweep.dir=sweep")
INSIDE = ("run", "sweep")
COMMANDS = {"run": (*OVERRIDES, "hydra.run.dir=run"), "sweep": SWEEP}
KILLED_AT = {"run": 4, "sweep": 11}  # which checkpoint
SAID = re.compile(
    "passed over|damaged|missing|lost|left out|incomplete|have no weights|starts anew|cannot be read|changed since|"
    "was changed|is damaged|failed|unfinished|not begun|running|written anew"
)
COMPARED = tuple(f"{name}_{score}_mean" for name in ("val_best", "val_final", "test") for score in ("accuracy", "loss"))
UNEQUAL = ("seconds", "time", "throughput")  # keys of a row that two runs do not have in common
RESULTS = ("weights_sha256", "best", "test", "steps")
OUTCOMES = ("as undamaged", "said", "refused", "fault")


@dataclass(frozen=True)
class Subject:
    """A run or a sweep to damage.

    Args:
        folder: it lies there, as `run` or `sweep`.
        evaluated: the scores that task=evaluate prints for it.
        compared: the scores in the table of task=compare.
        runs: the results of every run in it once it is complete, by its name below.
        rows: those of their metrics.jsonl.
        weights: the content of their weights.safetensors.
    """

    name: str
    folder: Path
    evaluated: list[str]
    compared: list[list[str]]
    runs: dict[str, list]
    rows: dict[str, list[dict]]
    weights: dict[str, bytes]

    @property
    def is_sweep(self) -> bool:
        return (self.folder / "sweep").is_dir()

    @property
    def words(self) -> tuple[str, ...]:
        """The command that completes it."""
        return SWEEP if self.is_sweep else ("resume=run",)

    @property
    def inside(self) -> str:
        return "sweep" if self.is_sweep else "run"


def truncate(path: Path, rng: random.Random, other: Path, canary: Path) -> str:
    """Cut a file at a random place."""
    content = path.read_bytes()
    length = rng.randrange(len(content)) if content else 0
    path.write_bytes(content[:length])
    return f"cut to {length} of {len(content)} bytes"


def zero(path: Path, rng: random.Random, other: Path, canary: Path) -> str:
    """Fill a file with zeros, from its start or from a random place."""
    content = path.read_bytes()
    start = rng.choice([0, rng.randrange(len(content) + 1)])
    path.write_bytes(content[:start] + bytes(len(content) - start))
    return f"zeros from byte {start} of {len(content)}"


def flip(path: Path, rng: random.Random, other: Path, canary: Path) -> str:
    """Flip one bit, in half of the cases the highest one of its byte."""
    content = bytearray(path.read_bytes())
    if not content:
        return "empty: nothing to flip"
    place, bit = rng.randrange(len(content)), rng.choice([7, rng.randrange(8)])
    before = content[place]
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {len(content)}: {bytes([before])} is {bytes([content[place]])}"


def delete(path: Path, rng: random.Random, other: Path, canary: Path) -> str:
    """Delete a file."""
    path.unlink()
    return "deleted"


def swap(path: Path, rng: random.Random, other: Path, canary: Path) -> str:
    """Swap two files."""
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)
    return f"swapped with {other.name}"


def link(path: Path, rng: random.Random, other: Path, canary: Path) -> str:
    """Put a link to a file of the home folder in its place."""
    path.unlink()
    path.symlink_to(canary / ".profile")
    return "a link"


KINDS: dict[str, Callable[[Path, random.Random, Path, Path], str]] = {
    "truncated": truncate,
    "zeroed": zero,
    "one bit": flip,
    "deleted": delete,
    "swapped": swap,
    "linked": link,
}


def files_of(folder: Path) -> list[Path]:
    """Return every file below a folder, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def scores_in(text: str) -> list[str]:
    """Return the lines of the tables of task=evaluate, without the space between columns."""
    return [" ".join(line.split()) for line in text.splitlines() if re.match(r"(train|val|test)\s+[\d.]+\s", line)]


def ranked_in(folder: Path) -> list[list[str]]:
    """Return the scores of ranking.csv below a folder, row by row."""
    tables = [list(csv.DictReader(path.open())) for path in sorted(folder.glob("compared/*/*/ranking.csv"))]
    return [[value for key, value in row.items() if key in COMPARED] for table in tables for row in table]


def results_of(folder: Path) -> dict[str, list]:
    """Return the results of every complete run below a folder, by its name."""
    found = {}
    for path in sorted(folder.rglob("overrides.txt")):
        if summary := reader.completed_summary(path.parent):
            found[str(path.parent.relative_to(folder))] = [summary.get(key) for key in RESULTS]
    return found


def rows_of(run: Path) -> list[dict]:
    """Return the rows of metrics.jsonl without what two runs do not have in common."""
    return [{key: value for key, value in row.items() if key not in UNEQUAL} for row in reader.read_rows(run)]


def points_of(run: Path) -> set[tuple]:
    """Return the points of TensorBoard, of training and validation, that two runs have in common."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = set()
    for split in ("train", "val"):
        if not (run / split).is_dir():
            continue
        events = EventAccumulator(str(run / split), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if tag not in UNEQUAL and not tag.startswith("hparams/"):
                found |= {(split, tag, event.step, repr(event.value)) for event in events.Scalars(tag)}
    return found


def make(folder: Path, home: Path, inside: Sequence[str] = INSIDE) -> list[Subject]:
    """Make a run and a sweep, each complete and each killed on its way.

    Args:
        inside: which of the two.
    """
    whole, killed = folder / "whole", folder / "killed"
    for place in (whole, killed):
        place.mkdir()
    for kind in inside:
        ended = children.run(whole, *COMMANDS[kind], home=home)
        if ended.code:
            raise SystemExit(f"the undamaged {kind} failed: {ended.text}")
        kill_at(killed, KILLED_AT[kind], *COMMANDS[kind])
    subjects = []
    for name, place in (("unfinished", killed), ("finished", whole)):
        for kind in inside:
            own = folder / f"{name}-{kind}"
            own.mkdir()
            shutil.copytree(place / kind, own / kind)
            runs = results_of(whole / kind)
            evaluated = scores_in(children.run(own, "task=evaluate", f"runs=[{kind}]", "threads=1", home=home).output)
            children.run(own, "task=compare", f"runs=[{kind}]", "output=compared", home=home)
            compared = ranked_in(own)
            shutil.rmtree(own / "compared")
            rows = {name: rows_of(whole / kind / name) for name in runs}
            weights = {name: (whole / kind / name / "weights.safetensors").read_bytes() for name in runs}
            subjects.append(Subject(f"{name} {kind}", own, evaluated, compared, runs, rows, weights))
    return subjects


def kill_at(folder: Path, count: int, *words: str) -> None:
    """Run `train` in a folder, and kill it when it has moved the pointer `last` so many times."""
    process = os.fork()
    if process:
        os.waitpid(process, 0)
        return
    os.chdir(folder)
    replace, left = os.replace, [count]

    def counting(source: object, target: object) -> None:
        replace(source, target)
        left[0] -= Path(target).name == "last"
        if not left[0]:
            os._exit(9)

    os.replace = counting
    sys.stdout = sys.stderr = open(os.devnull, "w")
    children.call(list(words))
    os._exit(1)


def plan(subjects: list[Subject], count: int, rng: random.Random) -> Iterator[tuple[Subject, str, Path]]:
    """Yield subjects, kinds of damage and files: every file of every subject before one comes again."""
    decks: dict[str, list[Path]] = {subject.name: [] for subject in subjects}
    for number in range(count):
        subject = subjects[number % len(subjects)]
        kind = [*KINDS][number // len(subjects) % len(KINDS)]
        if not decks[subject.name]:
            decks[subject.name] = files_of(subject.folder)
            rng.shuffle(decks[subject.name])
        yield subject, kind, decks[subject.name].pop()


def damage_once(subject: Subject, kind: str, file: Path, rng: random.Random, folder: Path, home: Path) -> dict:
    """Damage a copy of a subject; return the outcome of each command, and what exactly was done."""
    place = folder / "here"
    shutil.copytree(subject.folder, place)
    other = place / rng.choice([path for path in files_of(subject.folder) if path != file])
    before = children.snapshot(home)
    done = KINDS[kind](place / file, rng, other, home)
    ended = {
        "evaluate": children.run(place, "task=evaluate", f"runs=[{subject.inside}]", "threads=1", home=home),
        "compare": children.run(place, "task=compare", f"runs=[{subject.inside}]", "output=compared", home=home),
        "complete": children.run(place, *subject.words, home=home),
    }
    outcomes = {
        "evaluate": judge(ended["evaluate"], scores_in(ended["evaluate"].output) == subject.evaluated),
        "compare": judge(ended["compare"], ranked_in(place) == subject.compared),
        "complete": judge_completion(ended["complete"], subject, place / subject.inside),
    }
    if changed := children.differences(before, children.snapshot(home)):
        outcomes["complete"] = "fault", f"the home folder has changed: {changed}"
    shutil.rmtree(place)
    return {"done": done, "outcomes": outcomes, "ended": ended}


def judge(ended: Ended, equal: bool) -> tuple[str, str]:
    """Return the outcome of a command, and the reason of a fault."""
    if fault := ended.fault():
        return "fault", fault
    if ended.code:
        return "refused", ""
    if equal:
        return "as undamaged", ""
    return ("said", "") if SAID.search(ended.text) else ("fault", "other numbers, without a word")


def judge_completion(ended: Ended, subject: Subject, folder: Path) -> tuple[str, str]:
    """Return the outcome of a resumed run or a repeated sweep: with the results, the rows and the points as well."""
    outcome = judge(ended, results_of(folder) == subject.runs)
    if ended.code or outcome[0] == "fault":
        return outcome
    for name, expected in subject.rows.items():
        run = folder / name
        if reader.completed_summary(run) is None:
            continue
        rows, incomplete = rows_of(run), reader.read_summary(run).get("incomplete")
        missing = [row for row in expected if row not in rows]
        wrong = [row for row in rows if row not in expected]
        said = SAID.search(ended.text) and incomplete
        if wrong and not SAID.search(ended.text):
            return "fault", f"{name}: other rows in metrics.jsonl, without a word: {json.dumps(wrong[0])[:150]}"
        if missing and not said:
            return "fault", f"{name}: {len(missing)} rows are missing, incomplete is {incomplete}"
        points = points_of(run)
        lacking = {point for row in expected for point in points_in(row)} - points
        if lacking and not said:
            return "fault", f"{name}: {len(lacking)} points of TensorBoard are missing, incomplete is {incomplete}"
        if (run / "weights.safetensors").read_bytes() != subject.weights[name] and not said:
            return "fault", f"{name}: weights.safetensors is another file"
        if not is_picture(run / "curves.png") and not said:
            return "fault", f"{name}: curves.png is missing or damaged"
    return outcome


def is_picture(path: Path) -> bool:
    """Return whether a file is a whole PNG."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
        return True
    except Exception:  # Pillow raises many kinds
        return False


def points_in(row: dict) -> Iterator[tuple]:
    """Yield the points of TensorBoard that a row has."""
    import numpy as np

    hidden = ("step", "epoch", "split", *(("lr",) if row["split"] == "val" else ()))
    if row["split"] in ("train", "val"):
        for key, value in row.items():
            if key not in hidden:
                number = float("nan") if value is None else float(np.float32(value))
                yield row["split"], key, row["step"], repr(number)


def damage(count: int, seed: int, inside: Sequence[str] = INSIDE, verbose: bool = False) -> int:
    """Do so many damages; print the faults and the table, and return the number of faults."""
    rng, counts, faults = random.Random(seed), Counter(), 0
    with tempfile.TemporaryDirectory(dir=children.scratch()) as name:
        folder = Path(name)
        children.prepare(folder / "imports")
        home = children.make_canary(folder)
        subjects = make(folder, home, inside)
        for number, (subject, kind, file) in enumerate(plan(subjects, count, rng)):
            found = damage_once(subject, kind, file, rng, folder, home)
            for command, (outcome, why) in found["outcomes"].items():
                counts[kind, outcome] += 1
                if outcome == "fault":
                    faults += 1
                    print(f"{number}: {subject.name}: {file}: {found['done']}: {command}: {why}", flush=True)
                if verbose:
                    text = " / ".join(found["ended"][command].errors.strip().splitlines())[:200]
                    print(f"  {number} {subject.name}: {file}: {found['done']}: {command}: {outcome}: {text}")
    print_table(counts)
    print(f"{count} damages, {sum(counts.values())} commands: {faults} faults")
    return faults


def print_table(counts: Counter) -> None:
    """Print the outcomes of the commands, by kind of damage."""
    print(f"{'damage':12}", *(f"{outcome:>12}" for outcome in OUTCOMES))
    for kind in KINDS:
        print(f"{kind:12}", *(f"{counts[kind, outcome]:12}" for outcome in OUTCOMES))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damages", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=INSIDE, default=INSIDE, help="runs or sweeps")
    parser.add_argument("--verbose", action="store_true", help="print the outcome of every command")
    arguments = parser.parse_args()
    sys.exit(bool(damage(arguments.damages, arguments.seed, arguments.only, arguments.verbose)))
