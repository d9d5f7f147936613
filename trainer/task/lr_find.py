"""task=lr_find: find a learning rate by a range test."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig
from rich.table import Table

from trainer.base.checks import require
from trainer.base.clock import parse_length
from trainer.base.text import as_command, as_typed, from_here
from trainer.config import auto_rate, catalog
from trainer.config.hydra_context import Invocation
from trainer.config.keys import key_of
from trainer.engine.build import build_run
from trainer.inspection import lr_picture
from trainer.inspection.lr_check import Check, check
from trainer.inspection.lr_finder import CHECK_STEPS, Finding, find_rate
from trainer.inspection.lr_suggestion import Rule, shown
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.rundir.title import WITH_OPTIMIZER, title_of


@dataclass(frozen=True, kw_only=True)
class LrFind:
    """Train at a learning rate that rises exponentially from step to step, and suggest one from how the loss falls.

    The run is built as task=train builds it; schedule, warm-up and averaging are left out. The answer gets a directory
    of its own, with lr_find.png, the points for TensorBoard, and the command that uses the rate.

    Args:
        first: smallest rate, > 0. fastai: 1e-7.
        last: largest rate, > first; the test ends before where the loss diverges. fastai: 10.
        length: of the range test, a length. fastai: 100st.
        probe: length of a training at the suggested rate, and of one at twice that rate: a run wants a warm-up if only
            the second is unstable; None for no such training. Tuning playbook: 500st.
    Errors: ValueError. Source: arXiv:1506.01186, section 3.3; Godbole et al., Deep Learning Tuning Playbook, 2023.
    """

    first: float = 1e-6
    last: float = 100.0
    length: str = "200st"
    probe: str | None = "500st"

    def __post_init__(self) -> None:
        require("> 0", first=self.first, last=self.last)
        if self.first >= self.last:
            raise ValueError(f"last must be larger than first={as_typed(self.first)}, got {as_typed(self.last)}")
        for length in (self.length, *([] if self.probe is None else [self.probe])):
            parse_length(length)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Measure, print the suggestion, and write the picture. Errors: UserError, before anything is written."""
        key = auto_rate.rate_key(cfg, invocation.describe("optimizer"))
        console = Console()
        with console.status("preparing the run"):
            run = build_run(cfg, invocation)
        for note in run.data.notes:
            console.print(f"note: {note}")
        probe_steps = run.clock.steps(self.probe) if self.probe else 0
        with console.status("training at rising learning rates"):
            finding = find_rate(
                cfg,
                run,
                invocation,
                key,
                first=self.first,
                last=self.last,
                steps=run.clock.steps(self.length),
                check_steps=probe_steps or CHECK_STEPS,
            )
        twice = None
        if probe_steps and finding.rate is not None:
            with console.status("training at twice the learning rate"):
                twice = check(finding.run, finding.group_rates, 2 * finding.rate, probe_steps)
        directory = rundir.create_with_config(cfg, invocation)
        print_finding(console, finding, key, invocation)
        if twice:
            print_warm_up(console, twice, key, invocation)
        picture, what = directory / "lr_find.png", title_of(invocation, WITH_OPTIMIZER)
        try:
            lr_picture.draw(finding, picture, f"range test of {key}: {what}")
            lr_picture.write_events(finding, directory, picture)
        except OSError as error:
            raise rundir.cannot_be_written(directory, error) from None
        console.print(f"\nsaved {from_here(picture)}")


def print_finding(console: Console, finding: Finding, key: str, invocation: Invocation) -> None:
    """Print the range test, the answer of each rule, and the rate with the command that uses it."""
    test = finding.test
    end = "where the loss diverges" if test.diverged else "without divergence"
    console.print(
        f"range test: {len(test.rates)} steps at {key} from {shown(test.rates[0])} to {shown(test.rates[-1])}, {end}"
    )
    if finding.suggestion.rules:
        console.print(table(finding.suggestion.rules))
    if finding.rate is None:
        console.print(f"\nno learning rate to suggest: {finding.reason}")
        return
    console.print(f"\nsuggested {key}={as_typed(finding.rate)}: {finding.reason}")
    last = finding.checked
    console.print(f"check: {last.steps} steps at this rate bring the loss from {last.losses[0]:.3g} to {last.end:.3g}")
    console.print(f"use it: {command(invocation, key, finding.rate)}")


def table(rules: Sequence[Rule]) -> Table:
    """Return a table with a row for each rule."""
    made = Table("rule", "rate", "holds", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for rule in rules:
        rate = "" if rule.rate is None else shown(rule.rate)
        made.add_row(rule.name, rate, "yes" if rule.holds else "no", rule.why_not)
    return made


def print_warm_up(console: Console, twice: Check, key: str, invocation: Invocation) -> None:
    """Print whether a training at twice the rate wants a warm-up."""
    at = f"at twice the rate, {as_typed(twice.rate)},"
    if twice.stable:
        console.print(f"warm-up: not needed; {at} {twice.steps} steps are stable, and end at a loss of {twice.end:.3g}")
        return
    rise, step = twice.rise
    lost = (
        f"the loss rises by {rise:.2g} until step {step}"
        if twice.finite
        else f"the loss is not finite at step {twice.steps}"
    )
    console.print(f"warm-up: wanted for higher rates; {at} {lost}")
    if invocation.choice("warmup") == "none":
        console.print(f"try it: {command(invocation, key, twice.rate, 'warmup=linear')}")


def command(invocation: Invocation, key: str, rate: float, *more: str) -> str:
    """Return the command that trains with the rate, as it was typed otherwise, to paste into a shell."""
    typed = [text for text in invocation.run_overrides if key_of(text) != key]
    return as_command("train", *typed, f"{key}={as_typed(rate)}", *more, *catalog.config_dirs())
