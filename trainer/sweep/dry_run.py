"""Dry run of a sweep, sweep.dry_run=true: its settings are built and tried for a few steps, and no job is begun."""

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import OmegaConf

from trainer.base.errors import UserError
from trainer.base.text import counted, printable
from trainer.config import auto_rate
from trainer.config.hydra_context import invocation_of, without_hydra_node
from trainer.config.keys import key_of
from trainer.rundir.console import Console
from trainer.sweep.composer import Composer
from trainer.sweep.display import duration

WARM, TIMED = 2, 3  # steps before the clock starts, and while it runs
SHARE = 20  # part of the jobs' time that the trials may take, beyond those of every option
SECONDS = 2.0  # that they may take in any case

Setting = tuple[str, ...]  # the overrides that vary, but for the seed


@dataclass(frozen=True)
class Trial:
    """Result of a trial of a few steps of a job; `steps` and the estimated `seconds` are those of the whole job."""

    parameters: int
    steps: int
    seconds: float
    finite: bool

    def __str__(self) -> str:
        spent = f"{self.seconds:.1f} s" if self.seconds < 10 else duration(self.seconds)
        diverges = "" if self.finite else ", diverges"
        return f"{self.parameters:,} parameters, {counted('step', self.steps)}, {spent}{diverges}"


def show(composer: Composer, grid: Sequence[Sequence[str]], swept: set[str]) -> None:
    """Print a line for each setting that is tried, and the time that all jobs would take.

    Settings are tried until that has taken a twentieth of the jobs' time: every option, the ends of a list of numbers,
    then any others. Those that are left are taken to be like the closest one.

    Errors: UserError where one cannot be built.
    """
    console, jobs = Console(), settings_of(grid, swept)
    kinds = f" in {counted('setting', len(jobs))}" if len(jobs) < len(grid) else ""
    console.print(f"{counted('job', len(grid))}{kinds}; dry run")
    trials: dict[Setting, Trial | UserError] = {}
    must = [*required(jobs)]
    others = [setting for setting in jobs if setting not in must]
    random.Random(0).shuffle(others)
    tester = Tester(composer)
    for place, setting in enumerate([*must, *others]):
        if place >= len(must) and tester.spent > max(SECONDS, total(jobs, trials) / SHARE):
            break
        try:
            trials[setting] = tester(jobs[setting][0])
        except UserError as error:
            trials[setting] = error
        count = f" ({counted('job', len(jobs[setting]))})" if kinds else ""
        name = printable(" ".join(setting)) or "(defaults)"
        console.print(f"[{place + 1}/{len(jobs)}] {name}{count}: {printable(trials[setting])}")
    summarize(console, jobs, trials)


def summarize(console: Console, jobs: Mapping[Setting, Sequence], trials: Mapping[Setting, Trial | UserError]) -> None:
    """Print the time of all jobs, and what was found. Errors: UserError where a setting cannot be built."""
    diverging = sum(isinstance(trial, Trial) and not trial.finite for trial in trials.values())
    if diverging:
        after = f"after {WARM + TIMED} steps the loss is not finite (NaN or Inf)"
        console.print(f"warning: {after} in {counted('setting', diverging)}")
    if len(trials) < len(jobs):
        tried = f"{len(trials)} of {counted('setting', len(jobs))} were tried"
        console.print(f"{tried}: every option, the ends of each list of numbers, and others at random")
    count = sum(map(len, jobs.values()))
    spent = duration(total(jobs, trials))
    console.print(f"{counted('job', count)}, about {spent} one after the other; dry run, none was begun")
    failed = {setting: error for setting, error in trials.items() if isinstance(error, UserError)}
    if failed:
        first = next(iter(failed.values()))
        fails = sum(len(jobs[setting]) for setting in failed)
        least = "at least " if len(trials) < len(jobs) else ""
        error = UserError(f"{least}{fails} of {counted('job', count)} cannot be built, the first with: {first}")
        error.code = first.code
        raise error


def settings_of(grid: Sequence[Sequence[str]], swept: set[str]) -> dict[Setting, list[Sequence[str]]]:
    """Return the jobs of each setting, a combination of the values that vary, but for the seed."""
    found: dict[Setting, list[Sequence[str]]] = {}
    for overrides in grid:
        setting = tuple(text for text in overrides if key_of(text) in swept - {"seed"})
        found.setdefault(setting, []).append(overrides)
    return found


