"""Measurements of a built run: layers, activations, curvature, gradient noise, first-order prediction."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from torch import Tensor, nn

from trainer.base.device import out_of_memory
from trainer.base.layers import common_rate
from trainer.base.text import printable
from trainer.engine.probe import probe, probe_batch
from trainer.engine.run import Run
from trainer.inspection import activations, calls, cost, layer_table
from trainer.inspection.activations import Shift, Signal, Values
from trainer.inspection.cost import Cost
from trainer.inspection.curvature import Curvature, measure_curvature
from trainer.inspection.first_order import FirstOrder, measure_decrease
from trainer.inspection.gradient_noise import GradientNoise, measure_noise
from trainer.inspection.layer_table import LayerRow
from trainer.inspection.objective import Batch, Objective, fixed_batches, measuring

PRODUCTS, TIMES = 20, 3  # with the Hessian, and of a gradient's time that one takes
NO_MEMORY = "does not fit into memory"
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Measurements of a run. A text in place of one says why there is none.

    Args:
        samples: of the curvature and of the first-order prediction.
        asked: how many they would have been with more time.
        batch: samples in the batch of the layer table.
        layers, cost: of the layer table.
        record: of the probe.
        signals, values: activations, weights and gradients by layer.
        shifts: of the activations since the fresh network, by layer, at some times; none for a fresh one.
        curvature, noise, first_order: of the training loss.
        rate: the run's learning rate, before its schedule.
    """

    samples: int
    asked: int
    batch: int
    layers: Sequence[LayerRow] | str
    cost: Cost | str
    record: dict | str
    signals: Sequence[Signal]
    values: Values | str
    shifts: Mapping[str, Sequence[Shift]]
    curvature: Curvature | str
    noise: GradientNoise | str
    first_order: FirstOrder | str | None
    rate: float

    @property
    def weight_norm(self) -> float | None:
        """The L2 norm of all parameters."""
        if isinstance(self.record, str):
            return None
        squares = [row["norm"] for row in self.record["parameters"].values()]
        return None if None in squares else math.hypot(*squares)


def measure(
    run: Run, samples: int | None, seconds: float, which: str = "", before: Mapping[str, Sequence[Signal]] | None = None
) -> Report:
    """Measure a run. Weights, buffers, optimizer and random numbers are left as they were.

    Args:
        samples: of the training split, for curvature and the first-order prediction, fewer at the time limit; None for
            all.
        seconds: time limit of the curvature, and of the gradient noise.
        which: weights the run has.
        before: of a trained network, signals at earlier times, the fresh network's first.
    """
    batches = fixed_batches(run, samples)
    with measuring(run):
        layers, batch = measure_layers(run.model, batches[0], run)
        objective = Objective(run, batches)
        times = attempt(lambda: cost.measure_cost(*step_of(objective, batch), run.device))
        asked = objective.samples
        batches = affordable(batches, times, seconds)
        objective = Objective(run, batches)
        record, signals = read_signals(run)
        trainable = bool(objective.weights)
        nothing = "the model has no trainable parameters"
        return Report(
            samples=objective.samples,
            asked=asked,
            batch=len(batch[1]),
            layers=layers,
            cost=times,
            record=record,
            signals=signals,
            values=attempt(lambda: activations.values_of(run, probe_batch(run))),
            shifts=shifts_between({**before, which: signals}) if before else {},
            curvature=attempt(lambda: measure_curvature(run, batches, seconds)) if trainable else nothing,
            noise=attempt(lambda: measure_noise(run, seconds)) if trainable else nothing,
            first_order=attempt(lambda: measure_decrease(objective)) if trainable else nothing,
            rate=common_rate(run.optimizer, "base_lr"),
        )


def measure_layers(model: nn.Module, batch: Batch, run: Run) -> tuple[list[LayerRow] | str, Batch]:
    """Return the layer table, and the batch that it is for: smaller than the run's where that does not fit."""
    count = len(batch[1])
    while True:
        images, targets = (part[:count] for part in batch)
        rows = attempt(partial(layer_table.layer_rows, model, images, run.device))
        if rows != NO_MEMORY or count < 4:
            return rows, (images, targets)
        count //= 2


def shifts_between(stages: Mapping[str, Sequence[Signal]]) -> dict[str, list[Shift]]:
    """Return the shifts since the first stage, of the layers of the last one."""
    (_, first), *later = stages.items()
    names = [row.names for row in later[-1][1]]
    found = {}
    for when, rows in later:
        known = {row.names: shift for row, shift in zip(rows, activations.shifts(first, rows))}
        found[when] = [known.get(each, Shift()) for each in names]
    return found


def affordable(batches: Sequence[Batch], times: Cost | str, seconds: float) -> Sequence[Batch]:
    """Return as many of the batches as the curvature has time for, at least one.

    A product with the Hessian takes about three times as long as a gradient, and 20 are enough in most cases.
    """
    if isinstance(times, str):
        return batches[:1]
    each = (times.forward + times.backward) * len(batches[0][1]) / times.samples
    return batches[: max(int(seconds / (PRODUCTS * TIMES * each)), 1)]


def step_of(objective: Objective, batch: Batch) -> tuple[Callable[[], Tensor], list[Tensor], int]:
    """Return the forward pass of a batch, the weights to differentiate by, and the number of samples."""
    return lambda: objective.loss_of(*batch), objective.weights, len(batch[1])


def read_signals(run: Run) -> tuple[dict | str, list[Signal]]:
    """Return the record of a probe, and its rows in the order of the forward pass."""
    record = probe(run, run.progress.step)
    return (NO_MEMORY, []) if record is None else (record, activations.signals(record, call_order(run)))


def earlier_signals(run: Run, probes: Sequence[Mapping]) -> dict[str, list[Signal]]:
    """Return the signals of a run's fresh network, and those of the probes that it recorded."""
    order = call_order(run)
    recorded = {f"step {found['step']:,}": activations.signals(found, order) for found in probes if found["step"]}
    return {"fresh": read_signals(run)[1], **recorded}


def call_order(run: Run) -> list[str]:
    """Return the names of the run's modules in the order of their calls."""
    with measuring(run):
        return calls.call_order(run.model, probe_batch(run)[0][:2])


def attempt(measurement: Callable[[], Found]) -> Found | str:
    """Return a measurement, or the reason why it cannot be made."""
    try:
        return measurement()
    except (RuntimeError, ValueError, TypeError, NotImplementedError, MemoryError) as error:
        if out_of_memory(error):
            return NO_MEMORY
        return printable(f"cannot be computed ({str(error).strip().partition(chr(10))[0]})")
