"""Time `train data=mnist model=mlp`, 10 epochs, whole process, against a hand-written program that does the same work.

    python scripts/bench/mnist.py DIR [--rounds 5] [OVERRIDE ...]     DIR holds MNIST/raw

The two take turns; the last line is the median of the ratios, and the ratio of their largest memory. The hand-written
program loads MNIST through torchvision, keeps it resident as floats, holds out a tenth, trains the same MLP with the
same optimizer and batch size, evaluates it on the held-out images after every epoch, keeps the best weights and
evaluates them on the test images. It writes no curves, figures or checkpoints.
"""

import argparse
import copy
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time


def by_hand(root: str) -> None:
    """Train and evaluate the MLP: the hand-written program."""
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torchvision.datasets import MNIST

    torch.manual_seed(0)
    train, test = MNIST(root, train=True), MNIST(root, train=False)
    images, test_images = (part.data.float().div(255).sub(0.1307).div(0.3081).flatten(1) for part in (train, test))
    order = torch.randperm(len(images))
    kept, held_out = order[6000:], order[:6000]
    x, y, val_x, val_y = images[kept], train.targets[kept], images[held_out], train.targets[held_out]
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    best, best_state = 0.0, None
    for epoch in range(1, 11):
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
        val_accuracy = accuracy(model, val_x, val_y)
        scores = f"loss {total.item() / len(x):.4f} accuracy {correct.item() / len(x):.4f} val {val_accuracy:.4f}"
        print(f"epoch {epoch} {scores}")
        if val_accuracy > best:
            best, best_state = val_accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    print(f"test accuracy {accuracy(model, test_images, test.targets):.4f}")


def accuracy(model, images, labels) -> float:
    """Return the accuracy of the model in evaluation mode."""
    import torch

    model.eval()
    with torch.no_grad():
        batches = zip(images.split(512), labels.split(512))
        correct = sum((model(x).argmax(1) == y).sum().item() for x, y in batches)
    model.train()
    return correct / len(labels)


def timed(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return its seconds, its largest memory in MiB, and the last test accuracy it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit(f"{' '.join(command)}: failed")
        printed.seek(0)
        return seconds, used.ru_maxrss / 1024, float(re.findall(r"test.*accuracy (\S+)", printed.read())[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--by-hand", action="store_true", help="run the hand-written program itself")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    arguments = parser.parse_intermixed_args()  # overrides may follow --rounds
    if arguments.by_hand:
        return by_hand(arguments.root)
    settings = ["data=mnist", f"data.root={arguments.root}", "model=mlp", "epochs=10", "batch_size=128"]
    ratios = []
    with tempfile.TemporaryDirectory() as output:
        train = [sys.executable, "-m", "trainer", *settings, f"output={output}", *arguments.overrides]
        for _ in range(arguments.rounds):
            hand, hand_memory, hand_accuracy = timed([sys.executable, __file__, "--by-hand", arguments.root])
            own, own_memory, own_accuracy = timed(train)
            ratios.append(own / hand)
            print(
                f"by hand {hand:6.2f} s, {hand_memory:,.0f} MiB (test {hand_accuracy:.4f})   "
                f"train {own:6.2f} s, {own_memory:,.0f} MiB (test {own_accuracy:.4f})   ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.3f}; of the largest memory {own_memory / hand_memory:.3f}")


if __name__ == "__main__":
    main()
