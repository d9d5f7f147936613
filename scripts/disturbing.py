"""Small runs of many kinds, and the comparison of one that was disturbed with one that was not.

Shared by kill.py and signals.py.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a child inherits no threads
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
from children import call
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from trainer.base.errors import DataError
from trainer.base.signals import ENDING
from trainer.cli import main
from trainer.cli.program import program
from trainer.rundir import append_only, checkpoint, reader
from trainer.rundir.event_file import files_in
from trainer.rundir.recorder import CURVES
from trainer.rundir.row import row_in

COMMON = "threads=1 device=cpu"
EVERY = "log_every=7 save_every=5st"
DENSE = "model=mlp model.hidden=[16] epochs=3 batch_size=100"
IMAGES = "epochs=2 batch_size=200"
CNN = f"model=cnn model.channels=[4] {IMAGES}"
FULL = "data=iris model=linear epochs=20 eval_every=4ep batch_size=full"
CONFIGURATIONS = {
    "short": "data=iris model=linear epochs=2 batch_size=50 save_every=2st log_every=3",
    "plain": DENSE,
    "momentum": f"{DENSE} optimizer=momentum reg=[dropout,l2] sched=cosine warmup=linear",
    "nesterov": f"{DENSE} optimizer=nesterov sched=one_cycle",
    "adam": f"{DENSE} optimizer=adam reg=[grad_noise,weight_decay]",
    "adagrad": f"{DENSE} optimizer=adagrad sampler=balanced",
    "rmsprop": f"{DENSE} optimizer=rmsprop sampler=replacement",
    "lion": f"{DENSE} optimizer=lion sched=cosine_restarts",
    "lookahead": f"{DENSE} optimizer=lookahead optimizer.base=adam",
    "ranger": f"{DENSE} optimizer=ranger",
    "sam": f"{DENSE} optimizer=sam reg=[dropout]",
    "schedule_free": f"{CNN} optimizer=schedule_free norm=batch",
    "muon": f"{DENSE} optimizer=muon",
    "kfac": f"{DENSE} optimizer=kfac",
    "shampoo": f"{DENSE} optimizer=shampoo",
    "soap": f"{DENSE} optimizer=soap",
    "lamb": f"{DENSE} optimizer=lamb",
    "ftrl": f"{DENSE} optimizer=ftrl",
    "lbfgs": f"{FULL} optimizer=lbfgs optimizer.max_iter=3",
    "bfgs": f"{FULL} optimizer=bfgs",
    "newton": f"{FULL} optimizer=newton",
    "ema": f"{CNN} averaging=ema norm=batch aug=[crop,flip,mixup]",
    "swa": f"{CNN} epochs=4 averaging=swa norm=batch",
    "bf16": f"{IMAGES} precision=bf16 reg=[label_smoothing,stochastic_depth] model=wide_resnet model.depth=10 "
    "model.widen=1 data.train_samples=400",
    "accumulate": f"{DENSE} accumulate=2 batch_size=130 eval_every=7st",
    "hard_examples": f"{DENSE} sampler=hard_examples",
    "plateau": f"{DENSE} epochs=8 sched=plateau sched.patience=0 sched.threshold=0.9",
    "early_stopping": "data=iris model=linear epochs=40 batch_size=50 reg=[early_stopping] optimizer.lr=1.5 "
    "reg.stop.early_stopping.patience=2",
    "regression": "data=diabetes model=mlp model.hidden=[8] epochs=8 batch_size=64 optimizer=adam",
    "rollback": "data=regression model=linear epochs=90st eval_every=9st batch_size=full optimizer=gd optimizer.lr=3 "
    "save_every=11st sched=constant on_nan=rollback",
    "skip": f"{DENSE} on_nan=skip +aug.poison._target_=poison.Poison allow=[poison]",
    "stream": "data=image_folder data.root=../../images data.size=8 model=linear epochs=4 batch_size=10 "
    "residency=stream workers=2 eval_every=3st",
    "compile": f"{DENSE} epochs=2 compile=true",
    "extended": f"{DENSE} epochs=1 optimizer=momentum sched=cosine reg=[early_stopping]",
    "sweep": f"-m {DENSE} epochs=2 optimizer=momentum,adam seed=0,1 hydra.sweep.dir=sweep",
}
EXTENDED = {"extended": ("epochs=+2", 3)}  # what is typed for a run that has finished, and its epochs then
POISON = '''
class Poison:
    """Makes every fifth batch or so NaN, the same ones in every run."""

    def __call__(self, images, targets, rng):
        images = images.clone()
        if images.flatten()[::7].sum().abs().mul(1e3).long().item() % 5 == 0:
            images[0] = float("nan")
        return images, targets
'''
TYPED_AGAIN = ("threads=", "device=", "allow=")  # whenever a run is resumed
DIGESTS = ("files", "sha256")  # of files that hold times
TIMES = ("seconds", "time", "throughput", "images_per_second")
OF_RESUMING = ("passed over: ", "resumed after ")  # notes that a run without a kill does not have
FILES = (".lock", ".sweep-overrides", ".swept-keys")  # hidden ones that stay
PARTS = ("weights", "rows", "points", "summary", "pictures", "left over")
Event = Callable[[str], None]  # takes what comes next or has just been: before, within, behind


def prepare(folder: Path) -> None:
    """Make the images and the module that some configurations read, and import everything that a run imports late.

    A sweep is not run here: it starts a server of processes, which a forked process cannot use.
    """
    from PIL import Image

    import trainer.sweep.launch  # noqa: F401

    for index in range(80):
        shade = (index % 2 * 128 + index, 3 * index, 255 - index)
        file = folder / "images" / f"class-{index % 2}" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), shade).save(file)
    (folder / "poison.py").write_text(POISON)
    sys.path.insert(0, str(folder))
    with contextlib.redirect_stdout(io.StringIO()):
        call([*words_of("short"), f"output={folder / 'warm-up'}"])


def words_of(name: str) -> list[str]:
    """Return the overrides of a configuration; of a key that is there twice, the last one."""
    words = {word.partition("=")[0]: word for word in f"{EVERY} {CONFIGURATIONS[name]} {COMMON}".split()}
    return sorted(words.values(), key=lambda word: word.startswith(TYPED_AGAIN))  # where resuming puts them


def command_of(name: str, folder: Path) -> list[str]:
    """Return the words that start a configuration's run in a folder, or resume what it holds."""
    words, runs = words_of(name), [] if name == "sweep" else runs_in(folder)
    if not runs:
        return words
    own = [word for word in words if word.startswith(TYPED_AGAIN)]
    added, total = EXTENDED.get(name, ("", 0))
    if added and reader.read_config(runs[0])["epochs"] < total:
        own.append(added)
    return [f"resume={runs[0].relative_to(folder)}", *own]


