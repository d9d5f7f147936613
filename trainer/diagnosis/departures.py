"""Verdict on the setting that is farthest from its default, where a run has learnt nothing or has blown up."""

from collections.abc import Iterator, Mapping

from trainer.config.rule import is_number
from trainer.diagnosis.evidence import Evidence, is_positive, just_below, log_ratio
from trainer.diagnosis.verdict import Verdict

FAR = 3.0  # times the default, or as small a part of it
STRENGTHS = (".strength", ".p", ".alpha", ".std")  # ends of keys of which a larger value is a stronger effect
PLACES = {  # keys -> the code of their verdict, and what they do
    "reg.layer.": ("dropping_too_much", "A network can only learn from what is left of its signals."),
    "reg.loss.": ("penalty_outweighs", "The network is trained to have small weights rather than to fit the data."),
    "reg.stop.": ("stopped_too_early", "A rule that waits this little ends a run before it has begun to learn."),
    "reg.": (
        "regularization_too_strong",
        "What holds the weights or their steps back this much leaves nothing to learn.",
    ),
    "aug.": ("augmentation_too_strong", "A network can only learn what is left of an image."),
    "optimizer.": ("optimizer_setting", "It changes the size of steps more than the learning rate says."),
    "norm.": ("norm_setting", "It changes what every layer sees."),
}


def departure(evidence: Evidence, least: float = FAR) -> Iterator[Verdict]:
    """Yield a verdict on the key that is farthest from its default, but for the learning rate."""
    far, key = farthest(evidence)
    if far < just_below(least):
        return
    code, meaning = next(pair for place, pair in PLACES.items() if key.startswith(place))
    value, usual = evidence.values[key], evidence.usual[key]
    yield Verdict(
        code=code,
        what=f"{key}={value:g}, where the default is {usual:g}",
        meaning=meaning,
        changes=[f"{key}={usual:g}"],
        numbers={key: (value, usual)},
    )


def farthest(evidence: Evidence) -> tuple[float, str]:
    """Return how far the key that is farthest from its default is from it, as `distance`, and that key."""
    found = [
        (distance(value, evidence.usual.get(key)), key)
        for key, value in evidence.values.items()
        if key.startswith(tuple(PLACES)) and not key.endswith(".lr") and not is_weaker(key, value, evidence.usual)
    ]
    return max(found, default=(0.0, ""))


def is_weaker(key: str, value: object, usual: Mapping) -> bool:
    """Return whether a strength is below its default, or a patience above it: it holds nothing back."""
    if key.endswith(".patience"):
        return is_positive(usual.get(key)) and is_number(value) and value > usual[key]
    return key.endswith(STRENGTHS) and is_positive(usual.get(key)) and is_number(value) and value < usual[key]


def distance(value: object, usual: object) -> float:
    """Return how far a number is from its default: the log of their ratio, or of that of what they leave of 1."""
    ratio = log_ratio(value, usual)
    return max(ratio, log_ratio(1 - value, 1 - usual)) if ratio else 0.0


def rate_departure(values: Mapping, usual: Mapping) -> float:
    """Return how far the learning rate is above its default, as `distance`; 0 below it."""
    lr, normal = values.get("optimizer.lr"), usual.get("optimizer.lr")
    return distance(lr, normal) if is_positive(lr) and is_positive(normal) and lr > normal else 0.0
