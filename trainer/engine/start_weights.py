"""Weights that a fresh run begins with (model.weights): the tensors of a file that fit the model, and what does not."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from trainer.base.depth import has_parts, head_of
from trainer.base.errors import DataError
from trainer.base.module_protocols import KnowsLayers
from trainer.base.text import counted, printable
from trainer.data.splits import Splits
from trainer.rundir.description import TENSORS, Description
from trainer.rundir.weights_file import WeightsFile

LEAST = 0.5  # of the layers before the last one, that must fit
COMMON = 0.2  # of the names, from which a beginning of them may be that of a wrapper: `module.encoder.`
DEEPEST = 4  # parts of such a beginning
LISTED = 4  # names in a message
COUNTER = "num_batches_tracked"  # of a batch norm; files of old versions of torch lack it
PARAMETRIZED = (".parametrizations.", ".original")  # around the name of a weight that is computed from another one
MISSING, SHAPE, HEAD = "not in it, so freshly drawn", "of another shape, so freshly drawn", ""
ABOVE = "above the layers to copy, so freshly drawn"

Found = Mapping[str, tuple[str, Tensor]]  # by the model's name, the file's name and tensor


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights that a model has taken from a file, and those that it has not.

    Args:
        file: of the weights.
        found: the tensors of the file for names of the model, of any shape.
        fresh: names of the model's tensors that keep their initial values, with the reason.
        loaded: names of those that have the file's.
        layers: how many the model has before the last one, and how many of them were loaded.
        unused: names of the file that the model does not have.
        head: why the last layer was not loaded; empty where it was.
    """

    file: WeightsFile
    found: Found = field(repr=False)
    fresh: Mapping[str, str]
    loaded: Sequence[str]
    layers: tuple[int, int]
    unused: Sequence[str]
    head: str

    @cached_property
    def key(self) -> str:
        """The override that named the file."""
        return f"{self.file.key}={printable(self.file.typed)}"

    @property
    def fits(self) -> bool:
        """True unless nothing or nearly nothing fits."""
        there, fitting = self.layers
        return fitting >= LEAST * there if there else bool(self.loaded)

    def to_summary(self) -> dict:
        """Return what summary.json says of it."""
        path, count = str(self.file.path), len(self.loaded)
        return {"path": path, "sha256": self.file.sha256, "loaded": count, "fresh": [*self.fresh]}

    def describe(self) -> str:
        """Return counts, the last layer, and the first names of what was not loaded, in one line."""
        said = [f"{len(self.loaded)} of {counted('tensor', len(self.loaded) + len(self.fresh))} loaded"]
        said += [self.head] if self.head else []
        for reason in (MISSING, SHAPE, ABOVE):
            if names := [name for name, why in self.fresh.items() if why == reason]:
                said.append(f"{reason}: {listed(names)}")
        if self.unused:
            said.append(f"unexpected, so left out: {listed(self.unused)}")
        return "; ".join(said)


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return f"{', '.join(map(printable, names[:LISTED]))}{more}"


def compare(file: WeightsFile, model: nn.Module, images: Tensor, data: Splits) -> Start:
    """Return what of a file fits a model. A layer fits whole or not at all; nothing is changed.

    A last layer of another size, or for other classes, does not fit.
    """
    own, modules = own_tensors(model), dict(model.named_modules())
    part, found = best_part(file.parts, own, converter(model))
    head = [plain_name(name) for name in head_of(model, images)]
    last = {name for name in own if any(name.startswith(f"{layer}.") for layer in head)}
    why = reason_for_head(file.description, data, found, own, last)
    fresh, there, fitting = {}, 0, 0
    for layer in layers_of(own, modules).values():
        reason = why_fresh(layer, found, own)
        if last.issuperset(layer):
            reason = HEAD if why else reason
        else:
            there, fitting = there + 1, fitting + (reason is None)
        fresh |= {} if reason is None else dict.fromkeys(layer, reason)
    used = {name for name, _ in found.values()}
    skipped = f"{TENSORS}." if file.description else "\0"
    unused = [name for name in part if name not in used and not name.endswith(COUNTER) and not name.startswith(skipped)]
    loaded = [name for name in own if name in found and name not in fresh]
    return Start(
        file=file,
        found=found,
        fresh={name: reason for name, reason in fresh.items() if not name.endswith(COUNTER)},
        loaded=[name for name in loaded if not name.endswith(COUNTER)],
        layers=(there, fitting),
        unused=unused,
        head=why,
    )


