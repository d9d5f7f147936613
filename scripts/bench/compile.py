"""Time a training step with compile=off, model and step against hand-written loops, in turn within one process.

    python scripts/bench/compile.py [--epochs 300] [--nets digits,mnist] [--optimizers momentum,adam] [OVERRIDE ...]

The loops are those of step.py: torch's default optimizer, as most people write it, and the fused one. Each way to
compile is timed in a run of its own, in turn with both loops; a sample is ten epochs of each. The runs of one net and
optimizer have the same seed: how far their last weights are apart is printed, too, as |w - w'| / |w| of the run without
compile, and the seconds that compiling took.
"""

import argparse
from dataclasses import replace

import torch
from hydra import compose, initialize_config_dir
from step import OPTIMIZERS, mlp
from torch import nn
from turns import on_random_images, plain_loop, print_results, race

from trainer.config import catalog
from trainer.engine.build import build_run
from trainer.engine.compilation import Compilation
from trainer.engine.run import Run

GROUP = 10  # epochs a sample
STEPS = 20  # an epoch, of the random images


def digits(optimizer: str, epochs: int, words: list[str]) -> Run:
    """Return a run of the default MLP on digits."""
    overrides = ["model=mlp", "device=cpu", "data.val_fraction=0", f"optimizer={optimizer}", f"epochs={epochs}", *words]
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        return build_run(compose("config", overrides))


def mnist(optimizer: str, epochs: int, words: list[str]) -> Run:
    """Return a run of the MLP with batch norms on random images of MNIST's shape."""
    overrides = ("model=mlp", "norm=batch", f"optimizer={optimizer}", *words)
    return on_random_images((1, 28, 28), STEPS, epochs, 64, *overrides)


def mlp_with_norms() -> nn.Module:
    """Return that MLP, written by hand."""
    first = [nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU()]
    second = [nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *first, *second, nn.Linear(128, 10))


NETS = {"digits": (digits, mlp), "mnist": (mnist, mlp_with_norms)}


def distance(model: nn.Module, other: nn.Module) -> float:
    """Return |w - w'| / |w| over all weights."""
    one, two = (nn.utils.parameters_to_vector(each.parameters()).detach() for each in (model, other))
    return float((one - two).norm() / one.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300, help=f"at least {2 * GROUP + 1} (default: %(default)s)")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    parser.add_argument("--parts", default="off,model,step")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_args()
    for net in arguments.nets.split(","):
        build, by_hand = NETS[net]
        for name in arguments.optimizers.split(","):
            plain = None
            for part in arguments.parts.split(","):
                run = build(name, arguments.epochs, ["seed=0", *arguments.overrides])
                run = replace(run, compiling=None if part == "off" else Compilation(part=part, mode="default"))
                peers = {}
                for title, fused in (("bare loop", None), ("bare loop, fused", True)):
                    torch.manual_seed(0)
                    model = by_hand()
                    peers[title] = plain_loop(run, model, OPTIMIZERS[name](model.parameters(), fused))
                print_results(f"{net} {name} {part}", race(run, peers, GROUP))
                plain = plain or run
                apart = distance(plain.model, run.model)
                took = f"{run.compiling.seconds:.1f} s to compile, " if run.compiling else ""
                print(f"{net} {name} {part}: {took}weights {apart:.1e} from compile=off", flush=True)


if __name__ == "__main__":
    main()
