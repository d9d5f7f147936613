"""task=preview: draw a run's learning rate, preprocessing, activation and augmentations before training."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig
from rich.text import Text

from trainer.base.text import from_here
from trainer.config import auto_rate
from trainer.config.hydra_context import Invocation
from trainer.engine import image_grid, lr_curve
from trainer.engine.build import fit_preprocess
from trainer.engine.build_data import load_data
from trainer.engine.lr_curve import LrCurve
from trainer.engine.remarks import lengths_beyond
from trainer.inspection import activation_curve, preprocess_view
from trainer.inspection.activation_curve import make_activation_curve
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Draw what a run is made of in a directory of its own; build no model and train nothing.

    The learning rate of every step, in the terminal and as PNG; samples before and after the preprocessing, with the
    scales of the features; the activation and its derivative; where the data are images, training images with draws of
    the augmentations and their labels, as PNG and for TensorBoard.
    """

    def execute(self, cfg: DictConfig, invocation: Invocation) -> None:
        """Draw the figures. Errors: UserError, before anything is written."""
        data = load_data(cfg, invocation)
        curve = lr_curve.make_lr_curve(cfg, len(data.train), invocation)
        apply = fit_preprocess(cfg, data, invocation)
        grid = image_grid.make_image_grid(cfg, data, invocation, apply)
        activation, view = make_activation_curve(cfg, invocation), preprocess_view.make_view(data, apply)
        directory = rundir.create_with_config(cfg, invocation)
        console = Console()
        for note in (*data.notes, *auto_rate.notes_on_usual(cfg, invocation.choices)):
            console.print(f"note: {note}")
        figures = [directory / "preview-learning-rate.png"]
        lr_curve.draw(curve, figures[0])
        print_lr_curve(curve, console)
        for line in lengths_beyond(cfg, invocation.choices, curve.clock):
            console.print(f"note: {line}")
        print_part(console, f"Preprocessing, {invocation.describe('preprocess')}", preprocess_view.describe(view))
        figures.append(directory / "preview-preprocess.png")
        preprocess_view.draw(view, figures[-1], invocation)
        print_part(console, f"Activation, {activation.title}", activation_curve.describe(activation))
        figures.append(directory / "preview-activation.png")
        activation_curve.draw(activation, figures[-1])
        if grid:
            figures.append(image_grid.draw(grid, directory))
        console.print()
        for path in figures:
            console.print(f"saved {from_here(path)}")


def print_part(console: Console, heading: str, lines: Sequence[str]) -> None:
    """Print lines below a heading."""
    console.print()
    for line in (heading, *lines):
        console.print(line)


def print_lr_curve(curve: LrCurve, console: Console) -> None:
    """Print the curve as a chart, as wide as the terminal, and its main values."""
    console.print(f"Learning rate of {curve.title}")
    try:
        drawing = lr_curve.chart(curve, console.terminal.width)
        drawing.encode(console.terminal.encoding)
        console.print(Text.from_ansi(drawing))  # its colours reach a terminal, its characters also a file
    except (ImportError, UnicodeEncodeError):
        console.print("(no chart: plotext cannot be loaded, or the terminal has no block characters)")
    for line in filter(None, (*lr_curve.describe(curve), curve.sums)):
        console.print(line)