def only(start: Start, copied: Collection[str]) -> Start:
    """Return what a model takes of a file where it takes some layers alone.

    Args:
        copied: names of parameters and modules.
    """

    def is_copied(name: str) -> bool:
        return name in plain or name.rpartition(".")[0] in plain

    plain = {plain_name(name) for name in copied}
    above = {name: ABOVE for name in (*start.loaded, *start.fresh) if not is_copied(name)}
    loaded = [name for name in start.loaded if name not in above]
    found = {name: pair for name, pair in start.found.items() if is_copied(name)}
    return replace(start, found=found, fresh={**start.fresh, **above}, loaded=loaded, unused=(), head="")


@torch.no_grad()
def load(start: Start, model: nn.Module) -> None:
    """Put what fits into the model. Errors: DataError where it is not finite."""
    own = own_tensors(model)
    for name in own:
        if name in start.found and name not in start.fresh and start.found[name][1].shape == own[name].shape:
            values = start.found[name][1]
            if values.is_floating_point() and not values.isfinite().all():
                raise DataError(f"{start.key}: its {printable(name)} holds NaN or Inf")
            own[name].copy_(values)


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers that a model saves, by their plain names."""
    return {plain_name(name): tensor for name, tensor in model.state_dict().items()}


def plain_name(name: str) -> str:
    """Return the name of a parameter as it is without a parametrisation (DropConnect)."""
    before, between, after = name.partition(PARAMETRIZED[0])
    return f"{before}.{after.removesuffix(PARAMETRIZED[1])}" if between else name


def converter(model: nn.Module) -> Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]:
    """Return what converts the tensors of a file into the form that the model's library gives them today."""
    known = next((module for module in model.modules() if isinstance(module, KnowsLayers)), None)
    return known.converted if known else lambda tensors: tensors


def best_part(
    parts: Sequence[tuple[str, Mapping[str, Tensor]]],
    own: Mapping[str, Tensor],
    convert: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
) -> tuple[Mapping[str, Tensor], Found]:
    """Return the part of a file that fits best, and its tensors for the model's names.

    Names may have other beginnings there, as `module.`, `backbone.` or `_orig_mod.`, or less of one than the model's.
    """
    best: tuple[int, Mapping[str, Tensor], Found] = (-1, {}, {})
    for _, tensors in parts:
        known = {plain_name(name): (name, tensor) for name, tensor in convert(tensors).items()}
        for start in beginnings(known):
            for inner in beginnings(own):
                pairs = ((name, known.get(start + name.removeprefix(inner))) for name in own if name.startswith(inner))
                found = {name: pair for name, pair in pairs if pair}
                fitting = sum(own[name].shape == tensor.shape for name, (_, tensor) in found.items())
                if fitting > best[0]:
                    best = fitting, dict(known.values()), found
    return best[1], best[2]


def beginnings(names: Mapping[str, object]) -> Iterator[str]:
    """Yield the beginnings that many names share, each with its last dot; first of all none."""
    counts = Counter(
        ".".join(parts[:depth]) + "."
        for parts in (name.split(".") for name in names)
        for depth in range(1, min(len(parts), DEEPEST + 1))
    )
    yield ""
    yield from sorted((start for start, count in counts.items() if count >= COMMON * len(names)), key=len)


def layers_of(own: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> dict[str, list[str]]:
    """Return the names of the tensors of each layer; one that a module holds beside its layers is by itself."""
    layers: dict[str, list[str]] = {}
    for name in own:
        owner = name.rpartition(".")[0]
        layers.setdefault(name if owner not in modules or has_parts(modules[owner]) else owner, []).append(name)
    return layers


def why_fresh(layer: Sequence[str], found: Found, own: Mapping[str, Tensor]) -> str | None:
    """Return why a layer does not fit; None where it does."""
    names = [name for name in layer if not name.endswith(COUNTER)]
    if any(name not in found for name in names):
        return MISSING
    return SHAPE if any(found[name][1].shape != own[name].shape for name in names) else None


def reason_for_head(
    description: Description | None, data: Splits, found: Found, own: Mapping[str, Tensor], last: set[str]
) -> str:
    """Return why the last layer stays as it was drawn; empty where it fits."""
    if not last or any(name not in found for name in last):
        return ""
    outputs = {(len(found[name][1]), len(own[name])) for name in last if found[name][1].dim() and own[name].dim()}
    if different := [pair for pair in outputs if pair[0] != pair[1]]:
        theirs, ours = different[0]
        return f"the last layer is a new one, with {ours} outputs (that of the weights has {theirs})"
    if description and (description.task, description.classes) != (data.task, data.classes):
        others = f"classes ({listed(description.classes)})" if description.classes else f"targets ({description.task})"
        return f"the last layer is a new one, as that in it is for other {others}"
    return ""
