"""Tables and sentences of a report, for the terminal; and all its numbers as plain values."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass

from rich.table import Table
from rich.text import Text
from torch import Tensor

from trainer.base.text import counted
from trainer.inspection.activations import Shift, Signal
from trainer.inspection.cost import Cost
from trainer.inspection.curvature import MOST_PARAMETERS, Curvature
from trainer.inspection.first_order import FirstOrder
from trainer.inspection.gradient_noise import GradientNoise
from trainer.inspection.layer_table import LayerRow
from trainer.inspection.report import Report

SI = ("", " k", " M", " G", " T", " P")
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
FOLDING = 2  # columns from the left that may take several lines: name and kind


def parts(report: Report) -> Iterator[str | Table]:
    """Yield the tables and sentences of a report, in order."""
    yield f"Layers (per sample; kept for the backward pass and time of a batch of {report.batch})"
    yield from layer_part(report.layers, report.cost)
    yield ""
    yield from activation_part(report)
    if report.shifts:
        yield ""
        yield "Shift of the activations since the fresh network: of the mean in its deviations, and ratio of deviations"
        yield shift_table(report.signals, report.shifts)
    yield ""
    fewer = f" ({report.asked} would take longer than task.seconds)" if report.samples < report.asked else ""
    yield f"Curvature of the training loss over {counted('sample', report.samples)}{fewer}"
    yield from curvature_part(report.curvature, report.rate)
    yield ""
    yield "Gradient noise: variance of the gradient of a random batch"
    yield from noise_part(report.noise)
    yield ""
    yield "Loss after one step of gradient descent: actual decrease against the first-order prediction, lr g.g"
    yield from first_order_part(report.first_order)


def layer_part(rows: Sequence[LayerRow] | str, cost: Cost | str) -> Iterator[str | Table]:
    """Yield the layer table with its totals, and the time of a step."""
    if isinstance(rows, str):
        yield f"  {rows}"
    else:
        heads = ("layer", "kind", "output", "parameters", "MACs", "activations", "kept", "forward")
        total = ["total", "", "", f"{sum(row.parameters for row in rows):,}", count(total_macs(rows))]
        total += [size(sum(row.activation_bytes for row in rows)), size(sum(row.stored_bytes for row in rows))]
        total += [milliseconds(sum(row.seconds or 0 for row in rows))]
        yield as_table(heads, [[*layer_cells(row)] for row in rows], left=3, last=total)
        for note in dict.fromkeys(f"{row.name or 'model'}: {row.note}" for row in rows if row.note):
            yield f"  note: {note}"
    if isinstance(cost, str):
        yield f"  time of a step: {cost}"
        return
    parameters = sum(row.parameters for row in rows) if not isinstance(rows, str) else 0
    each = (cost.forward + cost.backward) / cost.samples / parameters * 1e9 if parameters else None
    ratio = f"{cost.backward / cost.forward:.1f} times as long"
    yield f"  forward {milliseconds(cost.forward)}, backward {milliseconds(cost.backward)} ({ratio})"
    rate = f"  {cost.throughput:,.0f} samples per second"
    yield f"{rate}, {short(each)} ns per parameter and sample" if each else rate


def total_macs(rows: Sequence[LayerRow]) -> int | None:
    """Return the multiply-accumulate operations of a sample; None where those of a layer are not known."""
    return None if any(row.macs is None for row in rows) else sum(row.macs for row in rows)


def layer_cells(row: LayerRow) -> Iterator[str]:
    """Yield the cells of a row of the layer table."""
    yield from (row.name or "model", row.kind, "x".join(map(str, row.shape)))
    yield from (f"{row.parameters:,}" if row.parameters else "", count(row.macs) if row.macs != 0 else "")
    yield from (size(row.activation_bytes), size(row.stored_bytes))
    yield milliseconds(row.seconds) if row.calls else ""


def activation_part(report: Report) -> Iterator[str | Table]:
    """Yield the statistics of the activations, weights and gradients by layer."""
    if isinstance(report.record, str):
        yield f"Activations by layer: {report.record}"
        return
    record, rows = report.record, report.signals
    yield f"Activations by layer ({counted('sample', record['samples'])}, loss {short(record['loss'])})"
    heads = ("layer", "kind", "mean", "std", "mean\n/ std", "satu-\nrated", "dead", "weight\nstd", "gradient\nnorm")
    cells = [[*signal_cells(row)] for row in rows]
    inputs = ["input", "", short(record["input"]["mean"]), short(record["input"]["std"]), *[""] * 5]
    yield as_table(heads, [inputs, *cells], left=2)
    known = [row.grad_norm for row in rows if row.grad_norm is not None]
    if len(known) > 1 and known[-1]:
        yield f"  gradient norm of the first layer over that of the last: {short(known[0] / known[-1])}"
    yield f"  norm of the whole gradient {short(record['grad_norm'])}, of all parameters {short(report.weight_norm)}"


def signal_cells(row: Signal) -> Iterator[str]:
    """Yield the cells of a row of the activations' table."""
    yield from (row.name, row.kind, short(row.mean), short(row.std), short(row.offset))
    yield from (percent(row.saturated), percent(row.dead))
    yield from (short(row.weight_std), short(row.grad_norm))


def shift_table(signals: Sequence[Signal], shifts: Mapping[str, Sequence[Shift]]) -> Table:
    """Return the shifts by layer, a column for each time."""
    cells = [[row.name, *map(shift_cell, found)] for row, *found in zip(signals, *shifts.values())]
    return as_table(("layer", *shifts), cells, left=1)


def shift_cell(found: Shift) -> str:
    """Return a shift as `+0.12, x 1.5`."""
    return "" if found.mean is None else f"{found.mean:+.2f}, x {found.std:.3g}"


