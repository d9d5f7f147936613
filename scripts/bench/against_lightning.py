"""Time a training step and whole runs of trainer against Lightning, processes of the two in turn.

    python scripts/bench/against_lightning.py [--rounds 3] [--mnist DIR --template DIR]

It needs `pip install lightning`. The step is that of the MLP on digits by momentum, of batches of 64: Lightning with
the defaults of its Trainer, a loss and an accuracy of torchmetrics that are logged, and a DataLoader over tensors;
trainer with its own defaults. --template takes a checkout of ashleve/lightning-hydra-template, whose example trains an
MLP with batch norms on MNIST, of which DIR holds MNIST/raw: ten epochs of it, whole processes, against the same net by
`train`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

EPOCHS = 30  # of the step
NET = (128, 128)  # units of the hidden layers, in the whole runs


def lightning_step() -> float:
    """Return the seconds of a step in Lightning, the median over epochs."""
    import lightning
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from torchmetrics.classification import MulticlassAccuracy

    torch.set_num_threads(1)

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            hidden = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
            self.net, self.accuracy = nn.Sequential(*hidden, nn.Linear(128, 10)), MulticlassAccuracy(10)
            self.starts: list[float] = []

        def training_step(self, batch, index):
            images, labels = batch
            outputs = self.net(images)
            loss = F.cross_entropy(outputs, labels)
            self.accuracy(outputs, labels)
            self.log("train/loss", loss)
            self.log("train/accuracy", self.accuracy, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

        def on_train_epoch_start(self) -> None:
            self.starts.append(time.perf_counter())

    images, labels = torch.randn(1437, 64), torch.randint(10, (1437,))
    loader, model = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True), Classifier()
    with tempfile.TemporaryDirectory() as folder:
        lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", default_root_dir=folder).fit(model, loader)
    epochs = [after - before for before, after in zip(model.starts[1:], model.starts[2:])]
    return statistics.median(epochs) / len(loader)


def own_step() -> float:
    """Return the seconds of a step in trainer, the median over epochs."""
    from compile import digits
    from turns import race

    return race(digits("momentum", EPOCHS, ["threads=1"]), {}, 1)["trainer"][0]


STEPS = {"lightning": lightning_step, "trainer": own_step}


def seconds_of(command: Sequence[str | Path], folder: str) -> float:
    """Return the seconds of a process."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def template_command(template: str, mnist: str) -> list[str | Path]:
    """Return the command that trains the template's example on MNIST ten epochs, on a CPU."""
    words = ["trainer=cpu", "trainer.min_epochs=1", "trainer.max_epochs=10", f"data.data_dir={mnist}"]
    words += ["data.batch_size=128", f"model.net.lin1_size={NET[0]}", f"model.net.lin2_size={NET[1]}"]
    words += [f"model.net.lin3_size={NET[1]}", "model.compile=false"]
    words += ["test=false"]  # its test fails: torch.load refuses its checkpoint
    return [sys.executable, Path(template).resolve() / "src" / "train.py", *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mnist", metavar="DIR")
    parser.add_argument("--template", metavar="DIR")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print("\n", STEPS[arguments.step]())
        return
    found = {name: [] for name in STEPS}
    for _ in range(arguments.rounds):
        for name in STEPS:
            command = [sys.executable, __file__, "--step", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(float(done.stdout.split()[-1]))
    ratio = statistics.median(map(float.__truediv__, found["lightning"], found["trainer"]))
    for name, seconds in found.items():
        print(f"{name:10s} {statistics.median(seconds) * 1e6:8.0f} us per step")
    print(f"lightning / trainer = {ratio:.2f}", flush=True)
    if arguments.mnist and arguments.template:
        mnist, ratios = str(Path(arguments.mnist).resolve()), []
        own = [sys.executable, "-m", "trainer", "data=mnist", f"data.root={mnist}", "model=mlp", "norm=batch"]
        own += [f"model.hidden=[{NET[0]},{NET[1]},{NET[1]}]", "optimizer=adam", "epochs=10", "batch_size=128"]
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["PROJECT_ROOT"] = folder
                theirs, ours = (
                    seconds_of(command, folder) for command in (template_command(arguments.template, mnist), own)
                )
            ratios.append(theirs / ours)
            print(f"template {theirs:6.1f} s   train {ours:6.1f} s   ratio {ratios[-1]:.1f}", flush=True)


if __name__ == "__main__":
    main()
