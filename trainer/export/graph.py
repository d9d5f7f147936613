"""Graph of a trained model: samples in, probabilities or values out, with the preprocessing and the softmax in it."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, replace
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.base.errors import ConfigError
from trainer.base.text import counted, printable
from trainer.data.inputs import ImageInput, TableInput
from trainer.engine.fuse import fuse, with_plain_weights
from trainer.export.equality import LIMIT, largest_difference
from trainer.inference.model import TrainedModel

TRACED = 2  # samples of the example that a graph is made with


class Graph(nn.Module):
    """A trained model as one module: samples (B, ...) in, what `TrainedModel.__call__` returns out.

    Args:
        model: it holds preprocessing, loss and units.
        network: in place of the model's own, with the same outputs.
    """

    def __init__(self, model: TrainedModel, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._model = model

    def forward(self, samples: Tensor) -> Tensor:
        return self._model.answers(self.network(self._model.preprocess(samples)).float())


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Input and output of a graph.

    Args:
        input: images (uint8 in 0 ... 255, or float32 in [0, 1]), rows of a table, or arrays.
        dtype: of the input.
        shape: of a sample.
        output: probabilities, values of a regression, or outputs that are neither.
        columns: names of the output's columns: classes, or outputs of a regression.
    """

    input: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    output: str
    columns: tuple[str, ...]

    @property
    def dtype_name(self) -> str:
        """Type of the input, as `uint8`."""
        return str(self.dtype).removeprefix("torch.")


def signature_of(model: TrainedModel, input_type: str) -> Signature:
    """Return what the graph of a model takes and gives.

    Args:
        input_type: uint8 or float32; auto for what the training images were. Tables and arrays are float32.
    Errors: ConfigError for uint8 where there are no images.
    """
    inputs = model.description.inputs
    if isinstance(inputs, ImageInput):
        kind, dtype = "images", inputs.dtype if input_type == "auto" else input_type
    else:
        kind, dtype = "rows" if isinstance(inputs, TableInput) else "arrays", "float32"
        if input_type == "uint8":
            raise ConfigError(f"task.input_type=uint8: the model takes {kind}, which are float32; leave it out")
    output = "probabilities" if model.has_probabilities else "outputs" if model.classes else "values"
    return Signature(
        input=kind, dtype=getattr(torch, dtype), shape=model.input_shape, output=output, columns=model.names
    )


def plain(model: TrainedModel) -> TrainedModel:
    """Return a model without test-time augmentation, in fp32: what a graph is compared with."""
    return replace(model, views=lambda network, images: network(images)[None], autocast=nullcontext)


def as_type(samples: Tensor, dtype: torch.dtype) -> Tensor:
    """Return samples as the type of a graph's input; uint8 has 0 ... 255 for what floats have as [0, 1]."""
    if samples.dtype == dtype:
        return samples
    if dtype == torch.uint8:
        return (samples * 255).round().clamp(0, 255).to(dtype)
    return samples.to(dtype) / 255 if samples.dtype == torch.uint8 else samples.to(dtype)


@torch.no_grad()
def make_graph(model: TrainedModel, samples: Tensor) -> tuple[Graph, list[str]]:
    """Return the graph of a model and what was done to its network, in words.

    Weights that a parametrisation makes are made once. Batch norms are fused into the layers before them unless that
    changes the answers by more than rounding.

    Args:
        samples: of the graph's type, by which this is checked.
    """
    network = with_plain_weights(model.module)
    whole = Graph(model, network).eval()
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return whole, []
    fused, count = fuse(network, model.preprocess(samples[:TRACED]))
    graph = Graph(model, fused).eval()
    difference = largest_difference(graph(samples), whole(samples), model)
    if difference > LIMIT / 2:
        return whole, [f"batch norms are not fused: that would change the answers by {difference:.1e}"]
    left = sum(isinstance(module, _BatchNorm) for module in fused.modules())
    other = f"; {left} stay, as they follow no layer directly" if left else ""
    return graph, [f"{counted('batch norm', count)} fused into the layers before them{other}"]


@torch.no_grad()
def trace(graph: Graph, signature: Signature, named: str) -> torch.export.ExportedProgram:
    """Return the program of a graph, for batches of any size.

    Args:
        named: what is typed for it, for messages.
    Errors: ConfigError where Python decides by the values or the number of the samples.
    """
    example = torch.zeros((TRACED, *signature.shape), dtype=signature.dtype)  # it is stored with the program
    batch = torch.export.Dim("batch")
    try:
        graph(example)  # constants of the preprocessing are made once, before they are traced
        with silenced():
            program = torch.export.export(graph, (example,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:
        raise ConfigError(f"{named}: {untraceable(error, graph.network)}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


@contextmanager
def silenced() -> Iterator[None]:
    """Keep the remarks of torch's exporters off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def untraceable(error: Exception, network: nn.Module) -> str:
    """Return why a graph cannot be traced: where Python decides by the number or the values of the samples."""
    text = str(error).strip()
    if "specialized it to be a constant" in text or "Not all values of batch" in text:
        what = "the model or its preprocessing works for one number of samples only"
        return f"{what}; write x.shape[0] in place of len(x) in its code, and no condition on it"
    reason = printable(text.partition("\n")[0]) or type(error).__name__
    hint = "its forward() must use tensor operations alone, without conditions on values"
    return f"{module_at(error.__traceback__, network)} cannot be traced ({reason}); {hint}"


def module_at(trace_back: TracebackType | None, network: nn.Module) -> str:
    """Return the innermost module of a network that a traceback passes, in words; the model where there is none."""
    names = {id(module): name for name, module in network.named_modules()}
    found = "the model"
    while trace_back is not None:
        owner = trace_back.tb_frame.f_locals.get("self")
        if names.get(id(owner)):
            found = f"{names[id(owner)]} ({type(owner).__name__})"
        trace_back = trace_back.tb_next
    return found
