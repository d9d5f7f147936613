"""Time a training step on a CPU with the images' channels last, against the usual format, in turn within one process.

    python scripts/bench/memory_format.py [--rounds 9] ['model=cnn norm=batch' ...]

A model takes its images with the channels last where its largest kernel is small (engine/memory_format.py); here each
is timed both ways. The ratio is of the medians: below 1, the channels last are faster.
"""

import argparse
import statistics
import time

import torch
from hydra import compose, initialize_config_dir

from trainer.config import catalog
from trainer.engine.build import build_run
from trainer.engine.memory_format import channels_last, choose_channels_last
from trainer.engine.run import Run

MODELS = [
    "model=cnn",
    "model=cnn norm=batch",
    "model=lenet",
    "model=resnet20 norm=batch",
    "model=resnet20 data=photos batch_size=8",
    "model=torchvision model.name=mobilenet_v2 data=photos batch_size=4",
    "model=fast_cnn",
    "model=wide_resnet data=photos batch_size=2",
    "model=alexnet data=photos batch_size=8",
    "model=vgg11 data=photos batch_size=4",
]


def make(words: str, last: bool) -> Run:
    """Build a run whose model takes its images in one of the formats."""
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        run = build_run(compose("config", [*words.split(), "threads=1", "device=cpu"]))
    run.model._forward_pre_hooks.clear()
    if last:
        run.model.register_forward_pre_hook(channels_last)
    return run


def seconds_of_step(run: Run) -> float:
    """Return the time of a step on the first samples."""
    images, targets = run.train.batch(torch.arange(min(run.batch_size, len(run.train))))
    start = time.perf_counter()
    run.optimizer.zero_grad()
    run.criterion(run.model(images), targets).mean().backward()
    run.optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="steps of each (default: %(default)s)")
    parser.add_argument("models", nargs="*", metavar="OVERRIDES", default=MODELS)
    arguments = parser.parse_args()
    for words in arguments.models:
        runs = [make(words, last) for last in (False, True)]
        chosen = "chosen" if choose_channels_last({}, runs[0].model, runs[0].device).value == "on" else "not chosen"
        times = [[seconds_of_step(run) for run in runs] for _ in range(arguments.rounds + 2)][2:]
        usual, last = (statistics.median(column) for column in zip(*times))
        print(f"{words}: {1000 * usual:.1f} ms, channels last {last / usual:.2f} of it ({chosen})", flush=True)


if __name__ == "__main__":
    main()
