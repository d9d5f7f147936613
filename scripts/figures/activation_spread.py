"""Draw how the spread of activations changes from layer to layer, for six initialisations (docs/activation_spread.png).

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
PAGE = Path(__file__).parents[2] / "docs" / "activation_spread.png"
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
    """Of each hidden layer, flat."""
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)]
    x = torch.randn(SAMPLES, WIDTH)
    init(nn.Sequential(*layers), x, x, act)
    seen = []
    for layer in layers:
        x = act()(layer(x))
        seen.append(x.flatten())
    return seen


def main() -> None:
    sheet = Figure(figsize=(13, 9), layout="constrained")
    for axes, (title, (init, act)) in zip(sheet.subplots(6, DEPTH, sharex=True), CASES.items()):
        for number, (panel, values) in enumerate(zip(axes, activations(init, act)), start=1):
            panel.hist(values.clamp(-1, 2.5).numpy(), bins=70, range=(-1, 2.5), color="tab:blue")
            panel.set_title(f"layer {number}: std {values.std():.3g}", fontsize=9)
            panel.set_yticks([])
        axes[0].set_ylabel(
            title.replace(" act", "\nact").replace(": ", "\n"), rotation=0, ha="right", va="center", fontsize=10
        )
    PAGE.parent.mkdir(exist_ok=True)
    sheet.savefig(PAGE, dpi=80)


if __name__ == "__main__":
    main()
