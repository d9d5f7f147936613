"""Time ResNet-20 on random images of CIFAR's shape: trainer's net and step against hand-written ones.

    python scripts/bench/resnet20.py [--samples 20] [--batch-size 64]

A sample of the step is an epoch of eight steps of each loop. A sample of the forward pass is one pass of each net;
there are eight times as many of them.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from turns import on_random_images, plain_loop, print_results, race

from trainer.model.resnet import EveryOtherPixel


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters, as one writes it by hand."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.new_channels:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return F.relu(out + x)


def by_hand() -> nn.Module:
    """Return ResNet-20 as one writes it by hand."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for width in (16, 32, 64):
        for _ in range(3):
            layers.append(Block(inputs, width, 1 if width == inputs else 2))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def count_layers(model: nn.Module) -> int:
    """Count the modules without children, except those that the hand-written net calls as functions."""
    functions = nn.Identity | nn.ReLU | EveryOtherPixel
    return sum(1 for module in model.modules() if not list(module.children()) and not isinstance(module, functions))


def forward_times(nets: dict[str, nn.Module], images: Tensor, samples: int) -> dict[str, list[float]]:
    """Return the seconds of each forward pass of each net, timed in turn, each net first in every other round."""
    times: dict[str, list[float]] = {name: [] for name in nets}
    with torch.no_grad():
        for sample in range(samples + 2):
            for name in sorted(nets, reverse=sample % 2 == 0):
                start = time.perf_counter()
                nets[name](images)
                if sample > 1:  # the first two warm up
                    times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    run = on_random_images((3, 32, 32), 8, arguments.samples + 2, arguments.batch_size, "model=resnet20", "norm=batch")
    nets = {"trainer": run.model, "by hand": by_hand()}
    print("layers   ", "   ".join(f"{name} {count_layers(net)}" for name, net in nets.items()))
    times = forward_times(nets, run.train.images[: arguments.batch_size], 8 * arguments.samples)
    ratio = statistics.median(a / b for a, b in zip(times["trainer"], times["by hand"]))
    print(f"forward   trainer / by hand = {ratio:.3f}   ({statistics.median(times['trainer']) * 1e3:.1f} ms a batch)")
    model = by_hand()
    peer = plain_loop(run, model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    print_results("step", race(run, {"bare loop": peer}, group=1))


if __name__ == "__main__":
    main()
