"""Calls of modules: what each takes in a forward pass, without those that it calls."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN = "parametrizations"  # modules below it belong to the layer whose weight they make


@dataclass
class Frame:
    """A call that has not ended: its module, the reading at its start, and what the calls within it took."""

    name: str
    start: float
    inner: float = 0.0


class Calls:
    """Count what each module of a model uses in a forward pass: operations, or seconds.

    Args:
        reading: returns the count so far, as of a clock.
        ended: is called with the name, the inputs and the output of a call that has ended.
    """

    def __init__(self, reading: Callable[[], float], ended: Callable[[str, tuple, object], None] | None = None) -> None:
        self.reading, self.ended = reading, ended
        self.stack: list[Frame] = []
        self.own: Counter[str] = Counter()  # without the calls within
        self.counts: Counter[str] = Counter()  # in the order of the first calls
        self.callers: set[str] = set()  # modules that call others

    @property
    def current(self) -> str:
        """The module that computes; that of the model where none does."""
        return self.stack[-1].name if self.stack else ""

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Follow the calls of the model and of the modules within it."""
        handles = []
        for name, module in model.named_modules():
            if HIDDEN not in name.split("."):
                handles.append(module.register_forward_pre_hook(self._enter(name)))
                handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Callable:
        def enter(module: nn.Module, inputs: tuple) -> None:
            if self.stack:
                self.callers.add(self.stack[-1].name)
            self.counts[name] += 1
            self.stack.append(Frame(name, self.reading()))

        return enter

    def _leave(self, module: nn.Module, inputs: tuple, output: object) -> None:
        frame = self.stack.pop()
        total = self.reading() - frame.start
        self.own[frame.name] += total - frame.inner
        if self.stack:
            self.stack[-1].inner += total
        if self.ended:
            self.ended(frame.name, inputs, output)


def call_order(model: nn.Module, images: Tensor) -> list[str]:
    """Return the names of the modules in the order of their first calls."""
    calls = Calls(lambda: 0.0)
    with torch.no_grad(), calls.watch(model):
        model(images)
    return [*calls.counts]
