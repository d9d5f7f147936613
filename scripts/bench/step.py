"""Time a training step of trainer, with its default logging, against hand-written loops, in turn within one process.

    python scripts/bench/step.py [--epochs 300] [OVERRIDE ...]

The baseline is the loop that an expert writes without a library: tensors resident on the device, a permutation each
epoch, hard labels, no metric, no logging. It is timed with torch's default optimizer (as most people write it) and with
the fused one (as trainer's). A sample is ten epochs of each.
"""

import argparse

import torch
from hydra import compose, initialize_config_dir
from torch import nn
from turns import plain_loop, print_results, race

from trainer.config import catalog
from trainer.engine.build import build_run

GROUP = 10  # epochs a sample
DEFAULTS = ["model=mlp", "device=cpu", "data.val_fraction=0"]
OPTIMIZERS = {
    "momentum": lambda weights, fused: torch.optim.SGD(weights, lr=0.05, momentum=0.9, fused=fused),
    "adam": lambda weights, fused: torch.optim.Adam(weights, lr=0.001, fused=fused),
}


def mlp() -> nn.Module:
    """Return the default MLP for digits, written by hand."""
    hidden = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    least = 2 * GROUP + 1  # a sample to warm up, one to measure, and the order of one epoch more
    parser.add_argument("--epochs", type=int, default=300, help=f"at least {least} (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    if arguments.epochs < least:
        parser.error(f"--epochs must be at least {least}")
    for name, make_optimizer in OPTIMIZERS.items():
        overrides = [*DEFAULTS, f"optimizer={name}", f"epochs={arguments.epochs}", *arguments.overrides]
        with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
            run = build_run(compose("config", overrides))
        peers = {}
        for title, fused in (("bare loop", None), ("bare loop, fused", True)):
            model = mlp()
            peers[title] = plain_loop(run, model, make_optimizer(model.parameters(), fused))
        print_results(name, race(run, peers, GROUP))


if __name__ == "__main__":
    main()
