"""Layer table: output shape, parameters, multiplications, memory and time of every module in the forward pass."""

import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainer.base.layers import is_norm
from trainer.inspection.calls import HIDDEN, Calls
from trainer.inspection.cost import MOST_PASSES, SECONDS, WARM_UP, median, now

TABLES = (nn.Embedding, nn.EmbeddingBag)  # look rows up and multiply nothing


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A module in the forward pass, without the modules that it calls.

    Args:
        name: of the module, empty for the model itself.
        kind: its class.
        shape: of its output, without the batch.
        parameters: its own, of every layer that shares one only the first.
        macs: multiply-accumulate operations of matrix products and convolutions, a sample; None where unknown.
        activation_bytes: of its output, a sample; 0 where the output is its input in another shape.
        stored_bytes: kept for the backward pass, for the whole batch; what two layers keep counts in the first one.
        seconds: of its forward pass, for the whole batch.
        calls: of the module in a forward pass.
        note: why a number is missing.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    parameters: int = 0
    macs: int | None = 0
    activation_bytes: int = 0
    stored_bytes: int = 0
    seconds: float | None = None
    calls: int = 0
    note: str = ""


def layer_rows(model: nn.Module, images: Tensor, device: torch.device) -> list[LayerRow]:
    """Return a row for each module that computes or holds parameters, in the order of the forward pass.

    The model is called as it is, in its mode. Parameters of modules that are not called come last.
    """
    rows = count(model, images)
    times = time_calls(model, images, device)
    return [replace(row, seconds=times.get(row.name)) for row in rows]


@dataclass
class Tensors:
    """Outputs of modules, and the memory that the backward pass needs.

    Args:
        samples: in the batch.
    """

    samples: int
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: Counter[str] = field(default_factory=Counter)  # bytes
    stored: Counter[str] = field(default_factory=Counter)  # bytes
    known: set[int] = field(default_factory=set)  # addresses of weights and of what is stored already

    def output(self, name: str, inputs: tuple, output: object) -> None:
        """Note the output of a call."""
        made = [*tensors_in(output)]
        if made:
            self.shapes[name] = shape_of_sample(made[0], self.samples)
        given = {address(tensor) for tensor in tensors_in(inputs)}
        self.outputs[name] += sum(tensor.nbytes for tensor in made if address(tensor) not in given)

    def store(self, name: str, tensor: Tensor) -> None:
        """Note a tensor that is kept for the backward pass."""
        if address(tensor) not in self.known:
            self.known.add(address(tensor))
            self.stored[name] += tensor.nbytes


def count(model: nn.Module, images: Tensor) -> list[LayerRow]:
    """Return the rows of the layer table without their times, from two forward passes."""
    operations = count_operations(model, images)
    weights = [*model.parameters(), *model.buffers()]
    seen, kept = Tensors(len(images), known={address(weight) for weight in weights}), []
    calls = Calls(lambda: 0.0, seen.output)

    def pack(tensor: Tensor) -> Tensor:
        seen.store(calls.current, tensor)
        return tensor

    with torch.enable_grad(), calls.watch(model), torch.autograd.graph.saved_tensors_hooks(pack, lambda each: each):
        kept.append(model(images))  # its graph keeps what is stored, so that no address is used twice
    return [*rows_of(model, calls, operations, seen, len(images))]


def count_operations(model: nn.Module, images: Tensor) -> Counter[str]:
    """Return the floating-point operations of matrix products and convolutions in each module's own work."""
    counter = FlopCounterMode(display=False)
    calls = Calls(counter.get_total_flops)
    with countable(model), torch.no_grad(), calls.watch(model), counter:
        model(images)
    return calls.own


@contextmanager
def countable(model: nn.Module) -> Iterator[None]:
    """Choose implementations of attention and of recurrent layers whose operations the counter sees."""
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # on the number formats of GPUs
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def rows_of(
    model: nn.Module, calls: Calls, operations: Counter[str], seen: Tensors, samples: int
) -> Iterator[LayerRow]:
    """Yield the rows of modules that were called, then one for each module whose parameters no call has used."""
    modules, counted = dict(model.named_modules()), set()
    for name in calls.counts:
        module, calling = modules[name], name in calls.callers
        macs, stored = round(operations[name] / 2 / samples), seen.stored[name]
        parameters = count_new(module, counted, recurse=not calling)
        if calling and not (macs or stored or parameters):
            continue
        unknown = not calling and not macs and multiplies(module)
        yield LayerRow(
            name=name,
            kind=f"{type(module).__name__} itself" if calling else type(module).__name__,
            shape=seen.shapes.get(name, ()),
            parameters=parameters,
            macs=None if unknown else macs,
            activation_bytes=0 if calling else round(seen.outputs[name] / samples),
            stored_bytes=stored,
            calls=calls.counts[name],
            note=f"torch does not count the operations of {type(module).__name__}" if unknown else "",
        )
    for name, module in modules.items():
        if parameters := count_new(module, counted, recurse=False):
            yield LayerRow(name=name, kind=type(module).__name__, parameters=parameters, note="not called")


def count_new(module: nn.Module, counted: set[int], recurse: bool) -> int:
    """Return the number of the module's parameters that are not yet in `counted`, and add them.

    Args:
        recurse: with those of the modules within; else only the parametrisations of its weights count.
    """
    own = [*module.parameters(recurse=recurse)]
    if not recurse:
        own += [weight for name, weight in module.named_parameters() if name.partition(".")[0] == HIDDEN]
    new = {id(weight): weight for weight in own if id(weight) not in counted}
    counted.update(new)
    return sum(weight.numel() for weight in new.values())


def multiplies(module: nn.Module) -> bool:
    """Return whether a module has a matrix to multiply with."""
    matrices = any(weight.dim() > 1 for weight in module.parameters())
    return matrices and not is_norm(module) and not isinstance(module, TABLES)


def shape_of_sample(output: Tensor, samples: int) -> tuple[int, ...]:
    """Return the shape of an output for a sample; of a layer that sees it as several rows, with their number first."""
    rows, rest = divmod(len(output), samples) if output.dim() else (1, 0)
    return (rows, *output.shape[1:]) if rows > 1 and not rest else tuple(output.shape[1:])


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    for child in children:
        yield from tensors_in(child)


def address(tensor: Tensor) -> int:
    """Return the address of a tensor's memory, which views share."""
    return tensor.untyped_storage().data_ptr()


def time_calls(model: nn.Module, images: Tensor, device: torch.device) -> dict[str, float]:
    """Return the median time of each module's own work in a forward pass, in seconds, over some passes."""
    passes: list[Counter[str]] = []
    start = time.perf_counter()
    while len(passes) < WARM_UP + 1 or (len(passes) < MOST_PASSES and time.perf_counter() - start < SECONDS):
        calls = Calls(lambda: now(device))
        with torch.enable_grad(), calls.watch(model):
            model(images)
        passes.append(calls.own)
    timed = passes[WARM_UP:]
    return {name: median([taken[name] for taken in timed]) for name in timed[0]}
