"""Histograms of a report for TensorBoard: activations, weights and gradients by layer."""

from pathlib import Path

import torch
from torch.utils.tensorboard.summary import histogram

from trainer.inspection.activations import Values
from trainer.rundir.event_file import EventFile

BINS = 60


def write_events(values: Values, directory: Path) -> None:
    """Write the histograms into an event file of the directory, finite values only. Errors: OSError."""
    events = EventFile(directory)
    for kind, tensors in vars(values).items():
        for name, tensor in tensors.items():
            finite = tensor[torch.isfinite(tensor)]
            if len(finite):
                events.add(histogram(f"{kind}/{name or 'model'}", finite.numpy(), BINS), 0)
    events.close()
