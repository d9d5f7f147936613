"""task=landscape: draw the training loss around the weights, with the paths of several optimizers."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import torch
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from rich.table import Table

from trainer.base.atomic import atomic_write
from trainer.base.checks import require, require_one_of
from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean, from_here, printable
from trainer.config import auto_rate, catalog, schema
from trainer.config.hydra_context import Invocation, initialized, invocation_of, search_path, without_hydra_node
from trainer.engine.build import build_run
from trainer.engine.run import Run
from trainer.inspection import landscape, landscape_plot
from trainer.inspection.landscape import Plane, Surface
from trainer.inspection.objective import Objective, fixed_batches, measuring, restored
from trainer.inspection.paths import WeightPath, follow
from trainer.inspection.report_text import as_table, plain, short
from trainer.inspection.title import title_of, title_of_run
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.rundir.status import Status
from trainer.task.evaluate import rebuild, require_evaluation_keys
from trainer.task.finished_runs import run_directories

RANDOM = (-1.0, 1.0)  # range of a plane of random directions
HIGH = 10  # times its first value: loss up to which a path that diverges is drawn
OWN = "task.optimizers"


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Draw the training loss on a plane through the weights, as landscape.png and for TensorBoard.

    Each optimizer trains the network from the same start for `epochs`; the plane is that of its two weights where it
    has only two, else that of the principal components of all paths. With `runs=[DIR,...]` nothing is trained: the
    plane is a random one around the best weights of each run.

    Args:
        optimizers: options of optimizer=.
        plane: auto, paths or random.
        points: of the surface along each side, in [5, 201].
        samples: of the training split whose loss is drawn; `all` or >= 2.
    Source: Li et al., 2018, arXiv:1712.09913. Differs from the paper: norms use the statistics of the batch, as in
        training; one plane for several paths.
    """

    optimizers: Sequence[str]
    plane: str = "auto"
    points: int = 25
    samples: int | str = 256

    def __post_init__(self) -> None:
        require_one_of("auto", "paths", "random", plane=self.plane)
        require("in [5, 201]", points=self.points)
        if self.samples != "all":
            require(">= 2", samples=self.samples)
        known = catalog.options("optimizer")
        if not self.optimizers:
            raise ValueError("optimizers must name at least one, as [sgd,adam]")
        for name in self.optimizers:
            if name not in known:
                raise ValueError(f"optimizers: there is no {printable(name)}; {did_you_mean(str(name), known)}")

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Train, draw and write. Errors: UserError."""
        console = Console()
        if cfg.runs:
            self._require_no_training(invocation)
            for place in run_directories(cfg.runs, console):
                rebuilt = rebuild(place, cfg, invocation, console)
                title = title_of_run(place, rebuilt.load_weights())
                directory = partial(rundir.create_with_config, cfg, invocation, rebuilt.cfg)
                self._draw(rebuilt.run, [], title, directory, console)
            return
        jobs = [*self._jobs(cfg, invocation)]
        first, paths = None, []
        for name, job_cfg, job in jobs:
            run = build_run(job_cfg, job, first.data if first else None)
            require_path(run, invocation)
            notes = [] if first else run.data.notes
            for note in (*notes, *auto_rate.notes_on_usual(job_cfg, job.choices)):
                console.print(f"note: {note}")
            with console.status(f"training with optimizer={name}"):
                paths.append(follow(run, name, len(jobs)))
            first = first or run
        directory = partial(rundir.create_with_config, cfg, invocation)
        self._draw(first, paths, title_of(invocation), directory, console)

    def _require_no_training(self, invocation: Invocation) -> None:
        require_evaluation_keys(invocation, without=("tta", "norm.fuse"))
        if OWN in invocation.typed_keys or self.plane == "paths":
            key = OWN if OWN in invocation.typed_keys else "task.plane=paths"
            raise ConfigError(f"{key}: a finished run has no path to draw; leave out {key.partition('=')[0]}, or runs")

    def _jobs(self, cfg: DictConfig, invocation: Invocation) -> Iterator[tuple[str, DictConfig, Invocation]]:
        """Yield name and configuration of each optimizer; the one that is typed alone. Errors: ConfigError."""
        typed = sorted(key for key in invocation.typed_keys if key.partition("@")[0].partition(".")[0] == "optimizer")
        if "optimizer" in typed:
            chosen = invocation.describe("optimizer")
            if OWN in invocation.typed_keys:
                raise ConfigError(f"{chosen}: {OWN} names the optimizers; leave one of the two out")
            yield invocation.choice("optimizer"), cfg, invocation
            return
        if others := [key for key in typed if key != "optimizer.lr"]:
            raise ConfigError(
                f"{others[0]}: of which optimizer? type optimizer=NAME with it, which draws that one only"
            )
        for name in self.optimizers:
            yield name, *with_optimizer(name, invocation)

    def _draw(
        self,
        run: Run,
        paths: Sequence[WeightPath],
        title: str,
        make_directory: Callable[[], Path],
        console: Console,
    ) -> None:
        objective = Objective(run, fixed_batches(run, None if self.samples == "all" else self.samples))
        with console.status("measuring the surface"), measuring(run), restored(objective.weights):
            paths = [while_low(objective, path) for path in paths]
            losses = [landscape.loss_at(objective, path.weights[-1]) for path in paths]
            plane, x, y = self._plane(objective, paths)
            found = landscape.surface(objective, plane, x, y, self.points)
        directory = make_directory()
        console.print(title)
        if paths:
            console.print(table_of(paths, losses))
        smallest, largest = (float(end) for end in found.loss.aminmax())
        console.print(f"loss on the plane from {short(smallest)} to {short(largest)}: {', '.join(plane.labels)}")
        console.print()
        for path in write(found, plane, paths, losses, title, directory):
            console.print(f"saved {from_here(path)}")

    def _plane(
        self, objective: Objective, paths: Sequence[WeightPath]
    ) -> tuple[Plane, tuple[float, float], tuple[float, float]]:
        """Return the plane, and the ranges of its axes."""
        seed, size = objective.run.seed, sum(weight.numel() for weight in objective.weights)
        if self.plane == "random" or not paths:
            if paths:
                landscape.loss_at(objective, paths[0].weights[-1])  # the centre
            return landscape.random_plane(objective, seed), RANDOM, RANDOM
        if size == 2 and self.plane == "auto":
            plane = landscape.weight_plane(names_of_two(objective))
        else:
            plane = landscape.path_plane([path.weights for path in paths], seed)
        coordinates = [plane.project(path.weights) for path in paths]
        return plane, *landscape.window(torch.cat(coordinates))


def with_optimizer(name: str, invocation: Invocation) -> tuple[DictConfig, Invocation]:
    """Return the configuration of the command with another optimizer. Errors: ConfigError."""
    if "optimizer.lr" in invocation.typed_keys and "optimizer.lr" not in schema.keys(
        catalog.file("optimizer", name), "optimizer"
    ):
        raise ConfigError(f"optimizer.lr: optimizer={name} has no learning rate; leave it out of {OWN}, or type no lr")
    overrides = [*invocation.overrides, f"optimizer={name}", *search_path()]
    with nullcontext() if GlobalHydra.instance().is_initialized() else initialized():
        cfg = compose("config", overrides, return_hydra_config=True)
    made = replace(invocation_of(cfg.hydra), sweep=invocation.sweep)
    return without_hydra_node(cfg), made


def require_path(run: Run, invocation: Invocation) -> None:
    """Refuse runs whose weights do not move. Errors: ConfigError."""
    if not run.clock.total_steps:
        raise ConfigError("epochs=0: there is no path to draw; try epochs=20")
    if not any(weight.requires_grad for weight in run.model.parameters()):
        raise ConfigError(f"{invocation.describe('model')}: has no trainable weights, so that there is no path to draw")


def while_low(objective: Objective, path: WeightPath) -> WeightPath:
    """Return a path that diverged up to where the loss is ten times the first: the rest would fill the picture."""
    if path.status is not Status.DIVERGED:
        return path
    losses = [landscape.loss_at(objective, weights) for weights in path.weights]
    kept = len([*takewhile(lambda loss: loss <= HIGH * losses[0], losses)]) or 1
    return replace(path, steps=path.steps[:kept], weights=path.weights[:kept])


def names_of_two(objective: Objective) -> list[str]:
    """Return names for the two weights of a model that has only two."""
    names = []
    for name, weight in objective.run.model.named_parameters():
        if weight.requires_grad:
            names += [name] if weight.numel() == 1 else [f"{name}[{place}]" for place in range(weight.numel())]
    return names


def table_of(paths: Sequence[WeightPath], losses: Sequence[float]) -> Table:
    """Return a table of the paths: what each reached, and how far it went."""
    rows = []
    for path, loss in zip(paths, losses):
        moved = float((path.weights[-1] - path.weights[0]).norm())
        rows.append([path.name, short(path.rate), f"{path.steps[-1]:,}", str(path.status), short(loss), short(moved)])
    heads = ("optimizer", "lr", "steps", "end", "loss", "distance")
    return as_table(heads, rows, left=1)


def write(
    surface: Surface,
    plane: Plane,
    paths: Sequence[WeightPath],
    losses: Sequence[float],
    title: str,
    directory: Path,
) -> list[Path]:
    """Write the picture and the numbers, and return their paths. Errors: MachineError."""
    shown = paths if plane.unit else ()
    numbers = directory / "landscape.json"
    content = {"title": title, "axes": plane.labels, "a": surface.a, "b": surface.b, "loss": surface.loss}
    content["paths"] = [
        {
            "optimizer": path.name,
            "lr": path.rate,
            "status": path.status,
            "steps": path.steps,
            "loss": loss,
            "points": plane.project(path.weights),
        }
        for path, loss in zip(shown, losses)
    ]
    try:
        picture = landscape_plot.draw(surface, plane, shown, losses, title, directory)
        atomic_write(numbers, json.dumps(plain(content), allow_nan=False).encode())
    except OSError as error:
        raise rundir.cannot_be_written(directory, error, "the figures") from None
    return [picture, numbers]
