"""Draw the spread of activations from layer to layer, for six initialisations (docs/activation_spread.png).

    python scripts/figures/activation_spread.py

The net of the cs231n lecture: six hidden layers of 4096 units on 16 samples of a standard normal, weights drawn by
trainer's initialisers.
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from trainer.init.fixed_scale import LargeNormal, Normal, SmallNormal
from trainer.init.variance_scaling import HeNormal, LecunNormal

WIDTH, DEPTH, SAMPLES = 4096, 6, 16
OUTPUT = Path(__file__).parents[2] / "docs" / "activation_spread.png"
CASES = {
    "init=small_normal act=tanh: dies out": (SmallNormal(), nn.Tanh),
    "init=large_normal act=tanh: saturates": (LargeNormal(), nn.Tanh),
    "init=normal act=tanh: saturates": (Normal(), nn.Tanh),
    "init=lecun_normal act=tanh: keeps its spread": (LecunNormal(), nn.Tanh),
    "init=lecun_normal act=relu: dies out": (LecunNormal(), nn.ReLU),
    "init=he_normal act=relu: keeps its spread": (HeNormal(), nn.ReLU),
}


@torch.no_grad()
def activations(init, act: type[nn.Module]) -> list[torch.Tensor]:
    """Return the activations of each hidden layer, flattened."""
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)]
    x = torch.randn(SAMPLES, WIDTH)
    init(nn.Sequential(*layers), x, x, act)
    outputs = []
    for layer in layers:
        x = act()(layer(x))
        outputs.append(x.flatten())
    return outputs


def main() -> None:
    figure = Figure(figsize=(13, 9), layout="constrained")
    for row, (title, (init, act)) in zip(figure.subplots(6, DEPTH, sharex=True), CASES.items()):
        for number, (axes, values) in enumerate(zip(row, activations(init, act)), start=1):
            axes.hist(values.clamp(-1, 2.5).numpy(), bins=70, range=(-1, 2.5), color="tab:blue")
            axes.set_title(f"layer {number}: std {values.std():.3g}", fontsize=9)
            axes.set_yticks([])
        label = title.replace(" act", "\nact").replace(": ", "\n")
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
    OUTPUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUTPUT, dpi=80)


if __name__ == "__main__":
    main()
