"""Checks of a technique's fields, by rules written as in the YAML comments. Each raises ValueError."""

import re
from collections.abc import Sequence

INTERVAL = re.compile(r"in ([\[(])(\S+), (\S+)([\])])")
BOUND = re.compile(r"(>=|<=|>|<) (-?[\d.]+(?:e-?\d+)?)")


def require(rule: str, **fields: float | Sequence[float]) -> None:
    """Check fields, or each number of a list, against a rule: `> 0`, `>= 1`, `in [0, 1)`.

    Errors: ValueError, "alpha must be > 0, got -1.0".
    """
    for name, value in fields.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            if not satisfies(rule, number):
                raise ValueError(f"{name} must be {rule}, got {number}")


def require_one_of(*words: str, **fields: str) -> None:
    """Require fields to be one of some words. Errors: ValueError."""
    for name, value in fields.items():
        if value not in words:
            raise ValueError(f"{name} must be one of {', '.join(words)}, got {value}")


def require_images(images) -> None:
    """Require a batch to have the shape of images. Errors: ValueError."""
    if len(images.shape) != 4:
        raise ValueError(f"needs images (B, C, H, W), got a batch of shape {tuple(images.shape)}")


def satisfies(rule: str, value: float) -> bool:
    """Return whether a number keeps a rule; NaN keeps none."""
    if interval := INTERVAL.fullmatch(rule):
        left, low, high, right = interval.groups()
        above = value >= float(low) if left == "[" else value > float(low)
        below = value <= float(high) if right == "]" else value < float(high)
        return above and below
    sign, bound = BOUND.fullmatch(rule).groups()
    bound = float(bound)
    return {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}[sign]