def curvature_part(found: Curvature | str, rate: float) -> Iterator[str]:
    """Yield the largest eigenvalue, the largest stable rate and, of a small model, the spectrum."""
    if isinstance(found, str):
        yield f"  {found}"
        return
    sign = "" if found.converged else "at least "
    how = f"{counted('iteration', found.iterations)}, {'converged' if found.converged else 'not converged'}"
    how = how if found.spectrum is None else f"of all {counted('eigenvalue', len(found.spectrum))}"
    yield f"  largest eigenvalue of the Hessian L = {sign}{short(found.largest)} ({how})"
    if not found.exact:
        yield "  (from differences of gradients: a function of the model cannot be differentiated twice)"
    if found.stable_rate is None:
        yield "  the loss curves upwards in no direction: no largest stable learning rate"
    else:
        most = "" if found.converged else "at most "
        share = f"the run's is {short(rate)}, {sign}{short(rate / found.stable_rate)} of it"
        yield f"  largest stable learning rate of gradient descent 2/L = {most}{short(found.stable_rate)} ({share})"
    if found.spectrum is None:
        yield f"  (smallest eigenvalue and condition number: of models with up to {MOST_PARAMETERS:,} parameters)"
    elif found.condition is None:
        yield "  the loss is flat in every direction: no condition number"
    else:
        directions = [counted("flat direction", found.flat), f"{found.negative} curved downwards"]
        yield f"  smallest eigenvalue {short(float(found.curved[0]))} ({', '.join(directions)})"
        yield f"  condition number {short(found.condition)} (largest over smallest size, flat directions left out)"


def noise_part(found: GradientNoise | str) -> Iterator[str | Table]:
    """Yield the variance by batch size, and the gradient-noise scale."""
    if isinstance(found, str):
        yield f"  {found}"
        return
    cells = [[f"{point.size}", short(point.variance), short(point.variance * point.size)] for point in found.points]
    yield as_table(("batch size", "variance", "variance x size"), cells, left=0)
    squares = f"tr(Sigma) = {short(found.trace)}, |G|^2 = {short(found.square)}"
    yield f"  the variance falls as the batch size to the power {short(found.slope)}; -1 where samples are independent"
    if not found.independent:
        yield "  no gradient-noise scale: its estimate assumes a power of -1"
        return
    if found.scale is None:
        yield f"  gradient-noise scale: not known, |G|^2 is lost in the noise ({squares})"
        return
    error = f"standard error {short(found.scale_error)}"
    yield f"  gradient-noise scale tr(Sigma)/|G|^2 = {short(found.scale)} samples ({error}; {squares})"
    yield "  well below it, doubling the batch nearly halves the steps; well above it, hardly any step is saved"


def first_order_part(found: FirstOrder | str | None) -> Iterator[str | Table]:
    """Yield the decrease of the loss by rate, and the rate up to which the prediction holds."""
    if found is None:
        yield "  the gradient is zero, or too small for a decrease above rounding"
        return
    if isinstance(found, str):
        yield f"  {found}"
        return
    cells = [[short(each.rate), short(each.predicted), short(each.actual), short(each.ratio)] for each in found.points]
    yield as_table(("lr", "predicted", "actual", "ratio"), cells, left=0)
    if found.limit is not None:
        yield f"  the prediction holds up to lr = {short(found.limit)}, where the ratio leaves [0.5, 1.5]"
    if found.curvature and found.curvature > 0:
        curved = f"g.Hg / g.g = {short(found.curvature)}"
        yield f"  second order: ratio = 1 - lr/2 x {curved}, which leaves it at lr = {short(1 / found.curvature)}"


def as_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: int, last: Sequence[str] | None = None
) -> Table:
    """Return headings and rows as a table.

    Args:
        left: columns of text; the others are numbers.
        last: a row that stands out.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        justify = "left" if place < left else "right"
        made.add_column(Text(head), justify=justify, no_wrap=place >= FOLDING, overflow="fold", vertical="bottom")
    for row in rows:
        made.add_row(*map(Text, row))
    if last is not None:
        made.add_row(*map(Text, last), style="bold")
    return made


def short(value: float | None) -> str:
    """Return a number with three significant digits; nothing for None."""
    return "" if value is None else f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def percent(fraction: float | None) -> str:
    """Return a fraction in percent."""
    return "" if fraction is None else f"{fraction:.1%}"


def count(number: int | None) -> str:
    """Return a whole number as 12.3 k or 1.2 M; `?` for None."""
    if number is None:
        return "?"
    power = min(max(len(str(number)) - 1, 0) // 3, len(SI) - 1)
    return f"{number:,}" if power == 0 else f"{number / 1000**power:.4g}{SI[power]}"


def size(number: int) -> str:
    """Return a number of bytes as 1.5 KiB; nothing for 0."""
    if not number:
        return ""
    power = min(int(math.log2(number)) // 10, len(UNITS) - 1)
    return f"{number / 1024**power:.4g} {UNITS[power]}"


def milliseconds(seconds: float | None) -> str:
    """Return a time in ms; nothing for None."""
    return "" if seconds is None else f"{seconds * 1000:.3g} ms"


def plain(value: object) -> object:
    """Return a report without its histograms as mappings, lists, text and numbers; None for NaN and Inf."""
    if isinstance(value, Report):
        found = {name: plain(part) for name, part in vars(value).items() if name not in ("values", "record")}
        probed = value.record if isinstance(value.record, str) else {**value.record}
        return {**found, "probe": plain(probed)}
    if isinstance(value, Curvature | GradientNoise):
        derived = ("stable_rate",) if isinstance(value, Curvature) else ("slope", "scale", "scale_error")
        return plain({**vars(value), **{name: getattr(value, name) for name in derived}})
    if is_dataclass(value):
        return plain(asdict(value))
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
