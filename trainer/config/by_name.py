"""Arguments of a model's class, found by their names: `outputs` or `num_classes`, `input_shape` or `in_channels`.

A class needs no base and no signature of ours: what it calls a thing is looked up here (docs/extending.md).
No torch here.
"""

import inspect
import math
from collections.abc import Collection, Mapping, Sequence

Parameter = inspect.Parameter
ITSELF = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)  # *args and **kwargs
NAMES = {
    "input_shape": "input_shape in_shape",
    "outputs": "outputs num_classes n_classes nb_classes num_outputs n_outputs out_features output_dim out_dim",
    "kit": "kit",
    "channels": "in_channels in_chans input_channels num_channels n_channels",
    "features": "in_features input_dim in_dim num_features n_features",
    "side": "image_size img_size",
}
# These also name other things, such as a width: they are given only where a class cannot be made without them.
NAMES_IF_REQUIRED = {
    "input_shape": "shape",
    "outputs": "classes output_size",
    "channels": "channels",
    "features": "inputs input_size",
}


def offers(input_shape: Sequence[int], outputs: int, kit: object) -> dict[str, object]:
    """Return what a model's class may take, by the first of its names."""
    found = {"input_shape": tuple(input_shape), "outputs": outputs, "kit": kit}
    found |= {"channels": input_shape[0], "features": math.prod(input_shape)}
    if len(input_shape) == 3:
        height, width = input_shape[1:]
        found["side"] = height if height == width else (height, width)
    return found


def arguments(kind: type, offered: Mapping[str, object], keys: Collection[str]) -> tuple[list, dict[str, object]]:
    """Return the arguments of a class, positional ones and others, without those that its YAML sets.

    A class that needs parameters of which none has a known name takes input_shape, outputs and kit in order.

    Args:
        offered: what `offers` has made.
        keys: of its YAML.
    """
    own = inspect.signature(kind).parameters
    values = {}
    for name, parameter in {**inherited(kind), **own}.items():
        what = meaning(name, required=name in own and parameter.default is Parameter.empty)
        if what in offered and name not in keys:
            values[name] = offered[what]
    needed = [each for each in own.values() if each.kind is Parameter.VAR_POSITIONAL or is_needed(each, keys)]
    if not values and needed:
        return [offered[name] for name in ("input_shape", "outputs", "kit")], {}
    first = [name for name, each in own.items() if each.kind is Parameter.POSITIONAL_ONLY and name in values]
    return [values.pop(name) for name in first], values


def is_needed(parameter: Parameter, keys: Collection[str]) -> bool:
    """Return whether a class cannot be made without an argument that its YAML does not set."""
    return parameter.default is Parameter.empty and parameter.kind not in ITSELF and parameter.name not in keys


def meaning(name: str, required: bool) -> str | None:
    """Return what a parameter is given, by its name; None for an unknown one."""
    tables = (NAMES, NAMES_IF_REQUIRED) if required else (NAMES,)
    return next((what for table in tables for what, names in table.items() if name in names.split()), None)


def takes_any(kind: type) -> bool:
    """Return whether the constructor of a class passes unknown keywords on (**kwargs)."""
    return any(each.kind is Parameter.VAR_KEYWORD for each in inspect.signature(kind).parameters.values())


def inherited(kind: type) -> dict[str, Parameter]:
    """Return the parameters of the bases whose constructors get keywords from those above them (**kwargs)."""
    found: dict[str, Parameter] = {}
    for each in [base for base in kind.__mro__ if "__init__" in vars(base)]:
        if not (parameters := dict(list(inspect.signature(each.__init__).parameters.items())[1:])):
            break
        found = {**parameters, **found}
        if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return {name: parameter for name, parameter in found.items() if parameter.kind not in ITSELF}