def required(jobs: Mapping[Setting, object]) -> Iterator[Setting]:
    """Yield settings that together hold the first value of each key, every option, and the ends of every number."""
    values = [ends([*dict.fromkeys(column)]) for column in zip(*jobs)]
    for place in range(max(map(len, values), default=1)):
        yield tuple(column[place % len(column)] for column in values)


def ends(texts: Sequence[str]) -> list[str]:
    """Return the first, the smallest and the largest of overrides with numbers; all of any others."""
    try:
        numbers = {text: float(text.partition("=")[2]) for text in texts}
    except ValueError:
        return [*texts]
    return list(dict.fromkeys([texts[0], min(texts, key=numbers.get), max(texts, key=numbers.get)]))


def total(jobs: Mapping[Setting, Sequence], trials: Mapping[Setting, Trial | UserError]) -> float:
    """Return the seconds that all jobs take; a setting that was not tried takes those of the closest one."""
    known = {setting: trial.seconds for setting, trial in trials.items() if isinstance(trial, Trial)}
    seconds = 0.0
    for setting, same in jobs.items():
        if setting not in trials and known:
            closest = max(known, key=lambda tried: sum(one == other for one, other in zip(tried, setting)))
            seconds += known[closest] * len(same)
        seconds += known.get(setting, 0.0) * len(same)
    return seconds


class Tester:
    """Build a job and try it for a few steps; jobs with the same data in turn share it.

    `spent` is the time of the trials in seconds, without what a process does once.
    """

    def __init__(self, composer: Composer) -> None:
        self.composer = composer
        self.spent = 0.0
        self._warm = False
        self._data: tuple[str, object] = ("", None)

    def __call__(self, overrides: Sequence[str]) -> Trial:
        """Return what the trial has shown. Errors: UserError where the job cannot be built."""
        from trainer.engine.build import build_run  # torch, 2 s, behind the first line
        from trainer.engine.build_data import load_data
        from trainer.engine.summary import count_parameters

        begin = time.perf_counter()
        cfg = self.composer.compose(overrides, "")
        single, invocation = without_hydra_node(cfg), invocation_of(cfg.hydra)
        data = repr((invocation.choice("data"), OmegaConf.to_container(single.data, resolve=True)))
        if self._data[0] != data:
            self._data = data, load_data(single, invocation)
        if not self._warm:
            estimate(build_run(single, invocation, self._data[1]))  # imports and autotuning, once in a process
            self._warm, begin = True, time.perf_counter()
        start = time.perf_counter()
        run = build_run(single, invocation, self._data[1])
        seconds, finite = estimate(run, measuring_steps(single))
        seconds += time.perf_counter() - start  # to build it, and about as much for its files
        self.spent += time.perf_counter() - begin
        return Trial(count_parameters(run.model), run.clock.total_steps, seconds, finite)


def measuring_steps(cfg: Mapping) -> int:
    """Return the steps that a job makes before its first one, to measure a learning rate that is `auto`."""
    from trainer.inspection.lr_finder import CHECK_STEPS, STEPS

    return STEPS + CHECK_STEPS if auto_rate.auto_key(cfg) else 0


def estimate(run, more_steps: int = 0) -> tuple[float, bool]:
    """Return the seconds that a run will take, from a few steps and an evaluation; and whether its loss is finite.

    Args:
        more_steps: beside those of the run.
    Errors: MachineError where a batch does not fit into memory.
    """
    from trainer.base.device import out_of_memory
    from trainer.engine.recovery import does_not_fit

    try:
        return measure(run, more_steps)
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise does_not_fit(run) from None


def measure(run, more_steps: int) -> tuple[float, bool]:
    """Make the steps and the evaluation behind `estimate`. Errors: those of memory."""
    from trainer.engine.loop import fit
    from trainer.rundir.recorder import Recorder

    with TemporaryDirectory() as folder:
        recorder, silent = Recorder(Path(folder), run.data.task), Console(silent=True)
        steps = run.clock.total_steps
        fit(run, recorder, silent, until=min(WARM, steps))
        start = time.perf_counter()
        fit(run, recorder, silent, until=min(WARM + TIMED, steps))
        step_seconds = (time.perf_counter() - start) / max(1, min(TIMED, steps - WARM))
        split = next(split for split in (run.val, run.test, run.train) if len(split))
        start = time.perf_counter()
        loss = run.evaluate(run.model, split)["loss"]
        sample_seconds = (time.perf_counter() - start) / len(split)
        recorder.close()
    samples = steps / run.eval_steps * len(run.val) + len(run.test)  # of all evaluations
    return step_seconds * (steps + more_steps) + sample_seconds * samples, math.isfinite(loss)
