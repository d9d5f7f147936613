"""task=stats: measure a fresh network or those of finished runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from trainer.base.atomic import atomic_write
from trainer.base.checks import require
from trainer.base.text import from_here
from trainer.config import auto_rate
from trainer.config.hydra_context import Invocation
from trainer.engine.build import build_run
from trainer.engine.run import Run
from trainer.inspection import report_plot, report_text
from trainer.inspection.activations import Signal
from trainer.inspection.report import Report, earlier_signals, measure
from trainer.inspection.title import title_of, title_of_run
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.task.evaluate import rebuild, require_evaluation_keys
from trainer.task.finished_runs import run_directories

UNUSED = ("tta", "norm.fuse")  # keys of an evaluation


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Measure a network without training it: fresh as the command builds it, or the best weights of `runs=[DIR,...]`.

    Tables on the terminal, stats.png, stats.json, and histograms and the graph of the network for TensorBoard in a
    directory of its own.

    Args:
        samples: of the training split, on which curvature and the decrease of the loss are measured; `all` or >= 2.
        seconds: time limit of the curvature, and of the gradient noise, > 0.
    """

    samples: int | str = 256
    seconds: float = 20.0

    def __post_init__(self) -> None:
        if self.samples != "all":
            require(">= 2", samples=self.samples)
        require("> 0", seconds=self.seconds)

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Measure, print and write. Errors: UserError, before anything is written."""
        console = Console()
        if cfg.runs:
            require_evaluation_keys(invocation, without=UNUSED)
            networks = (trained(place, cfg, invocation, console) for place in run_directories(cfg.runs, console))
        else:
            networks = [fresh(cfg, invocation)]
        samples = None if self.samples == "all" else self.samples
        for network in networks:
            with console.status("measuring the network"):
                found = measure(network.run, samples, self.seconds, network.which, network.before)
            directory = rundir.create_with_config(cfg, invocation, network.cfg)
            for note in network.notes:
                console.print(f"note: {note}")
            console.print(network.title)
            console.print()
            for part in report_text.parts(found):
                console.print(part)
            console.print()
            for path in write(found, network, directory):
                console.print(f"saved {from_here(path)}")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network to measure.

    Args:
        run: with its weights.
        cfg: its configuration.
        title: its options, or its run's directory.
        notes: on its data.
        which: weights it has, where it is trained.
        before: signals at earlier times, where it is trained.
    """

    run: Run
    cfg: DictConfig
    title: str
    notes: Sequence[str] = ()
    which: str = ""
    before: Mapping[str, Sequence[Signal]] | None = None


def fresh(cfg: DictConfig, invocation: Invocation) -> Network:
    """Return the network that the command builds. Errors: UserError."""
    run = build_run(cfg, invocation)
    notes = [*run.data.notes, *auto_rate.notes_on_usual(cfg, invocation.choices)]
    return Network(run=run, cfg=cfg, title=title_of(invocation), notes=notes)


def trained(place: Path, cfg: DictConfig, invocation: Invocation, console: Console) -> Network:
    """Return the network of a finished run. Errors: UserError."""
    rebuilt = rebuild(place, cfg, invocation, console)
    before, which = earlier_signals(rebuilt.run, rebuilt.probes), rebuilt.load_weights()
    title = title_of_run(place, which)
    return Network(run=rebuilt.run, cfg=rebuilt.cfg, title=title, which=which, before=before)


def write(found: Report, network: Network, directory: Path) -> list[Path]:
    """Write the picture, the numbers, the histograms and the graph, and return their paths. Errors: MachineError."""
    from trainer.inspection.graph_events import write_graph
    from trainer.inspection.report_events import write_events

    picture, numbers = directory / "stats.png", directory / "stats.json"
    try:
        report_plot.draw(found, network.title, picture)
        content = {"title": network.title, **report_text.plain(found)}
        atomic_write(numbers, json.dumps(content, indent=1, allow_nan=False).encode())
        if not isinstance(found.values, str):
            write_events(found.values, directory)
        write_graph(network.run, directory)
    except OSError as error:
        raise rundir.cannot_be_written(directory, error, "the figures") from None
    return [picture, numbers]