def fork_train(folder: Path, *overrides: str, prepared: Callable[[], None] = lambda: None, whole: bool = False) -> int:
    """Start `train` in a forked process, its output in log.txt, and return its id.

    Args:
        prepared: called there before.
        whole: with what the program does around its command.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # Python forgets one that comes within the fork
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return process
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        prepared()
        code = call(overrides, program if whole else main.main)
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(process: int) -> int:
    """Wait for a process; return its exit code, -9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def watch_writes(event: Event) -> None:
    """Call `event` before and behind every renaming of a file and every append, and within the latter."""
    replace = os.replace

    def watched_replace(source: object, target: object) -> None:
        event("before")
        replace(source, target)
        event("behind")

    class WatchedFile(io.FileIO):
        def write(self, payload: memoryview) -> int:
            event("before")
            half = super().write(payload[: len(payload) // 2])
            event("within")
            written = half + super().write(payload[half:])
            event("behind")
            return written

    os.replace, append_only.FileIO = watched_replace, WatchedFile


def kill_at(number: int) -> Callable[[], None]:
    """Return what lets a process kill itself at the event of that number, from 1 on."""
    return lambda: watch_writes(counter(lambda count: count == number and os.kill(os.getpid(), signal.SIGKILL)))


def count_events(file: Path) -> Callable[[], None]:
    """Return what lets a process keep the number of its events in a file."""
    return lambda: watch_writes(counter(lambda count: file.write_text(str(count))))


def counter(take: Callable[[int], object]) -> Event:
    """Return an event that passes its number on, from 1 on."""
    count = 0

    def event(_: str) -> None:
        nonlocal count
        count += 1
        take(count)

    return event


def runs_in(folder: Path) -> list[Path]:
    """Return the directories of all runs that have started, by name."""
    places = ("outputs/*/*/overrides.txt", "sweep/*/overrides.txt")
    return sorted(file.parent for place in places for file in folder.glob(place))


def why_unreadable(run: Path) -> str | None:
    """Return the reason why a run cannot be read; None if it can."""
    checkpoints = run / "checkpoints"
    try:
        reader.read_overrides(run)
        reader.read_config(run)
        for path in checkpoint.newest_first(checkpoints):
            if checkpoint.digest_path(path).exists():
                checkpoint.load(path, torch.device("cpu"))
        for pointer in ("best", "last"):
            if (checkpoints / pointer).exists():
                target = checkpoint.resolve_pointer(checkpoints, pointer)
                if target is None or not checkpoint.is_complete(target):
                    return f"{pointer} points to an incomplete checkpoint"
        if (run / "summary.json").exists():
            json.loads((run / "summary.json").read_text())
    except (DataError, ValueError) as error:
        return str(error)
    return None


def record_of(run: Path) -> dict[str, object]:
    """Return everything of a complete run that must not depend on a disturbance, by part."""
    summary = json.loads((run / "summary.json").read_text())
    notes = [note for note in summary["notes"] if not note.startswith(OF_RESUMING)]
    curves, lines = run / "curves.png", (run / "metrics.jsonl").read_text().splitlines()
    return {
        "weights": [summary["weights_sha256"], sha256((run / "weights.safetensors").read_bytes()).hexdigest()],
        "rows": [timeless(row_in(line) or {"damaged": line}) for line in lines],
        "points": {split: dict(points_of(run / split)) for split in CURVES},
        "summary": timeless({key: value for key, value in summary.items() if key not in DIGESTS} | {"notes": notes}),
        "pictures": sha256(curves.read_bytes()).hexdigest() if curves.exists() else None,
        "left over": sorted(path.name for path in run.rglob(".*") if path.name not in FILES),
    }


def timeless(value: object) -> object:
    """Return nested dicts without the times in them."""
    if isinstance(value, dict):
        return {key: timeless(child) for key, child in value.items() if key not in TIMES}
    return value


def points_of(folder: Path) -> Iterator[tuple[str, object]]:
    """Yield tags and all their points, as TensorBoard reads them, and the rows of HParams as the files hold them."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()
    for tag in accumulator.Tags()["scalars"]:
        timed = tag in TIMES
        yield tag, [(event.step, None if timed else repr(event.value)) for event in accumulator.Scalars(tag)]
    for tag in accumulator.Tags()["images"]:
        yield tag, [(event.step, event.encoded_image_string) for event in accumulator.Images(tag)]
    for tag in accumulator.Tags()["tensors"]:
        yield tag, [(event.step, event.tensor_proto.SerializeToString()) for event in accumulator.Tensors(tag)]
    events = [event for file in files_in(folder) for event in LegacyEventFileLoader(str(file)).Load()]
    contents = [value for event in events for value in event.summary.value if value.HasField("metadata")]
    yield "metadata", sorted((value.tag, in_order(value.metadata)) for value in contents)


def in_order(metadata: SummaryMetadata) -> bytes:
    """Return the metadata of a summary with the maps in a row of HParams in order, which differs between processes."""
    content = metadata.plugin_data.content
    if metadata.plugin_data.plugin_name == "hparams":
        content = HParamsPluginData.FromString(content).SerializeToString(deterministic=True)
    return content


def differences(folder: Path, expected: list[dict]) -> Iterator[tuple[str, str]]:
    """Yield the part, or `lost`, and the details, of all in which a folder's runs differ from undisturbed ones."""
    runs = runs_in(folder)
    if len(runs) != len(expected):
        yield "lost", f"{len(runs)} runs instead of {len(expected)}"
        return
    for run, wanted in zip(runs, expected):
        if reader.completed_summary(run) is None or not (run / "weights.safetensors").exists():
            yield "lost", f"{run.name}: {reader.read_status(run)}"
            continue
        record = record_of(run)
        for part in PARTS:
            if record[part] != wanted[part]:
                yield part, f"{run.name}: {first_difference(record[part], wanted[part])}"


def first_difference(one: object, other: object, place: str = "") -> str:
    """Return the place of the first difference of two records, and both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if one.get(key) != other.get(key):
                return first_difference(one.get(key), other.get(key), f"{place} {key}")
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{place} has {len(one)} entries instead of {len(other)}"
        index = next(index for index, pair in enumerate(zip(one, other)) if pair[0] != pair[1])
        return first_difference(one[index], other[index], f"{place}[{index}]")
    return f"{place}: {str(one)[:150]} instead of {str(other)[:150]}"


class Undisturbed:
    """A run of a configuration without a disturbance: its record, its duration and the number of its events.

    Of one that is extended, only the extension is disturbed: `begun` holds the run before it, else nothing.
    """

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir()
        self.begun = folder.with_name("begun")
        self.begun.mkdir()
        if name in EXTENDED:
            self._train(name, folder)
            shutil.copytree(folder / "outputs", self.begun / "outputs")
        start = time.monotonic()
        self._train(name, folder)
        self.duration = time.monotonic() - start
        self.events = int((folder / "events").read_text())
        self.records = [record_of(run) for run in runs_in(folder)]

    @staticmethod
    def _train(name: str, folder: Path) -> None:
        code = wait(fork_train(folder, *command_of(name, folder), prepared=count_events(folder / "events")))
        if code:
            raise SystemExit(f"{name}: exit code {code}\n{(folder / 'log.txt').read_text()}")


def print_table(rows: Mapping[str, Counter], columns: Sequence[str]) -> Counter:
    """Print the counts of configurations and their sums, which are returned."""
    total = sum(rows.values(), Counter())
    table = [("configuration", *columns)]
    table += [(name, *(str(counts[column]) for column in columns)) for name, counts in {**rows, "all": total}.items()]
    widths = [max(map(len, cells)) for cells in zip(*table)]
    for name, *cells in table:
        print("  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:]))]))
    return total


def choose(rng: random.Random, low: int, high: int) -> int:
    """Return a number of a range, more often a large one: the end of a run has the most to lose."""
    return max(rng.randint(low, high), rng.randint(low, high))
