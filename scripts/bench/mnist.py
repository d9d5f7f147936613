"""`train data=mnist model=mlp`, 10 epochs, whole process, against a hand-written program that does the same work.

    python scripts/bench/mnist.py DIR [--rounds 5] [OVERRIDE ...]     DIR holds MNIST/raw

The two take turns; the last line is the median of the ratios. The peer loads MNIST through torchvision, keeps it
resident as floats, holds out a tenth, trains the same MLP with the same optimizer and batch size, scores the held-out
images after every epoch, keeps the best weights and scores them on the test images. It writes no curves, figures or
checkpoints.
"""

import argparse
import copy
import re
import statistics
import subprocess
import sys
import tempfile
import time


def by_hand(root: str) -> None:
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torchvision.datasets import MNIST

    torch.manual_seed(0)
    train, test = MNIST(root, train=True), MNIST(root, train=False)
    images, test_images = (part.data.float().div(255).sub(0.1307).div(0.3081).flatten(1) for part in (train, test))
    order = torch.randperm(len(images))
    kept, held = order[6000:], order[:6000]
    x, y, val_x, val_y = images[kept], train.targets[kept], images[held], train.targets[held]
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    best, best_state = 0.0, None
    for epoch in range(10):
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for indices in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            targets = y[indices]
            outputs = model(x[indices])
            loss = F.cross_entropy(outputs, targets)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(targets)
            correct += (outputs.detach().argmax(1) == targets).sum()
        accuracy = score(model, val_x, val_y)
        print(
            f"epoch {epoch + 1} loss {total.item() / len(x):.4f} "
            f"accuracy {correct.item() / len(x):.4f} val {accuracy:.4f}"
        )
        if accuracy > best:
            best, best_state = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    print(f"test accuracy {score(model, test_images, test.targets):.4f}")


def score(model, images, labels) -> float:
    import torch

    model.eval()
    with torch.no_grad():
        correct = sum(
            (model(part).argmax(1) == wanted).sum().item() for part, wanted in zip(images.split(512), labels.split(512))
        )
    model.train()
    return correct / len(labels)


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of the whole process, and the last test accuracy it printed."""
    start = time.perf_counter()
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return time.perf_counter() - start, float(re.findall(r"test.*accuracy (\S+)", printed)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--by-hand", action="store_true", help="run the hand-written program itself")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    if arguments.by_hand:
        return by_hand(arguments.root)
    ratios = []
    with tempfile.TemporaryDirectory() as output:
        ours = [
            sys.executable,
            "-m",
            "trainer",
            "data=mnist",
            f"data.root={arguments.root}",
            "model=mlp",
            "epochs=10",
            "batch_size=128",
            f"output={output}",
        ]
        for _ in range(arguments.rounds):
            hand, hand_accuracy = timed([sys.executable, __file__, "--by-hand", arguments.root])
            runner, accuracy = timed([*ours, *arguments.overrides])
            ratios.append(runner / hand)
            print(
                f"by hand {hand:6.2f} s (test {hand_accuracy:.4f})   "
                f"train {runner:6.2f} s (test {accuracy:.4f})   ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
