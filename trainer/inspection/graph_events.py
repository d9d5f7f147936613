"""Graph of a network for TensorBoard's tab Graphs, where it can be traced."""

import copy
import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from trainer.base.rng import preserved_generators
from trainer.engine.run import Run
from trainer.rundir.event_file import EventFile

SAMPLES = 2


def graph_of(run: Run) -> bytes | None:
    """Return the graph of a run's network as TensorBoard takes it; None where tracing it fails, for whatever reason."""
    from torch.utils.tensorboard._pytorch_graph import graph

    images, _ = run.train.batch(torch.arange(min(SAMPLES, len(run.train)), device=run.device))
    silence = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())  # torch prints what it could not trace
    try:
        with silence[0], silence[1], warnings.catch_warnings(), torch.no_grad(), preserved_generators(run.device):
            warnings.simplefilter("ignore")
            return graph(copy.deepcopy(run.model).eval(), images)[0].SerializeToString()
    except Exception:  # of any kind of module
        return None


def write_graph(run: Run, directory: Path) -> bool:
    """Write the graph into an event file of the directory; return whether there is one. Errors: OSError."""
    found = graph_of(run)
    if found is None:
        return False
    events = EventFile(directory, suffix=".graph")  # beside the histograms
    events.add_graph(found)
    events.close()
    return True
