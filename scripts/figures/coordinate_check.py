"""Check by coordinates that steps move a network as far at every width: docs/coordinate_check.png.

    python scripts/figures/coordinate_check.py
    python scripts/figures/coordinate_check.py --widths 32,64,128 --output mine.png model=cnn model.channels=[N,N,N]

Trains networks of several widths for a few steps, with init=auto and with init=mup, and draws how far the outputs of
each layer have moved (Yang & Hu et al., 2022, arXiv:2203.03466, appendix D.1). Level lines are right; lines that rise
with the width say that a learning rate that suits a narrow network is too large for a wide one. The overrides are those
of `train`, with N for the width.
"""

import argparse
import math
from contextlib import closing
from pathlib import Path

import torch
from hydra import compose
from matplotlib.figure import Figure
from torch import Tensor

from trainer.base.layers import weight_layers
from trainer.config.hydra_context import initialized
from trainer.engine.build import build_run
from trainer.engine.cadence import Cadence
from trainer.engine.loop import Update
from trainer.engine.order import batches
from trainer.engine.run import Run

INITS = ("auto", "mup")
STEPS, SEEDS, SAMPLES = 4, 3, 256
PLAIN = ["data=digits", "model=mlp", "model.hidden=[N,N,N]", "optimizer=adam", "sched=constant"]
PICTURE = Path(__file__).parents[2] / "docs" / "coordinate_check.png"


def layer_outputs(run: Run, images: Tensor) -> list[Tensor]:
    """Return the outputs of each weight layer."""
    found: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda module, inputs, output: found.append(output))
        for layer in weight_layers(run.model)
    ]
    with torch.no_grad():
        run.model.eval()(images)
    for handle in handles:
        handle.remove()
    return found


def train(run: Run) -> None:
    """Make a few steps of a run's training."""
    update, cadence = Update(run, None), Cadence(run)
    run.model.train()
    with closing(batches(run)) as upcoming:
        for step in range(STEPS):
            update(cadence.set_learning_rate(step), *next(upcoming), log=False)


def distances(overrides: list[str]) -> list[float]:
    """Return how far each layer's outputs have moved after some steps, as a root mean square."""
    run = build_run(compose("config", [*overrides, "threads=1"]))
    images, _ = run.train.batch(torch.arange(min(SAMPLES, len(run.train))))
    before = layer_outputs(run, images)
    train(run)
    after = layer_outputs(run, images)
    return [(new - old).square().mean().sqrt().item() for old, new in zip(before, after)]


def mean_distances(overrides: list[str], width: int) -> list[float]:
    """Return the distances of networks of a width, averaged over seeds in their logarithms."""
    words = [word.partition("=")[0] + "=" + word.partition("=")[2].replace("N", str(width)) for word in overrides]
    found = [distances([*words, f"seed={seed}"]) for seed in range(SEEDS)]
    return [math.exp(sum(map(math.log, layer)) / SEEDS) for layer in zip(*found)]


def draw(overrides: list[str], widths: list[int], picture: Path) -> None:
    """Train at every width with both initialisations, and draw the distances."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for panel, init in zip(figure.subplots(1, len(INITS), sharey=True), INITS):
        by_width = [mean_distances([*overrides, f"init={init}"], width) for width in widths]
        for number, layer in enumerate(zip(*by_width), start=1):
            name = "outputs" if number == len(by_width[0]) else f"layer {number}"
            panel.plot(widths, layer, marker="o", label=name)
            print(f"init={init} {name}:", *(f"{width}: {value:.3g}" for width, value in zip(widths, layer)))
        panel.set(title=f"init={init}", xlabel="width", xscale="log", yscale="log")
        panel.set_xticks(widths, [str(width) for width in widths])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel(f"distance after {STEPS} steps (rms)")
    figure.axes[-1].legend(fontsize=8)
    figure.suptitle(" ".join(overrides), fontsize=10)
    figure.savefig(picture, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--widths", default="64,128,256,512,1024")
    parser.add_argument("--output", type=Path, default=PICTURE)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    with initialized():
        draw(arguments.overrides or PLAIN, [int(width) for width in arguments.widths.split(",")], arguments.output)


if __name__ == "__main__":
    main()
