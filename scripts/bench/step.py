"""One training step of the runner, logging on at its defaults, against hand-written loops, in turn within one process.

    python scripts/bench/step.py [--epochs 300] [OVERRIDE ...]

The peer is the loop an expert writes without a library: tensors resident on the device, a permutation an epoch, hard
labels, no metric, no logging. It is timed with torch's default optimizer (as most people write it) and with the fused
one (as the runner's). A sample is ten epochs of each.
"""

import argparse

import torch
from hydra import compose, initialize_config_dir
from torch import nn
from turns import plain_loop, race, tell

from trainer.config import catalog
from trainer.engine.build import build_run

DEFAULTS = ["model=mlp", "device=cpu", "data.val_fraction=0"]
OPTIMIZERS = {
    "momentum": lambda weights, fused: torch.optim.SGD(weights, lr=0.05, momentum=0.9, fused=fused),
    "adam": lambda weights, fused: torch.optim.Adam(weights, lr=0.001, fused=fused),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    for name in OPTIMIZERS:
        with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
            run = build_run(
                compose("config", [*DEFAULTS, f"optimizer={name}", f"epochs={arguments.epochs}", *arguments.overrides])
            )
        peers = {}
        for title, fused in (("bare loop", None), ("bare loop, fused", True)):
            model = nn.Sequential(
                nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
            )
            peers[title] = plain_loop(run, model, OPTIMIZERS[name](model.parameters(), fused))
        tell(name, race(run, peers, group=10))


if __name__ == "__main__":
    main()
