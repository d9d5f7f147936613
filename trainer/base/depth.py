"""Layers of a model in the order of its forward pass: the last one, and the depth of each parameter."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from trainer.base.layers import LAYERS, preserved_modes
from trainer.base.module_protocols import KnowsLayers

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def head_of(model: nn.Module, images: Tensor) -> dict[str, nn.Module]:
    """Return the layers that make the outputs, by name: those that the model says, else the last one of its forward.

    Args:
        images: some samples for a forward pass, in evaluation mode.
    """
    for module in model.modules():
        if isinstance(module, KnowsLayers) and (known := {id(layer) for layer in module.head_layers()}):
            return {name: layer for name, layer in model.named_modules() if id(layer) in known}
    names = {module: name for name, module in model.named_modules()}
    called = [module for module in calls(model, images) if isinstance(module, LAYERS)]
    return {names[called[-1]]: called[-1]} if called else {}


def depths_of(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Return the depth of each parameter by its name, from 0 at the input to that of the last layer.

    A block of layers that comes again and again (a residual block, one of a transformer) counts as one layer, a norm
    belongs to the layer before it, and parameters beside the layers, as class tokens and tables of positions, are at 0
    (Bao et al., 2022, arXiv:2106.08254). A model that says its own depths is believed.
    """
    found: dict[str, int] = dict.fromkeys((name for name, _ in model.named_parameters()), 0)
    for prefix, module in model.named_modules():
        if isinstance(module, KnowsLayers) and (own := module.layer_depths()):
            return found | {f"{prefix}.{name}" if prefix else name: depth for name, depth in own.items()}
    layers = 0
    for name, unit in called_units(model, images):
        layers += has_matrix(unit)
        for own, _ in unit.named_parameters():
            found[f"{name}.{own}" if name else own] = max(layers - 1, 0)
    return found


def layers_in_order(model: nn.Module, images: Tensor) -> list[str]:
    """Return the names of what counts as a layer for `depths_of`, in the order of the forward pass; the head is last.

    Norms, which belong to the layers before them, are left out.
    """
    return [name for name, unit in called_units(model, images) if has_matrix(unit)]


def names_at(model: nn.Module, depths: Mapping[str, int], chosen: Callable[[int], bool]) -> frozenset[str]:
    """Return the names of the parameters at some depths, and of the modules whose parameters are all there.

    A module without parameters, as a norm without weights, belongs to the layer before it.

    Args:
        depths: of the model's parameters by name, from `depths_of`.
    """
    last, found = 0, set()
    for name, module in model.named_modules():
        own = {depths[each] for each in depths if not name or each.startswith(f"{name}.")}
        if all(map(chosen, own or {last})):
            found.add(name)
        last = max(
            (depths[f"{name}.{each}".lstrip(".")] for each, _ in module.named_parameters(recurse=False)), default=last
        )
    return frozenset(found | {name for name, depth in depths.items() if chosen(depth)})


def called_units(model: nn.Module, images: Tensor) -> list[tuple[str, nn.Module]]:
    """Return the units of a model that a forward pass calls, with their names, in its order."""
    order = {module: place for place, module in enumerate(calls(model, images))}
    units = [unit for unit in units_of(model) if any(module in order for module in unit[1].modules())]
    return sorted(units, key=lambda unit: min(order[module] for module in unit[1].modules() if module in order))


def calls(model: nn.Module, images: Tensor) -> list[nn.Module]:
    """Return layers, and modules with parameters of their own, in the order in which a forward pass calls them."""
    called: dict[nn.Module, None] = {}

    def note(module: nn.Module, inputs: object) -> None:
        called.setdefault(module)

    owners = [module for module in model.modules() if isinstance(module, LAYERS) or [*module.parameters(recurse=False)]]
    handles = [module.register_forward_pre_hook(note) for module in owners]
    try:
        with preserved_modes(model), torch.no_grad():
            model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    return list(called)


def units_of(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield what counts as a layer: modules without modules in them, and blocks that occur several times side by side.

    What occurs once, as a backbone or an encoder, is looked into.
    """
    below = [*children_of(model, prefix)]
    kinds = [type(module) for _, module in below]
    for name, module in below:
        if has_parts(module) and kinds.count(type(module)) == 1:
            yield from units_of(module, name)
        else:
            yield name, module


def children_of(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules with parameters directly below one, and those below containers there."""
    if not has_parts(module):
        yield prefix, module
        return
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        if not any(True for _ in child.parameters()):
            continue
        if isinstance(child, CONTAINERS):
            yield from children_of(child, path)
        else:
            yield path, child


def has_parts(module: nn.Module) -> bool:
    """Return whether a module holds modules with parameters; that of a parametrised layer is its own weight."""
    return not isinstance(module, LAYERS) and any(True for child in module.children() for _ in child.parameters())


def has_matrix(module: nn.Module) -> bool:
    """Return whether a module holds a matrix or a kernel."""
    return any(weight.dim() > 1 for weight in module.parameters())
